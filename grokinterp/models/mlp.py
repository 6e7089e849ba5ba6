"""The forward pass of a multi-layer perceptron as a pure function of (parameters, a, b).

Parameters and hooks are named after their counterparts in TransformerLens: `blocks.0.mlp.W_in` leads to the first
hidden layer, `blocks.1.mlp.W_in` from there to the second, `unembed.W_U` to the logits.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from grokinterp.models.config import MLPConfig
from grokinterp.models.hooks import ACTIVATIONS, HOOK_LOGITS, Hook, no_hook
from grokinterp.models.init import Params


def logits(
    params: Params,
    config: MLPConfig,
    a: Int[Tensor, " batch"],
    b: Int[Tensor, " batch"],
    hook: Hook = no_hook,
) -> Float[Tensor, "batch d_vocab_out"]:
    """The logits of each pair.

    Args:
        params: By name.
        config: The model's.
        a: Token of the first operand.
        b: Token of the second operand.
        hook: Sees, and may replace, every activation of `hook_names`.

    Returns:
        Logits of the output classes, in the dtype of the parameters.
    """
    pre = _first(params, config, a, b, hook)
    for layer in range(config.n_layers):
        pre = hook(f"blocks.{layer}.mlp.hook_pre", pre + params.get(f"blocks.{layer}.mlp.b_in", 0.0))
        post = hook(f"blocks.{layer}.mlp.hook_post", ACTIVATIONS[config.act_fn](pre))
        pre = post @ params[f"blocks.{layer + 1}.mlp.W_in" if layer + 1 < config.n_layers else "unembed.W_U"]
    return hook(HOOK_LOGITS, pre + params.get("unembed.b_U", 0.0))


def hook_names(config: MLPConfig) -> tuple[str, ...]:
    """The hook points of the forward pass, in its order.

    `hook_embed` is [batch, operand, d_model], and not there for one-hot inputs; the others are [batch, ...].
    """
    embed = () if config.inputs == "onehot" else ("hook_embed",)
    layers = (f"blocks.{layer}.mlp.{name}" for layer in range(config.n_layers) for name in ("hook_pre", "hook_post"))
    return (*embed, *layers, HOOK_LOGITS)


def _first(params: Params, config: MLPConfig, a: Tensor, b: Tensor, hook: Hook) -> Float[Tensor, "batch d_mlp"]:
    """What reaches the first hidden layer, without its bias."""
    W_in = params["blocks.0.mlp.W_in"]
    if config.inputs == "onehot":
        # The product of two one-hot vectors and the weights is a sum of two rows. F.embedding and not W_in[a], for the
        # fixed order of its backward.
        of_a, of_b = W_in.chunk(2)
        return F.embedding(a, of_a) + F.embedding(b, of_b)
    embed = hook("hook_embed", F.embedding(torch.stack([a, b], dim=1), params["embed.W_E"]))
    return (embed.flatten(1) if config.inputs == "concatenated" else embed.sum(dim=1)) @ W_in
