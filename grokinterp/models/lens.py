"""To and from TransformerLens: the only file that knows it. It is imported inside functions, for it costs seconds.

Version 3 gives a `HookedTransformer`, version 4, which removed that class, a `TransformerBridge`.
"""

import math
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from grokinterp.arguments import shown
from grokinterp.models.architecture import ACTIVATIONS, HOOK_LOGITS, Architecture, Params
from grokinterp.models.kinds.transformer import Sequence, TransformerConfig
from grokinterp.models.weights import addition_of, check_numbers, read_weights


def has_hooked_transformer() -> bool:
    """Whether the installed TransformerLens is of version 3, which has `HookedTransformer`."""
    return int(version("transformer-lens").split(".")[0]) < 4


def to_transformer_lens(params: Params, config: Architecture) -> Any:
    """A TransformerLens model with copies of these weights, equal in its logits and hooks.

    An MLP becomes a `HookedRootModule` that reads the tokens [batch, 2] of a and b.

    Args:
        params: By TransformerLens name.
        config: The model's.

    Returns:
        A `HookedTransformer` under TransformerLens 3, a `TransformerBridge` under 4; a `HookedRootModule` for an MLP.
        On the CPU, with frozen gradients of none of its weights.

    Raises:
        ValueError: If the activation function has no counterpart: `quadratic` under version 4.
    """
    if not isinstance(config, TransformerConfig):
        return _to_hooked_module(params, config)
    return _to_hooked_transformer(params, config) if has_hooked_transformer() else _to_bridge(params, config)


def from_transformer_lens(model: Any, sequence: Sequence = "a b =") -> tuple[Params, Architecture]:
    """Weights (copied to the CPU) and config of a TransformerLens model.

    Biases that are zero throughout are left out, so that a model without them stays one.

    Args:
        model: A `HookedTransformer` or a `TransformerBridge`, or what `to_transformer_lens` made of an MLP.
        sequence: What it reads; no weight tells.

    Returns:
        Parameters by TransformerLens name; the config.

    Raises:
        TypeError: If it is no TransformerLens model.
        ValueError: If it has another kind of attention, normalization or MLP than this library reads, or does not
            compute what its weights say, as with a hook that was left on.
    """
    if isinstance(getattr(model, "cfg", None), Architecture):
        params = {name: p.detach().cpu().clone() for name, p in model.named_parameters()}
        _check_computes_the_same(model, params, model.cfg)
        return params, model.cfg
    if not hasattr(model, "run_with_cache") or not hasattr(model, "W_E"):
        msg = (
            f"model must be a Snapshot, HookedTransformer or TransformerBridge, got {shown(model)}; a "
            "run's is run.snapshot(epoch), a file's gi.load_model(path)."
        )
        raise TypeError(msg)
    cfg = model.cfg
    _check_is_read(cfg, sequence)
    weights = {"embed.W_E": model.W_E, "pos_embed.W_pos": model.W_pos}
    for layer, block in enumerate(model.blocks):
        if cfg.normalization_type is not None:
            weights |= _norms(f"blocks.{layer}.ln1", block.ln1) | _norms(f"blocks.{layer}.ln2", block.ln2)
        for name in ("W_Q", "W_O", "b_Q", "b_O", "W_K", "W_V", "b_K", "b_V"):
            weights[f"blocks.{layer}.attn.{name}"] = getattr(model, name)[layer]
        for name in ("W_in", "b_in", "W_out", "b_out"):
            weights[f"blocks.{layer}.mlp.{name}"] = getattr(model, name)[layer]
    if cfg.normalization_type is not None:
        weights |= _norms("ln_final", model.ln_final)
    weights |= {"unembed.W_U": model.W_U, "unembed.b_U": model.b_U}
    params, config = read_weights(weights, _activation(model, cfg), sequence)
    _check_computes_the_same(model, params, config)
    return params, config


