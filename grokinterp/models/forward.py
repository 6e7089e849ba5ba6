"""The forward pass of a model of any kind: the one place that asks which kind it is."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grokinterp.models import mlp, transformer
from grokinterp.models.config import MLPConfig, ModelConfig
from grokinterp.models.hooks import Hook, no_hook
from grokinterp.models.init import Params


def logits(
    params: Params,
    config: ModelConfig,
    a: Int[Tensor, " batch"],
    b: Int[Tensor, " batch"],
    hook: Hook = no_hook,
) -> Float[Tensor, "batch d_vocab_out"]:
    """The logits of each pair: those of `transformer.logits` or of `mlp.logits`."""
    if isinstance(config, MLPConfig):
        return mlp.logits(params, config, a, b, hook)
    return transformer.logits(params, config, a, b, hook)


def hook_names(config: ModelConfig) -> tuple[str, ...]:
    """The hook points of the forward pass, in its order."""
    return mlp.hook_names(config) if isinstance(config, MLPConfig) else transformer.hook_names(config)


def tokens(
    params: Params, config: ModelConfig, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]
) -> Int[Tensor, "batch pos"]:
    """What the model reads: a transformer's sequence, or the two operands."""
    if isinstance(config, MLPConfig):
        return torch.stack([a, b], dim=1)
    return transformer.sequences(params, config, a, b)


def activations(
    params: Params, config: ModelConfig, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]
) -> dict[str, Tensor]:
    """Every activation by its TransformerLens hook name: the cache of `run_with_cache`.

    Returns:
        Tensors shaped as TransformerLens' are: [batch, pos, ...], patterns [batch, head, query, key]; those of an MLP
        [batch, ...].
    """
    cache: dict[str, Tensor] = {}

    def record(name: str, activation: Tensor) -> Tensor:
        cache[name] = activation
        return activation

    logits(params, config, a, b, record)
    return cache


def at_answer(config: ModelConfig, name: str, activation: Tensor) -> Tensor:
    """The part of an activation that is at the position of the answer, the last; an MLP has no positions.

    A pattern [batch, head, query, key] gives [batch, head, key], anything else [batch, pos, ...] gives [batch, ...].
    """
    if isinstance(config, MLPConfig):
        return activation
    return activation[:, :, -1] if name.endswith("hook_pattern") else activation[:, -1]
