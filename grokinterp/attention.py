"""Attention over all pairs: patterns, their fit by one frequency, and the scores behind them."""

import math
from dataclasses import dataclass
from typing import Final

import torch
import xarray as xr
from einops import einsum
from jaxtyping import Float, Float64, Int
from torch import Tensor

from grokinterp import labels
from grokinterp.basis import coefficients
from grokinterp.basis import fve as basis_fve
from grokinterp.measures import measure
from grokinterp.models.factored import is_factorable
from grokinterp.snapshots import Snapshot, as_snapshot, cached


# Attention below this is rounding error, and so is its logarithm.
_SMALLEST: Final = 1e-30


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionFit:
    """Each head's attention to a, fitted by 1/2 + C (cos(w_k a + theta) - cos(w_k b + theta)) at its best frequency k.

    Attributes:
        frequency: The k that explains most of the head's attention over all pairs.
        amplitude: C, at least 0.
        phase: theta; radians, -pi to pi.
        fve: 1 - squared residual / variance of the head's attention: at most 1, 0 if the attention is constant,
            negative if its mean is far from 1/2.
    """

    frequency: Int[Tensor, " head"]
    amplitude: Float64[Tensor, " head"]
    phase: Float64[Tensor, " head"]
    fve: Float64[Tensor, " head"]


@measure("attention", version=1)
def pattern(snapshot: Snapshot) -> xr.DataArray:
    """Attention from the last position to a in the last layer, for every pair, 0 to 1; dims (head, a, b).

    The last position is '=', or b for a model that reads 'a b'. In the paper's model the rest of the attention goes to
    b, except for 0.1 to 0.4% that stays at '='.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figure 4a.
    """
    return _over_pairs(
        snapshot, _attention_to(snapshot, "a").permute(2, 0, 1), f"attention from {_last_token(snapshot)} to a"
    )


@measure("attention_to_equals", version=1)
def to_equals(snapshot: Snapshot) -> xr.DataArray:
    """Mean attention of each head from '=' to itself over all pairs, 0 to 1; dims (head,).

    Raises:
        ValueError: If the model does not read '='.
    """
    return _by_head(_attention_to(snapshot, "=").double().mean(dim=(0, 1)), "mean attention from = to =")


@measure("attention_mean", version=1)
def mean(snapshot: Snapshot) -> xr.DataArray:
    """Mean attention from the last position to each position, over all pairs; dims (layer, head, key).

    Examples:
        >>> import grokinterp as gi
        >>> mean(gi.testing.planted_snapshot(7, (1, 3))).sel(layer=0, head=1).values.round(6).tolist()
        [0.0, 1.0, 0.0]
    """
    return _by_position(snapshot, [x.mean(dim=(0, 1)) for x in _patterns(snapshot)], "mean attention")


@measure("attention_std", version=1)
def std(snapshot: Snapshot) -> xr.DataArray:
    """The standard deviation over all pairs of each head's attention to each position; dims (layer, head, key).

    0 if the attention is constant, up to 1/2 if it is 0 or 1 depending on the pair.
    """
    stds = [x.flatten(0, 1).std(dim=0, correction=0) for x in _patterns(snapshot)]
    return _by_position(snapshot, stds, "standard deviation of attention over pairs")


def fit(model: object) -> AttentionFit:
    """The best frequency of each head of the last layer, and the fraction of its attention explained by it.

    Args:
        model: A Snapshot or a TransformerLens model. Its task must have a cyclic group, and the inputs must be all of
            its elements, as in addition modulo p.

    Returns:
        The fit, computed once per snapshot.

    Raises:
        ValueError: If the task has no group, or its group is not cyclic or does not match the inputs.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.3 and table 2: 0.5 +- C_j (cos w_k(a + theta) - cos w_k(b +
        theta)). We found no code for their fit. This is a least-squares fit with the mean fixed at 1/2; theta here is
        w_k times theta in the paper.

    Examples:
        >>> import grokinterp as gi
        >>> fit(gi.testing.planted_snapshot(7, keys=(1, 3))).fve.tolist()
        [0.0, 0.0, 0.0, 0.0]
    """
    return _fit(as_snapshot(model))


@measure("attention_frequency", version=1)
def frequency(snapshot: Snapshot) -> xr.DataArray:
    """The best frequency of each head's attention; dims (head,)."""
    return _by_head(_fit(snapshot).frequency, "frequency of the head")


