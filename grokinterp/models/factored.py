"""The factored forward pass of a 1-layer transformer without normalization: exact and fast.

At the '=' position, keys, values and attention scores depend only on a token and its position. They are computed once
per token, so that a pair needs a lookup, a softmax over three scores per head, a weighted sum of three rows, and the
MLP. The products W_O W_in, W_O W_U and W_out W_U are computed once per call.
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
    """Activations at the '=' position.

    Attributes:
        pattern: Attention from '=' to the three positions.
        neurons: MLP activations after the activation function.
        logits: Logits of the output classes.
    """

    pattern: Float[Tensor, "batch head pos"]
    neurons: Float[Tensor, "batch d_mlp"]
    logits: Float[Tensor, "batch d_vocab_out"]


def factored_activations(
    params: Params, config: TransformerConfig, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]
) -> FactoredActivations:
    """Attention patterns, MLP activations and logits at '=', equal to the full forward pass up to rounding.

    Args:
        params: Parameters by TransformerLens name.
        config: Config of a 1-layer transformer without normalization and with sequence 'a b ='.
        a: Tokens of the first operand.
        b: Tokens of the second operand.

    Returns:
        The activations, differentiable with respect to the parameters.

    Raises:
        ValueError: If the model cannot be factored.
    """
    if not is_factorable(config):
        msg = (
            "the factored forward pass requires a 1-layer transformer without normalization and sequence 'a b =', got "
            f"n_layers={config.n_layers}, normalization={config.normalization!r}, sequence={config.sequence!r}; "
            "use config.logits."
        )
        raise ValueError(msg)
    weight = {name.rsplit(".", 1)[-1]: tensor for name, tensor in params.items()}
    heads = config.n_heads
    W_O = rearrange(weight["W_O"], "head k d -> (head k) d")
    equals = weight["W_E"][-1] + weight["W_pos"][-1]

    # One row per token and one per position: the scores of all heads, then the values of all heads.
    read = torch.cat([_score_directions(weight, equals, config), rearrange(weight["W_V"], "head d k -> d (head k)")], 1)
    token_rows, position_rows = weight["W_E"] @ read, weight["W_pos"] @ read + _row_biases(weight, equals, config)
    # F.embedding instead of rows[a]: its backward adds in a fixed order, so equal runs are bitwise equal.
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
    # In place, because `pre` is among the largest tensors and is not used again.
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
    """The query of '=', divided by sqrt(d_head)."""
    q = einsum(equals, weight["W_Q"], "d, head d k -> head k") + weight.get("b_Q", 0.0)
    return q / math.sqrt(config.d_head)


def _score_directions(weight: Params, equals: Tensor, config: TransformerConfig) -> Float[Tensor, "d_model head"]:
    return einsum(_query(weight, equals, config), weight["W_K"], "head k, head d k -> d head")


def _row_biases(weight: Params, equals: Tensor, config: TransformerConfig) -> Tensor | float:
    if "b_K" not in weight:
        return 0.0
    scores = einsum(_query(weight, equals, config), weight["b_K"], "head k, head k -> head")
    return torch.cat([scores, weight["b_V"].flatten()])