def hooked_logits(params: Params, config: TransformerConfig) -> Callable[[Params, Tensor, Tensor], Tensor]:
    """TransformerLens' own forward pass as a function of (parameters, a, b), giving the logits at the last position.

    Raises:
        ImportError: Under version 4, whose models `torch.func.functional_call` overwrites.
    """
    if not has_hooked_transformer():
        msg = "engine='hooked' needs transformer-lens<4, which has HookedTransformer; use engine='full'."
        raise ImportError(msg)
    model = _to_hooked_transformer(params, config).to(next(iter(params.values())).device, print_details=False)

    def at_answer(params: Params, a: Tensor, b: Tensor) -> Tensor:
        return torch.func.functional_call(model, params, (config.tokens(params, a, b),))[:, -1]

    return at_answer


def _sizes(params: Params, config: TransformerConfig) -> dict[str, Any]:
    return {
        "n_layers": config.n_layers,
        "d_model": config.d_model,
        "n_heads": config.n_heads,
        "d_head": config.d_head,
        "d_mlp": config.d_mlp,
        "d_vocab": len(params["embed.W_E"]),
        "d_vocab_out": params["unembed.W_U"].shape[1],
        "n_ctx": config.n_positions,
        "act_fn": "relu" if config.act_fn == "quadratic" else config.act_fn,
        # TransformerLens' own default is LayerNorm, so None has to be said.
        "normalization_type": None if config.normalization == "none" else "LN",
    }


def _to_hooked_transformer(params: Params, config: TransformerConfig) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        dtype = params["embed.W_E"].dtype
        # init_weights=False: nothing is drawn, so the caller's random state stays as it is.
        cfg = HookedTransformerConfig(**_sizes(params, config), init_weights=False, device="cpu", dtype=dtype)
        model = HookedTransformer(cfg)
    for block in model.blocks:
        if config.act_fn == "quadratic":
            block.mlp.act_fn = ACTIVATIONS["quadratic"]
    buffers = dict(model.named_buffers())
    zeros = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    model.load_state_dict(buffers | zeros | {name: p.detach() for name, p in params.items()})
    return model


def _to_hooked_module(params: Params, config: Architecture) -> Any:
    import transformer_lens
    from transformer_lens import hook_points

    # The class has moved between versions; where it was, the later ones warn.
    root: Any = getattr(transformer_lens, "HookedRootModule", None) or hook_points.HookedRootModule

    class HookedModel(root):
        """The model with TransformerLens' hook points; parameters and hooks keep their names."""

        def __init__(self) -> None:
            super().__init__()
            self.cfg = config
            for name, parameter in params.items():
                _place(self, name).register_parameter(name.rpartition(".")[2], torch.nn.Parameter(parameter.clone()))
            for name in config.hook_names():
                _place(self, name).add_module(name.rpartition(".")[2], hook_points.HookPoint())
            self.setup()

        def forward(self, tokens: Tensor) -> Tensor:
            """The logits [batch, d_vocab_out] of the tokens [batch, 2] of a and b."""
            a, b = tokens.T
            return config.logits(dict(self.named_parameters()), a, b, lambda name, x: self.hook_dict[name](x))

    return HookedModel()


def _place(root: torch.nn.Module, name: str) -> torch.nn.Module:
    """The module that a dotted name lies in, made if it is not there."""
    for part in name.split(".")[:-1]:
        if not hasattr(root, part):
            root.add_module(part, torch.nn.Module())
        root = getattr(root, part)
    return root


def _to_bridge(params: Params, config: TransformerConfig) -> Any:
    if config.act_fn == "quadratic":
        msg = "act_fn='quadratic' has no TransformerBridge; use transformer-lens<4, or read the Snapshot itself."
        raise ValueError(msg)
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    dtype = params["embed.W_E"].dtype
    # boot_native draws initial weights; the fork keeps the caller's random state as it is.
    with torch.random.fork_rng(devices=[]):
        bridge_config = TransformerBridgeConfig(**_sizes(params, config))
        bridge = TransformerBridge.boot_native(bridge_config, device="cpu", dtype=dtype)
    with torch.no_grad():
        state = bridge.state_dict()
        for name in state:
            state[name] = _bridge_weight(name, params, state[name])
        bridge.load_state_dict(state)
    return bridge


