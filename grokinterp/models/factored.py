"""The exact fast forward of a one-layer transformer without normalization.

Only the '=' position is read, and there keys, values and scores depend on a token and its position alone. So
they are tables over the tokens; a pair costs a lookup, a softmax over three numbers per head, a mix of three
rows, and the MLP. The products W_O W_in, W_O W_U and W_out W_U are taken once per call.
"""

import math
from typing import NamedTuple, TypeGuard

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from grokinterp.models.architecture import ACTIVATIONS, Architecture, Params
from grokinterp.models.kinds.transformer import TransformerConfig


def is_tabulable(config: Architecture) -> TypeGuard[TransformerConfig]:
    """Whether the engine `kernels` trains the model: a 1-layer transformer without normalization, read at '='."""
    is_plain = isinstance(config, TransformerConfig) and config.n_layers == 1 and config.normalization == "none"
    return is_plain and config.sequence != "a b"


def is_factorable(config: Architecture) -> TypeGuard[TransformerConfig]:
    """Whether the factored forward computes the model: as `is_tabulable`, reading 'a b ='."""
    return is_tabulable(config) and config.sequence == "a b ="


class FactoredActivations(NamedTuple):
    """The activations at '=' that the factored forward passes through.

    Attributes:
        pattern: Attention from '=' to the three positions.
        neurons: After the activation function.
        logits: Of the output classes.
    """

    pattern: Float[Tensor, "batch head pos"]
    neurons: Float[Tensor, "batch d_mlp"]
    logits: Float[Tensor, "batch d_vocab_out"]


def factored_activations(
    params: Params, config: TransformerConfig, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]
) -> FactoredActivations:
    """Attention, neurons and logits at '=', equal to those of `transformer.logits` up to rounding.

    Args:
        params: By TransformerLens name.
        config: One layer, no normalization.
        a: Token of the first operand.
        b: Token of the second operand.

    Returns:
        The activations, differentiable in the parameters.

    Raises:
        ValueError: If the config has more layers or a normalization.
    """
    if not is_factorable(config):
        msg = (
            "the factored forward needs one layer without normalization, reading 'a b =', got "
            f"n_layers={config.n_layers}, normalization={config.normalization!r}, sequence={config.sequence!r}; "
            "use transformer.logits."
        )
        raise ValueError(msg)
    weight = {name.rsplit(".", 1)[-1]: tensor for name, tensor in params.items()}
    heads = config.n_heads
    W_O = rearrange(weight["W_O"], "head k d -> (head k) d")
    equals = weight["W_E"][-1] + weight["W_pos"][-1]

    # A row per token and a row per position: scores of all heads, then values of all heads.
    read = torch.cat([_score_directions(weight, equals, config), rearrange(weight["W_V"], "head d k -> d (head k)")], 1)
    token_rows, position_rows = weight["W_E"] @ read, weight["W_pos"] @ read + _row_biases(weight, equals, config)
    # F.embedding and not rows[a]: its backward adds in a fixed order, so that equal runs have equal bits.
    rows = (
        F.embedding(a, token_rows) + position_rows[0],
        F.embedding(b, token_rows) + position_rows[1],
        (token_rows[-1] + position_rows[-1]).expand(len(a), -1),
    )
    pattern = torch.stack([row[:, :heads] for row in rows], dim=-1).softmax(dim=-1)
    from_a, from_b, from_equals = (
        pattern[:, :, pos, None] * rearrange(row[:, heads:], "batch (head k) -> batch head k", head=heads)
        for pos, row in enumerate(rows)
    )
    z = rearrange(from_a + from_b + from_equals, "batch head k -> batch (head k)")

    direct = equals + weight.get("b_O", 0.0)
    pre = torch.addmm(direct @ weight["W_in"] + weight.get("b_in", 0.0), z, W_O @ weight["W_in"])
    # In place, since nothing else reads `pre` and it is among the largest tensors of the pass.
    neurons = pre.relu_() if config.act_fn == "relu" else ACTIVATIONS[config.act_fn](pre)
    constant = (direct + weight.get("b_out", 0.0)) @ weight["W_U"] + weight.get("b_U", 0.0)
    logits = torch.addmm(torch.addmm(constant, z, W_O @ weight["W_U"]), neurons, weight["W_out"] @ weight["W_U"])
    return FactoredActivations(pattern, neurons, logits)


def factored_logits(
    params: Params, config: TransformerConfig, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]
) -> Float[Tensor, "batch d_vocab_out"]:
    """The logits of `factored_activations`."""
    return factored_activations(params, config, a, b).logits


def _query(weight: Params, equals: Tensor, config: TransformerConfig) -> Float[Tensor, "head d_head"]:
    """The query of '=', with the scale of the scores in it."""
    q = einsum(equals, weight["W_Q"], "d, head d k -> head k") + weight.get("b_Q", 0.0)
    return q / math.sqrt(config.d_head)


def _score_directions(weight: Params, equals: Tensor, config: TransformerConfig) -> Float[Tensor, "d_model head"]:
    return einsum(_query(weight, equals, config), weight["W_K"], "head k, head d k -> d head")


def _row_biases(weight: Params, equals: Tensor, config: TransformerConfig) -> Tensor | float:
    if "b_K" not in weight:
        return 0.0
    scores = einsum(_query(weight, equals, config), weight["b_K"], "head k, head k -> head")
    return torch.cat([scores, weight["b_V"].flatten()])