@measure("attention_fve", version=1)
def fve(snapshot: Snapshot) -> xr.DataArray:
    """The fraction of each head's attention variance that `fit` explains, at most 1; dims (head,)."""
    return _by_head(_fit(snapshot).fve, "FVE of the attention by its frequency")


@measure("attention_fitted", version=1)
def fitted(snapshot: Snapshot) -> xr.DataArray:
    """Each head's attention to a according to `fit`, for every pair; dims (head, a, b)."""
    best = _fit(snapshot)
    cos, sin = _cos_sin(snapshot)[:, torch.tensor([snapshot.basis.blocks.index(k) for k in best.frequency.tolist()])]
    shifted = torch.polar(torch.ones_like(best.phase), best.phase)[:, None] * torch.complex(cos, sin)
    cosine = shifted.real * best.amplitude[:, None]
    fitted_pattern = 0.5 + cosine[:, :, None] - cosine[:, None, :]
    return _over_pairs(snapshot, fitted_pattern, f"fitted attention from {_last_token(snapshot)} to a")


@measure("score_components", version=1)
def score_components(snapshot: Snapshot) -> xr.DataArray:
    """C_j: the coefficients of each head's token scores in the basis of the task; dims (head, component).

    A token score is the pre-softmax score from '=' to the token, scaled by 1/sqrt(d_head), without the positional term.

    Raises:
        ValueError: If the task has no group, or the model has more than one layer or a normalization: scores
            would depend on more than the token.

    Source:
        Nanda et al. 2023, arXiv:2301.05217: C_j, their notebook's `W_attnf`. Differs: `W_attnf` is not scaled.
    """
    values, coords = coefficients(_token_scores(snapshot), snapshot.basis), {"component": snapshot.basis.names}
    return labels.array(values, ("head", "component"), units="logit", long_name="attention score", coords=coords)


@measure("score_spectrum", version=1)
def score_spectrum(snapshot: Snapshot) -> xr.DataArray:
    """The fraction of each head's token-score variance at each frequency, 0 to 1; dims (head, frequency).

    Raises:
        ValueError: As `score_components`.
    """
    values, coords = basis_fve(_token_scores(snapshot), snapshot.basis), {"frequency": snapshot.basis.blocks}
    return labels.array(values, ("head", "frequency"), long_name="FVE of the attention score", coords=coords)


def linear_pattern(pattern: Float[Tensor, "*rest pos"]) -> Float[Tensor, "*rest pos"]:
    """Attention to a, b and '=' with the sigmoid replaced by its tangent at 0.

    Of the attention that does not stay at '=', a gets sigmoid(d), with d the score of a minus the score of b. Here a
    gets 1/2 + d/4, minus half of the attention to '='; for |d| > 2 one of the two values is negative.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, replace the softmax, a "sigmoid of the difference", by a linear function.
        The paper does not say which. If 1/2 + d/4 is instead multiplied by the attention that does not stay at '=', the
        loss of the paper's model triples.

    Raises:
        ValueError: If the pattern does not have three positions.

    Examples:
        >>> linear_pattern(torch.tensor([0.5, 0.5, 0.0])).tolist()
        [0.5, 0.5, 0.0]
    """
    if pattern.shape[-1] != 3:
        msg = f"linear_pattern requires attention to the three positions 'a b =', got {pattern.shape[-1]} positions."
        raise ValueError(msg)
    to_a, to_b, to_equals = pattern.double().unbind(dim=-1)
    difference = to_a.clamp(min=_SMALLEST).log() - to_b.clamp(min=_SMALLEST).log()
    half = (1 - to_equals) / 2
    return torch.stack([half + difference / 4, half - difference / 4, to_equals], dim=-1).to(pattern.dtype)