def _bridge_weight(name: str, params: Params, like: Tensor) -> Tensor:
    """The bridge's weight of a name in its own layout: torch's [out, in], heads flattened."""
    *module, kind = name.split(".")
    where, part = ".".join(module[:-1]), module[-1]
    if name in ("embed.weight", "pos_embed.weight"):
        return params["embed.W_E" if part == "embed" else "pos_embed.W_pos"]
    if part.startswith("ln"):
        return params[".".join([*module, "w" if kind == "weight" else "b"])]
    if part == "unembed":
        where, part = "unembed", "U"
    ours = f"{where}.{'W' if kind == 'weight' else 'b'}_{part.upper() if len(part) == 1 else part}"
    if ours not in params:
        return torch.zeros_like(like)
    weight = params[ours]
    if kind == "bias":
        return weight.flatten()
    if part in ("q", "k", "v"):
        return rearrange(weight, "head d k -> (head k) d")
    return rearrange(weight, "head k d -> d (head k)") if part == "o" else weight.T


def _check_is_read(cfg: Any, sequence: Sequence) -> None:
    wanted = {
        "normalization_type": (None, "LN"),
        "positional_embedding_type": ("standard",),
        # The last position attends to every position either way, and one layer reads no other.
        "attention_dir": ("causal", "bidirectional") if cfg.n_layers == 1 else ("causal",),
        "attn_only": (False,),
        "parallel_attn_mlp": (False,),
        "gated_mlp": (False,),
        "n_key_value_heads": (None, cfg.n_heads),
        "use_attn_scale": (True,),
        # A bridge has -1 for the usual scale.
        "attn_scale": (math.sqrt(cfg.d_head), -1.0),
        "scale_attn_by_inverse_layer_idx": (False,),
        "attn_scores_soft_cap": (-1.0, None),
        "output_logits_soft_cap": (-1.0, None),
        "eps": (1e-5,),
    }
    for name, accepted in wanted.items():
        found = getattr(cfg, name, accepted[0])
        if found not in accepted:
            msg = f"model.cfg.{name} must be {' or '.join(map(repr, accepted))} for this library, got {found!r}."
            raise ValueError(msg)
    wanted_tokens = len(sequence.split())
    if cfg.n_ctx < wanted_tokens:
        msg = f"a model of {sequence!r} must read {wanted_tokens} tokens, got n_ctx={cfg.n_ctx}; pass its sequence."
        raise ValueError(msg)


def _check_computes_the_same(model: Any, params: Params, config: Architecture) -> None:
    """Some pairs through the model itself: no list of settings is long enough to know every other kind."""
    check_numbers(params)
    a = torch.arange(min(addition_of(params, config).n_tokens, 16))
    b = a.flip(0)
    with torch.no_grad():
        tokens = config.tokens(params, a, b).to(next(model.parameters()).device)
        wanted = config.at_answer(HOOK_LOGITS, model(tokens)).cpu().double()
        found = config.logits(params, a, b).double()
    # Far above the rounding of the model's numbers, far below what another computation would change.
    off, size = (found - wanted).abs().max().item(), wanted.abs().max().item()
    if not off <= 3 * math.sqrt(torch.finfo(params["unembed.W_U"].dtype).eps) * max(size, 1e-3):
        msg = (
            f"the model's logits must be those that its weights give as a plain transformer, but differ by {off:.3g}; "
            "is a hook left on (model.reset_hooks()), or its MLP, attention or normalization of another kind?"
        )
        raise ValueError(msg)


def _activation(model: Any, cfg: Any) -> Any:
    if getattr(model.blocks[0].mlp, "act_fn", None) is ACTIVATIONS["quadratic"]:
        return "quadratic"
    if cfg.act_fn not in ("relu", "gelu"):
        msg = f"model.cfg.act_fn must be 'relu' or 'gelu' for this library, got {cfg.act_fn!r}."
        raise ValueError(msg)
    return cfg.act_fn


def _norms(name: str, norm: Any) -> Params:
    scale = norm.w if hasattr(norm, "w") else norm.weight
    shift = norm.b if hasattr(norm, "b") else norm.bias
    return {f"{name}.w": scale, f"{name}.b": shift}
