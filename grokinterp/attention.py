"""Attention to the inputs, over all pairs: patterns, their fit by one frequency, and what makes them."""

import math
from dataclasses import dataclass
from typing import Final

import torch
import xarray as xr
from einops import einsum
from jaxtyping import Float, Float64, Int
from torch import Tensor

from grokinterp import labels
from grokinterp.basis import coefficients, power
from grokinterp.measures import measure
from grokinterp.models.factored import is_factorable
from grokinterp.snapshots import Snapshot, as_snapshot, kept


# A share of less attention than this is no share: its logarithm would be that of rounding.
_SMALLEST: Final = 1e-30


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionFit:
    """Each head's attention to a as 1/2 + C (cos(w_k a + theta) - cos(w_k b + theta)), by its best frequency.

    Attributes:
        frequency: The k that explains most of the head's attention over all pairs.
        amplitude: C, at least 0.
        phase: theta; radians, -pi to pi.
        fve: 1 less the squared residual over the variance of the head's attention; 1 at best, 0 for a head that
            attends to all pairs alike, and below 0 where its mean is far from 1/2.
    """

    frequency: Int[Tensor, " head"]
    amplitude: Float64[Tensor, " head"]
    phase: Float64[Tensor, " head"]
    fve: Float64[Tensor, " head"]


@measure("attention", version=1)
def pattern(snapshot: Snapshot) -> xr.DataArray:
    """Attention of each head of the last layer from the last position to a, for every pair, 0 to 1; dims (head, a, b).

    The last position is '=', or b in a model that reads 'a b'. In the paper's model the rest goes to b, except for
    0.1 to 0.4 % that stays at '='.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figure 4a.
    """
    return _over_pairs(
        snapshot, _attention_to(snapshot, "a").permute(2, 0, 1), f"attention from {_reader(snapshot)} to a"
    )


@measure("attention_to_equals", version=1)
def to_equals(snapshot: Snapshot) -> xr.DataArray:
    """Mean attention of each head from '=' to itself over all pairs, 0 to 1; dims (head,).

    Raises:
        ValueError: If the model reads no '='.
    """
    return _by_head(_attention_to(snapshot, "=").double().mean(dim=(0, 1)), "mean attention from = to =")


@measure("attention_mean", version=1)
def mean(snapshot: Snapshot) -> xr.DataArray:
    """Mean attention of each head from the last position to each position, over all pairs; dims (layer, head, key).

    Examples:
        >>> import grokinterp as gi
        >>> mean(gi.testing.planted_snapshot(7, (1, 3))).sel(layer=0, head=1).values.round(6).tolist()
        [0.0, 1.0, 0.0]
    """
    return _by_position(snapshot, [x.mean(dim=(0, 1)) for x in _patterns(snapshot)], "mean attention")


@measure("attention_deviation", version=1)
def deviation(snapshot: Snapshot) -> xr.DataArray:
    """The standard deviation over all pairs of each head's attention to each position; dims (layer, head, key).

    0 for a head that attends to all pairs alike, up to 1/2 for one that attends to a position or does not.
    """
    deviations = [x.flatten(0, 1).std(dim=0, correction=0) for x in _patterns(snapshot)]
    return _by_position(snapshot, deviations, "deviation of attention over pairs")


def fit(model: object) -> AttentionFit:
    """The frequency of each head of the last layer, and how well one wave of each input explains its attention.

    Args:
        model: A Snapshot or a TransformerLens model, of addition modulo p or another task whose group is cyclic and
            whose inputs are all its elements.

    Returns:
        The fit; computed once per snapshot.

    Raises:
        ValueError: If the task has no group, or one without waves.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.3 and table 2: 0.5 +- C_j (cos w_k(a + theta) - cos w_k(b +
        theta)). No code of their fit was found. Ours is by least squares with the mean fixed at 1/2, and its theta is
        w_k times theirs.

    Examples:
        >>> import grokinterp as gi
        >>> fit(gi.testing.planted_snapshot(7, keys=(1, 3))).fve.tolist()
        [0.0, 0.0, 0.0, 0.0]
    """
    return _fit(as_snapshot(model))


@measure("attention_frequency", version=1)
def frequency(snapshot: Snapshot) -> xr.DataArray:
    """The frequency that explains most of each head's attention over the pairs; dims (head,)."""
    return _by_head(_fit(snapshot).frequency, "frequency of the head")