@cached
def _fit(snapshot: Snapshot) -> AttentionFit:
    cos_sin = _cos_sin(snapshot)
    x = _attention_to(snapshot, "a").double() - 0.5
    # f(a) - f(b) for f = cos and f = sin are orthogonal over all pairs, and their inner products with x depend only on
    # its row and column sums. For even n the last sine is zero.
    inner = torch.einsum("ifn,nh->ifh", cos_sin, x.sum(dim=1) - x.sum(dim=0))
    n = cos_sin.shape[-1]
    by_cos, by_sin = inner / (2 * n * cos_sin.square().sum(dim=-1, keepdim=True)).clamp(min=_SMALLEST)
    explained, best = (by_cos * inner[0] + by_sin * inner[1]).max(dim=0)
    heads = torch.arange(x.shape[-1])
    by_cos, by_sin = by_cos[best, heads], by_sin[best, heads]
    residual = x.square().sum(dim=(0, 1)) - explained
    variance = (x - x.mean(dim=(0, 1))).square().sum(dim=(0, 1))
    # A variance below this is rounding error: the attention is constant.
    varies = variance > 1e-20 * n**2
    return AttentionFit(
        frequency=torch.tensor(snapshot.basis.blocks)[best],
        amplitude=torch.hypot(by_cos, by_sin),
        phase=torch.atan2(-by_sin, by_cos),
        fve=torch.where(varies, 1 - residual / variance.clamp(min=_SMALLEST), 0.0),
    )


def _cos_sin(snapshot: Snapshot) -> Float64[Tensor, "axis frequency n"]:
    """cos(w_k x) and sin(w_k x) of every token."""
    task, basis = snapshot.task, snapshot.basis
    group, _ = task.require_group()
    n = group.order
    if group.logarithm is None or n != task.n_tokens or len(task.b_tokens) != n:
        msg = f"the attention fit requires a cyclic group that contains all tokens, got {group.name} for {task.name}."
        raise ValueError(msg)
    turns = torch.tensor(basis.blocks)[:, None] * group.logarithm % n
    angle = 2 * math.pi * turns.double() / n
    # The sine of frequency n/2 is exactly zero; sin() would give rounding error.
    return torch.stack([angle.cos(), torch.where(2 * turns % n == 0, 0.0, angle.sin())])


def _token_scores(snapshot: Snapshot) -> Float64[Tensor, "head p"]:
    config = snapshot.require_transformer()
    if not is_factorable(config):
        msg = (
            "token scores require a 1-layer model without LayerNorm and with sequence 'a b =', got "
            f"n_layers={config.n_layers}, normalization={config.normalization!r}, sequence={config.sequence!r}."
        )
        raise ValueError(msg)
    weight = {name.rsplit(".", 1)[-1]: p.double() for name, p in snapshot.params.items()}
    equals = weight["W_E"][-1] + weight["W_pos"][-1]
    q = einsum(equals, weight["W_Q"], "d, head d k -> head k") + weight.get("b_Q", 0.0)
    scores = einsum(q, weight["W_K"], snapshot.W_E.double(), "head k, head d k, p d -> head p")
    return scores / math.sqrt(config.d_head)


def _attention_to(snapshot: Snapshot, token: str) -> Float[Tensor, "a b head"]:
    """Attention from the last position to a token's position in the last layer, for every pair."""
    sequence = snapshot.require_transformer().sequence
    if token not in sequence.split():
        msg = f"attention to {token!r} requires a model that reads {token!r}, got sequence {sequence!r}."
        raise ValueError(msg)
    return snapshot.attention[..., sequence.split().index(token)]


def _last_token(snapshot: Snapshot) -> str:
    return snapshot.require_transformer().sequence.split()[-1]


def _over_pairs(snapshot: Snapshot, values: Float[Tensor, "head a b"], long_name: str) -> xr.DataArray:
    coords = {"a": snapshot.task.a_tokens, "b": snapshot.task.b_tokens}
    return labels.array(values, ("head", "a", "b"), long_name=long_name, coords=coords)


def _patterns(snapshot: Snapshot) -> list[Float64[Tensor, "a b head key"]]:
    """Each layer's attention from the last position, for every pair."""
    n_layers = snapshot.require_transformer().n_layers
    before = (f"blocks.{layer}.attn.hook_pattern" for layer in range(n_layers - 1))
    return [*(snapshot.activation(name).double() for name in before), snapshot.attention.double()]


def _by_position(snapshot: Snapshot, layers: list[Float64[Tensor, "head key"]], long_name: str) -> xr.DataArray:
    coords = {"key": snapshot.require_transformer().sequence.split()}
    return labels.array(torch.stack(layers), ("layer", "head", "key"), long_name=long_name, coords=coords)


def _by_head(values: Tensor, long_name: str) -> xr.DataArray:
    return labels.array(values, ("head",), long_name=long_name)
