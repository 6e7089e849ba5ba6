"""Null controls: the loss under an intervention compared with the same operation on random components."""

from typing import Any, Final

import numpy as np
import xarray as xr

from grokinterp import arguments, labels
from grokinterp.interventions.intervention import Intervention, Side, as_intervention
from grokinterp.interventions.measures import cached_if_named
from grokinterp.labels import SPLITS, Split
from grokinterp.losses import cross_entropy
from grokinterp.measures import Measure
from grokinterp.snapshots import Snapshot


STATISTICS: Final = ("loss", "null_mean", "null_low", "null_high", "p", "draws")

_RESAMPLES: Final = 2000
_CONFIDENCE: Final = 0.95
# Relative tolerance within which two losses are equal up to rounding.
_ROUNDING: Final = 1e-9


def control(intervention: Intervention, *, draws: int = 20, seed: int = 0, split: Split = "test") -> Measure:
    """The loss under an intervention, with its null distribution: the same operation on random components.

    Random components have the size of the component. p is the one-sided p-value of a permutation test: (1 + null losses
    at least as extreme) / (1 + draws). A greater loss is more extreme, except for `keep_only`, for which a smaller loss
    is, and `patch`, for which a loss farther from the unedited model's loss is. Ties count as extreme. In a model with
    several keys, the null of one key samples the other keys, which affects its mean; the null of all keys together
    samples none of them.

    Args:
        intervention: The intervention to test.
        draws: Number of random components, all distinct and disjoint from the component; if fewer exist, each is used
            once.
        seed: Seed of the draws and of the confidence interval; every epoch uses the same components.
        split: Split over which the loss is averaged.

    Returns:
        Measure giving `control`, dims (statistic,): `loss` in nats; `null_mean`, `null_low` and `null_high`, the mean
        of the null losses and its 95% confidence interval (bootstrap); `p`; and the number of `draws`.

    Raises:
        TypeError: If it is not an intervention, e.g. a component.
        ValueError: If `draws`, the seed or the split is invalid; when applied, if nothing can be sampled, or the
            snapshot has no train mask.

    Examples:
        >>> import grokinterp as gi
        >>> keys = gi.interventions.ablate(gi.interventions.frequency(4, 15))
        >>> statistics = control(keys)(gi.testing.planted_snapshot(31, keys=(4, 15)))
        >>> statistics.sel(statistic=["p", "draws"]).values.round(3).tolist()
        [0.048, 20.0]
    """
    intervention, recorded = as_intervention(intervention), _arguments(draws, seed, split)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        observed = _loss(intervention(snapshot), split)
        null = _null(intervention, snapshot, **recorded)
        own = _loss(snapshot, split) if intervention.side == "both" else 0.0
        low, high = _interval(null, np.random.default_rng(recorded["seed"]))
        p = _p(observed, null, intervention.side, own)
        values, coords = [observed, null.mean().item(), low, high, p, float(len(null))], {"statistic": STATISTICS}
        return labels.array(values, ("statistic",), long_name="loss (nats) and its null distribution", coords=coords)

    return cached_if_named("control", compute, intervention, recorded)


def null_losses(intervention: Intervention, *, draws: int = 20, seed: int = 0, split: Split = "test") -> Measure:
    """The null losses that `control` summarizes, one per draw.

    Args:
        intervention: The intervention to test.
        draws: Number of random components; if fewer exist, each is used once.
        seed: Seed of the draws.
        split: Split over which the loss is averaged.

    Returns:
        Measure giving `null_loss`, dims (draw,), nats.

    Raises:
        TypeError: If it is not an intervention, e.g. a component.
        ValueError: As `control`.

    Examples:
        >>> import grokinterp as gi
        >>> head_0 = gi.interventions.ablate(gi.interventions.head(0))
        >>> null_losses(head_0)(gi.testing.planted_snapshot(7, keys=(1, 3))).sizes["draw"]
        3
    """
    intervention, recorded = as_intervention(intervention), _arguments(draws, seed, split)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        null = _null(intervention, snapshot, **recorded)
        return labels.array(null, ("draw",), units="nats", long_name="loss of the null")

    return cached_if_named("null_loss", compute, intervention, recorded)


def _arguments(draws: int, seed: int, split: Split) -> dict[str, Any]:
    return {
        "draws": arguments.integer(draws, "draws", minimum=1),
        "seed": arguments.seed(seed),
        "split": arguments.one_of(split, SPLITS, "split"),
    }


def _loss(snapshot: Snapshot, split: Split) -> float:
    mask = snapshot.mask(split)
    return cross_entropy(snapshot.logits[mask], snapshot.task.table[mask]).item()


def _null(intervention: Intervention, snapshot: Snapshot, draws: int, seed: int, split: Split) -> np.ndarray:
    drawn = intervention.sample_null(snapshot, draws, np.random.default_rng(seed))
    if not drawn:
        msg = f"{intervention.name} has no null distribution: there are no random components of its kind."
        raise ValueError(msg)
    return np.array([_loss(other(snapshot), split) for other in drawn])


def _interval(losses: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The percentile bootstrap confidence interval of the mean."""
    means = rng.choice(losses, (_RESAMPLES, len(losses))).mean(axis=1)
    low, high = np.quantile(means, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return float(low), float(high)


def _p(observed: float, null: np.ndarray, side: Side, own: float) -> float:
    """The p-value of the permutation test; `own` is the loss of the unedited model."""
    losses = np.array([observed, *null])
    extreme = {"greater": losses, "less": -losses, "both": abs(losses - own)}[side]
    # The observed loss counts as a draw, so p is never zero.
    return float((extreme >= extreme[0] - _ROUNDING * abs(observed)).mean())