@measure("attention_fve", version=1)
def fve(snapshot: Snapshot) -> xr.DataArray:
    """How much of each head's attention the wave of its frequency explains, at most 1; dims (head,)."""
    return _by_head(_fit(snapshot).fve, "FVE of the attention by its frequency")


@measure("attention_fitted", version=1)
def fitted(snapshot: Snapshot) -> xr.DataArray:
    """The wave that `fit` finds in place of each head's attention to a, for every pair; dims (head, a, b)."""
    found = _fit(snapshot)
    waves = _waves(snapshot)[:, torch.tensor([snapshot.basis.blocks.index(k) for k in found.frequency.tolist()])]
    inputs = torch.polar(torch.ones_like(found.phase), found.phase)[:, None] * torch.complex(waves[0], waves[1])
    wave = inputs.real * found.amplitude[:, None]
    fitted_pattern = 0.5 + wave[:, :, None] - wave[:, None, :]
    return _over_pairs(snapshot, fitted_pattern, f"fitted attention from {_reader(snapshot)} to a")


@measure("score_components", version=1)
def score_components(snapshot: Snapshot) -> xr.DataArray:
    """C_j: how each head's score of a token depends on it, in the basis of the task; dims (head, component).

    The score is that of '=' for the token before the softmax, with the scale 1/sqrt(d_head) in it and without what
    the token's position adds.

    Raises:
        ValueError: If the task has no group, or the model more layers than one or a normalization, so that a score
            depends on more than the token.

    Source:
        Nanda et al. 2023, arXiv:2301.05217: C_j, their notebook's `W_attnf`. Differs: theirs has no scale.
    """
    return labels.array(
        coefficients(_token_scores(snapshot), snapshot.basis),
        ("head", "component"),
        name="scores",
        units="logit",
        long_name="attention score",
        coords={"component": snapshot.basis.names},
    )


@measure("score_spectrum", version=1)
def score_spectrum(snapshot: Snapshot) -> xr.DataArray:
    """The share of each head's score of a token that each frequency holds, 0 to 1; dims (head, frequency).

    Raises:
        ValueError: As `score_components`.
    """
    varying = power(_token_scores(snapshot), snapshot.basis)[:, 1:]
    total = varying.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    return labels.array(
        varying / total,
        ("head", "frequency"),
        name="shares",
        units="",
        long_name="share of the attention score",
        coords={"frequency": snapshot.basis.blocks},
    )


def linear_pattern(pattern: Float[Tensor, "*rest pos"]) -> Float[Tensor, "*rest pos"]:
    """Attention to a, b and '=' with the sigmoid in it replaced by its tangent.

    What does not stay at '=' goes to a by sigmoid(d), d the difference of the scores of a and b. In place of the
    sigmoid comes 1/2 + d/4, less half of what stays at '='; where d is beyond 2, one of them gets less than nothing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217: the softmax, "sigmoid of the difference", replaced by a linear function.
        Which one is not known. With 1/2 + d/4 shared by what does not stay at '=', its product, the paper's model has
        three times the loss.

    Raises:
        ValueError: If there are not three positions.

    Examples:
        >>> linear_pattern(torch.tensor([0.5, 0.5, 0.0])).tolist()
        [0.5, 0.5, 0.0]
    """
    if pattern.shape[-1] != 3:
        msg = f"the linear pattern needs attention to the three positions 'a b =', got {pattern.shape[-1]} positions."
        raise ValueError(msg)
    to_a, to_b, to_equals = pattern.double().unbind(dim=-1)
    difference = to_a.clamp(min=_SMALLEST).log() - to_b.clamp(min=_SMALLEST).log()
    half = (1 - to_equals) / 2
    return torch.stack([half + difference / 4, half - difference / 4, to_equals], dim=-1).to(pattern.dtype)


