"""Initial parameters: those of HookedTransformer, of the paper and of torch's layers, bit for bit from a seed.

The order of the draws matters: the same seed in another order gives another model.
"""

import math

import torch
from einops import rearrange
from torch import Tensor

from grokinterp import arguments
from grokinterp.models.config import EXTRA_TOKENS, MLPConfig, ModelConfig, TransformerConfig
from grokinterp.tasks.operations import Task


Params = dict[str, Tensor]


def d_vocab(config: ModelConfig, task: Task) -> int:
    """Input tokens of the model: the operands', and those that its sequence has besides."""
    return task.n_tokens + (len(EXTRA_TOKENS[config.sequence]) if isinstance(config, TransformerConfig) else 0)


def d_vocab_out(config: ModelConfig, task: Task) -> int:
    """Output classes of the model: the task's, and '=' where the config asks for it."""
    return task.n_outputs + (isinstance(config, TransformerConfig) and config.equals_in_output)


def shapes(config: ModelConfig, task: Task) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter by its TransformerLens name, in the order of `HookedTransformer`'s own.

    Examples:
        >>> from grokinterp.tasks.operations import operation
        >>> shapes(TransformerConfig(biases="mlp"), operation("addition", 113))["blocks.0.attn.W_Q"]
        (4, 128, 32)
        >>> shapes(MLPConfig(), operation("addition", 97))["blocks.0.mlp.W_in"]
        (194, 128)
    """
    if isinstance(config, MLPConfig):
        return _mlp_shapes(config, task)
    d, h, k, m = config.d_model, config.n_heads, config.d_head, config.d_mlp
    out = d_vocab_out(config, task)
    result: dict[str, tuple[int, ...]] = {
        "embed.W_E": (d_vocab(config, task), d),
        "pos_embed.W_pos": (config.n_positions, d),
    }
    for layer in range(config.n_layers):
        block = {
            "ln1.w": (d,), "ln1.b": (d,), "ln2.w": (d,), "ln2.b": (d,),
            "attn.W_Q": (h, d, k), "attn.W_O": (h, k, d), "attn.b_Q": (h, k), "attn.b_O": (d,),
            "attn.W_K": (h, d, k), "attn.W_V": (h, d, k), "attn.b_K": (h, k), "attn.b_V": (h, k),
            "mlp.W_in": (d, m), "mlp.b_in": (m,), "mlp.W_out": (m, d), "mlp.b_out": (d,),
        }  # fmt: skip
        result |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    result |= {"ln_final.w": (d,), "ln_final.b": (d,), "unembed.W_U": (d, out), "unembed.b_U": (out,)}
    return {name: shape for name, shape in result.items() if _is_present(name, config)}


def _mlp_shapes(config: MLPConfig, task: Task) -> dict[str, tuple[int, ...]]:
    n, d, m = task.n_tokens, config.d_model, config.d_mlp
    result: dict[str, tuple[int, ...]] = {} if config.inputs == "onehot" else {"embed.W_E": (n, d)}
    width = {"onehot": 2 * n, "concatenated": 2 * d, "summed": d}[config.inputs]
    for layer in range(config.n_layers):
        result |= {f"blocks.{layer}.mlp.W_in": (width, m), f"blocks.{layer}.mlp.b_in": (m,)}
        width = m
    result |= {"unembed.W_U": (m, task.n_outputs), "unembed.b_U": (task.n_outputs,)}
    return {name: shape for name, shape in result.items() if config.biases == "all" or ".b_" not in name}


def _is_present(name: str, config: TransformerConfig) -> bool:
    *_, module, parameter = name.split(".")
    if module.startswith("ln"):
        return config.normalization == "LN"
    if parameter.startswith("W_"):
        return True
    return config.biases == "all" or (config.biases == "mlp" and module == "mlp")


def initial_params(config: ModelConfig, task: Task, *, seed: int) -> Params:
    """The parameters before training, float32.

    Examples:
        >>> from grokinterp.tasks.operations import operation
        >>> params = initial_params(TransformerConfig(), operation("addition", 113), seed=999)
        >>> round(params["embed.W_E"].std().item(), 6)
        0.071178
    """
    generator = torch.Generator().manual_seed(arguments.seed(seed))
    if isinstance(config, MLPConfig):
        return _torch(config, task, generator)
    draw = {"hooked_transformer": _hooked_transformer, "paper": _paper}[config.init]
    drawn = draw(config, task, generator)
    params = {}
    for name, shape in shapes(config, task).items():
        is_scale = name.endswith(".w")
        params[name] = drawn[name] if name in drawn else torch.full(shape, 1.0 if is_scale else 0.0)
    return params


def _hooked_transformer(config: TransformerConfig, task: Task, generator: torch.Generator) -> Params:
    """N(0, 0.64 / d_model) for every W_, in the order of the parameters, as HookedTransformer(seed=...)."""
    std = 0.8 / math.sqrt(config.d_model)
    return {
        name: torch.empty(shape).normal_(0.0, std, generator=generator)
        for name, shape in shapes(config, task).items()
        if "W_" in name
    }


def _paper(config: TransformerConfig, task: Task, generator: torch.Generator) -> Params:
    """The draws of Nanda et al. 2023: their order (K before Q) and their layout, turned to TransformerLens'."""
    d, h, k, m = config.d_model, config.n_heads, config.d_head, config.d_mlp
    v, out = d_vocab(config, task), d_vocab_out(config, task)

    def draw(*shape: int, fan: int) -> Tensor:
        return torch.randn(*shape, generator=generator) / math.sqrt(fan)

    W_E, W_pos = draw(d, v, fan=d), draw(3, d, fan=d)
    W_K, W_Q, W_V = (draw(h, k, d, fan=d) for _ in range(3))
    W_O, W_in = draw(d, h * k, fan=d), draw(m, d, fan=d)
    # Their code divides W_out by sqrt(d_model) too, not by sqrt(d_mlp).
    W_out, W_U = draw(d, m, fan=d), draw(d, out, fan=out)
    drawn = {
        "embed.W_E": W_E.T,
        "pos_embed.W_pos": W_pos,
        "blocks.0.attn.W_Q": rearrange(W_Q, "h k d -> h d k"),
        "blocks.0.attn.W_K": rearrange(W_K, "h k d -> h d k"),
        "blocks.0.attn.W_V": rearrange(W_V, "h k d -> h d k"),
        "blocks.0.attn.W_O": rearrange(W_O, "d (h k) -> h k d", h=h),
        "blocks.0.mlp.W_in": W_in.T,
        "blocks.0.mlp.W_out": W_out.T,
        "unembed.W_U": W_U,
    }
    return {name: tensor.contiguous() for name, tensor in drawn.items()}


def _torch(config: MLPConfig, task: Task, generator: torch.Generator) -> Params:
    """The draws of torch.nn.Embedding and, in the layout [out, in] and with its bias after it, torch.nn.Linear."""
    params, bound = {}, 0.0
    for name, shape in shapes(config, task).items():
        if name == "embed.W_E":
            params[name] = torch.empty(shape).normal_(generator=generator)
        elif ".W_" in name:
            # Of the bias that follows.
            bound = 1 / math.sqrt(shape[0])
            weights = torch.empty(shape[::-1])
            torch.nn.init.kaiming_uniform_(weights, a=math.sqrt(5), generator=generator)
            params[name] = weights.T.contiguous()
        else:
            params[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    return params
