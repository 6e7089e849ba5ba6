"""Conversion to and from TransformerLens; it is imported inside functions because the import takes seconds.

Version 3 has `HookedTransformer`; version 4 replaced it by `TransformerBridge`.
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
    """Whether TransformerLens 3 is installed, which has `HookedTransformer`."""
    return int(version("transformer-lens").split(".")[0]) < 4


def to_transformer_lens(params: Params, config: Architecture) -> Any:
    """Convert a model to TransformerLens, with the same logits and hooks; the weights are copied.

    Args:
        params: Parameters by TransformerLens name.
        config: Architecture of the model.

    Returns:
        A model on the CPU: a `HookedTransformer` with TransformerLens 3, a `TransformerBridge` with 4; for an MLP, a
        `HookedRootModule` that reads the tokens [batch, 2] of a and b.

    Raises:
        ValueError: If version 4 does not support the activation function (`quadratic`).
    """
    if not isinstance(config, TransformerConfig):
        return _to_hooked_module(params, config)
    return _to_hooked_transformer(params, config) if has_hooked_transformer() else _to_bridge(params, config)


def from_transformer_lens(model: Any, sequence: Sequence = "a b =") -> tuple[Params, Architecture]:
    """Copy the weights of a TransformerLens model to the CPU and read its config.

    Biases are dropped if all are zero, so that a model without biases stays one.

    Args:
        model: A `HookedTransformer`, a `TransformerBridge`, or an MLP from `to_transformer_lens`.
        sequence: Input tokens, which the weights do not determine.

    Returns:
        Parameters by TransformerLens name, and the config.

    Raises:
        TypeError: If the argument is not a TransformerLens model.
        ValueError: If attention, normalization or MLP are not supported, or the logits do not follow from the weights,
            e.g. because a hook was not removed.
    """
    if isinstance(getattr(model, "cfg", None), Architecture):
        params = {name: p.detach().cpu().clone() for name, p in model.named_parameters()}
        _check_computes_the_same(model, params, model.cfg)
        return params, model.cfg
    if not hasattr(model, "run_with_cache") or not hasattr(model, "W_E"):
        msg = (
            f"model must be a Snapshot, HookedTransformer or TransformerBridge, got {shown(model)}; use "
            "run.snapshot(epoch) for a run, gi.load_model(path) for a file."
        )
        raise TypeError(msg)
    cfg = model.cfg
    _check_is_supported(cfg, sequence)
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
    """TransformerLens' forward pass as a function of (parameters, a, b) that returns the logits at the last position.

    Raises:
        ImportError: With version 4, because `torch.func.functional_call` overwrites the weights of its models.
    """
    if not has_hooked_transformer():
        msg = "engine='hooked' requires transformer-lens<4, which has HookedTransformer; use engine='full'."
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
        # Explicit, because TransformerLens defaults to LayerNorm.
        "normalization_type": None if config.normalization == "none" else "LN",
    }


def _to_hooked_transformer(params: Params, config: TransformerConfig) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        dtype = params["embed.W_E"].dtype
        # init_weights=False draws nothing, so the global random state does not change.
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

    # The class moved between versions, and later ones warn about the old location.
    root: Any = getattr(transformer_lens, "HookedRootModule", None) or hook_points.HookedRootModule

    class HookedModel(root):
        """A model with TransformerLens hook points; parameters and hooks keep their names."""

        def __init__(self) -> None:
            super().__init__()
            self.cfg = config
            for name, parameter in params.items():
                _parent(self, name).register_parameter(name.rpartition(".")[2], torch.nn.Parameter(parameter.clone()))
            for name in config.hook_names():
                _parent(self, name).add_module(name.rpartition(".")[2], hook_points.HookPoint())
            self.setup()

        def forward(self, tokens: Tensor) -> Tensor:
            """The logits [batch, d_vocab_out] of the tokens [batch, 2] of a and b."""
            a, b = tokens.T
            return config.logits(dict(self.named_parameters()), a, b, lambda name, x: self.hook_dict[name](x))

    return HookedModel()


def _parent(root: torch.nn.Module, name: str) -> torch.nn.Module:
    """The module that contains a dotted name, created if missing."""
    for part in name.split(".")[:-1]:
        if not hasattr(root, part):
            root.add_module(part, torch.nn.Module())
        root = getattr(root, part)
    return root


def _to_bridge(params: Params, config: TransformerConfig) -> Any:
    if config.act_fn == "quadratic":
        msg = "TransformerBridge does not support act_fn='quadratic'; use transformer-lens<4, or analyze the Snapshot."
        raise ValueError(msg)
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    dtype = params["embed.W_E"].dtype
    # boot_native draws initial weights; the fork preserves the global random state.
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
    """A weight of the bridge by name, in its layout: [out, in] as in torch, with heads flattened."""
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


def _check_is_supported(cfg: Any, sequence: Sequence) -> None:
    wanted = {
        "normalization_type": (None, "LN"),
        "positional_embedding_type": ("standard",),
        # The last position attends to all positions either way, and one layer uses only the last position.
        "attention_dir": ("causal", "bidirectional") if cfg.n_layers == 1 else ("causal",),
        "attn_only": (False,),
        "parallel_attn_mlp": (False,),
        "gated_mlp": (False,),
        "n_key_value_heads": (None, cfg.n_heads),
        "use_attn_scale": (True,),
        # A bridge has -1 for the default scale.
        "attn_scale": (math.sqrt(cfg.d_head), -1.0),
        "scale_attn_by_inverse_layer_idx": (False,),
        "attn_scores_soft_cap": (-1.0, None),
        "output_logits_soft_cap": (-1.0, None),
        "eps": (1e-5,),
    }
    for name, accepted in wanted.items():
        value = getattr(cfg, name, accepted[0])
        if value not in accepted:
            msg = f"model.cfg.{name} must be {' or '.join(map(repr, accepted))} for this library, got {value!r}."
            raise ValueError(msg)
    wanted_tokens = len(sequence.split())
    if cfg.n_ctx < wanted_tokens:
        msg = f"sequence {sequence!r} requires n_ctx >= {wanted_tokens}, got n_ctx={cfg.n_ctx}; pass the sequence."
        raise ValueError(msg)


def _check_computes_the_same(model: Any, params: Params, config: Architecture) -> None:
    """Compare the logits of some pairs, because the list of checked settings cannot be complete."""
    check_numbers(params)
    a = torch.arange(min(addition_of(params, config).n_tokens, 16))
    b = a.flip(0)
    with torch.no_grad():
        tokens = config.tokens(params, a, b).to(next(model.parameters()).device)
        wanted = config.at_answer(HOOK_LOGITS, model(tokens)).cpu().double()
        ours = config.logits(params, a, b).double()
    # The tolerance is far above rounding errors and far below the effect of a different architecture.
    off, size = (ours - wanted).abs().max().item(), wanted.abs().max().item()
    if not off <= 3 * math.sqrt(torch.finfo(params["unembed.W_U"].dtype).eps) * max(size, 1e-3):
        msg = (
            f"the model's logits must follow from its weights, but differ by {off:.3g}; remove all "
            "hooks (model.reset_hooks()), or check that its MLP, attention and normalization are supported."
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