@kept
def _fit(snapshot: Snapshot) -> AttentionFit:
    waves = _waves(snapshot)
    x = _attention_to(snapshot, "a").double() - 0.5
    # wave(a) - wave(b) of cos and of sin are orthogonal over all pairs, and their inner products with x need its row
    # and column sums alone. For even n the last sin is zero.
    inner = torch.einsum("ifn,nh->ifh", waves, x.sum(dim=1) - x.sum(dim=0))
    n = waves.shape[-1]
    by_cos, by_sin = inner / (2 * n * waves.square().sum(dim=-1, keepdim=True)).clamp(min=_SMALLEST)
    explained = by_cos * inner[0] + by_sin * inner[1]
    best, place = explained.max(dim=0)
    heads = torch.arange(x.shape[-1])
    by_cos, by_sin = by_cos[place, heads], by_sin[place, heads]
    residual = x.square().sum(dim=(0, 1)) - best
    variance = (x - x.mean(dim=(0, 1))).square().sum(dim=(0, 1))
    # Attention that does not vary but for rounding has no wave to be explained by.
    varies = variance > 1e-20 * n**2
    return AttentionFit(
        frequency=torch.tensor(snapshot.basis.blocks)[place],
        amplitude=torch.hypot(by_cos, by_sin),
        phase=torch.atan2(-by_sin, by_cos),
        fve=torch.where(varies, 1 - residual / variance.clamp(min=_SMALLEST), 0.0),
    )


def _waves(snapshot: Snapshot) -> Float64[Tensor, "axis frequency n"]:
    """cos(w_k x) and sin(w_k x) of every token, with amplitude 1."""
    task, basis = snapshot.task, snapshot.basis
    group, _ = task.require_group()
    n = group.order
    if group.logarithm is None or n != task.n_tokens or len(task.b_tokens) != n:
        msg = f"a wave of each input needs a cyclic group of all tokens, got {group.name} of {task.name}."
        raise ValueError(msg)
    turns = torch.tensor(basis.blocks)[:, None] * group.logarithm % n
    angle = 2 * math.pi * turns.double() / n
    # The sin of frequency n/2 is zero, and not what rounding makes of it.
    return torch.stack([angle.cos(), torch.where(2 * turns % n == 0, 0.0, angle.sin())])


def _token_scores(snapshot: Snapshot) -> Float64[Tensor, "head p"]:
    config = snapshot.require_transformer()
    if not is_factorable(config):
        msg = (
            "the score of a token needs one layer without normalization, reading 'a b =', got "
            f"n_layers={config.n_layers}, normalization={config.normalization!r}, sequence={config.sequence!r}."
        )
        raise ValueError(msg)
    weight = {name.rsplit(".", 1)[-1]: p.double() for name, p in snapshot.params.items()}
    equals = weight["W_E"][-1] + weight["W_pos"][-1]
    q = einsum(equals, weight["W_Q"], "d, head d k -> head k") + weight.get("b_Q", 0.0)
    scores = einsum(q, weight["W_K"], snapshot.W_E.double(), "head k, head d k, p d -> head p")
    return scores / math.sqrt(config.d_head)


def _attention_to(snapshot: Snapshot, token: str) -> Float[Tensor, "a b head"]:
    """The last layer's attention from the last position to that of a token, for every pair."""
    sequence = snapshot.require_transformer().sequence
    if token not in sequence.split():
        msg = f"attention to {token!r} needs a model that reads it, got one that reads {sequence!r}."
        raise ValueError(msg)
    return snapshot.attention[..., sequence.split().index(token)]


def _reader(snapshot: Snapshot) -> str:
    """The token at the last position."""
    return snapshot.require_transformer().sequence.split()[-1]


def _over_pairs(snapshot: Snapshot, values: Float[Tensor, "head a b"], long_name: str) -> xr.DataArray:
    return labels.array(
        values,
        ("head", "a", "b"),
        name="attention",
        units="",
        long_name=long_name,
        coords={"a": snapshot.task.a_tokens, "b": snapshot.task.b_tokens},
    )


def _patterns(snapshot: Snapshot) -> list[Float64[Tensor, "a b head key"]]:
    """The attention of each layer from the last position, for every pair."""
    n_layers = snapshot.require_transformer().n_layers
    before = (f"blocks.{layer}.attn.hook_pattern" for layer in range(n_layers - 1))
    return [*(snapshot.activation(name).double() for name in before), snapshot.attention.double()]


def _by_position(snapshot: Snapshot, layers: list[Float64[Tensor, "head key"]], long_name: str) -> xr.DataArray:
    return labels.array(
        torch.stack(layers),
        ("layer", "head", "key"),
        name="attention",
        units="",
        long_name=long_name,
        coords={"key": snapshot.require_transformer().sequence.split()},
    )


def _by_head(values: Tensor, long_name: str) -> xr.DataArray:
    return labels.array(values, ("head",), name="heads", units="", long_name=long_name)
