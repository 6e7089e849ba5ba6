"""Null controls: the same operation on random components, and how the intervention's own loss stands among them."""

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
# Losses this close, relatively, are equal but for rounding.
_ROUNDING: Final = 1e-9


def control(intervention: Intervention, *, draws: int = 20, seed: int = 0, split: Split = "test") -> Measure:
    """The loss under an intervention beside its null: the same operation on random components of equal number.

    The p is that of a permutation test, one-sided: (1 + null losses at least as extreme) / (1 + draws). Extreme is a
    greater loss, but for `keep_only`, which is the better the smaller the loss, and for `patch`, which may do either,
    and where the loss that is farther from the model's own is the more extreme one. Equal losses count. Of a model with
    several keys the null of one has the others among its draws, and its mean is theirs in part; the null of all keys
    together has none of them.

    Args:
        intervention: What is done to the model.
        draws: Of the null, all different and none overlapping with the component itself; where there are fewer, each
            is taken once.
        seed: Of the draws and of the interval; the same components are drawn at every epoch.
        split: Pairs over which the loss is taken.

    Returns:
        Measure giving `control`, dims (statistic,): `loss` in nats; `null_mean`, `null_low` and `null_high`, the mean
        of the null's losses and its 95 % confidence interval (bootstrap); `p`; and the number of `draws`.

    Raises:
        TypeError: If it is no intervention, but a component for example.
        ValueError: If `draws`, the seed or the split is invalid; when applied, if nothing can be drawn, or the snapshot
            does not know its training pairs.

    Examples:
        >>> import grokinterp as gi
        >>> keys = gi.interventions.ablate(gi.interventions.frequency(4, 15))
        >>> found = control(keys)(gi.testing.planted_snapshot(31, keys=(4, 15)))
        >>> found.sel(statistic=["p", "draws"]).values.round(3).tolist()
        [0.048, 20.0]
    """
    intervention, recorded = as_intervention(intervention), _arguments(draws, seed, split)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        observed = _loss(intervention(snapshot), split)
        null = _null(intervention, snapshot, **recorded)
        own = _loss(snapshot, split) if intervention.side == "both" else 0.0
        low, high = _interval(null, np.random.default_rng(recorded["seed"]))
        p = _p(observed, null, intervention.side, own)
        return labels.array(
            [observed, null.mean().item(), low, high, p, float(len(null))],
            ("statistic",),
            name="control",
            units="",
            long_name="loss (nats) and its null",
            coords={"statistic": STATISTICS},
        )

    return cached_if_named("control", compute, intervention, recorded)


def null_losses(intervention: Intervention, *, draws: int = 20, seed: int = 0, split: Split = "test") -> Measure:
    """The losses of the null that `control` summarises, draw by draw.

    Args:
        intervention: Whose null.
        draws: Of the null; where there are fewer different ones, each is taken once.
        seed: Of the draws.
        split: Pairs over which the loss is taken.

    Returns:
        Measure giving `null_loss`, dims (draw,), nats.

    Raises:
        TypeError: If it is no intervention, but a component for example.
        ValueError: If `draws`, the seed or the split is invalid; when applied, if nothing can be drawn, or the snapshot
            does not know its training pairs.

    Examples:
        >>> import grokinterp as gi
        >>> head_0 = gi.interventions.ablate(gi.interventions.head(0))
        >>> null_losses(head_0)(gi.testing.planted_snapshot(7, keys=(1, 3))).sizes["draw"]
        3
    """
    intervention, recorded = as_intervention(intervention), _arguments(draws, seed, split)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        null = _null(intervention, snapshot, **recorded)
        return labels.array(null, ("draw",), name="null_loss", units="nats", long_name="loss of the null")

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
    drawn = intervention.null(snapshot, draws, np.random.default_rng(seed))
    if not drawn:
        msg = f"a control needs others of the same kind to draw from, and {intervention.name} has none."
        raise ValueError(msg)
    return np.array([_loss(other(snapshot), split) for other in drawn])


def _interval(losses: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The percentile bootstrap's confidence interval of the mean."""
    means = rng.choice(losses, (_RESAMPLES, len(losses))).mean(axis=1)
    low, high = np.quantile(means, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return float(low), float(high)


def _p(observed: float, null: np.ndarray, side: Side, own: float) -> float:
    """The p of the permutation test; `own` is the loss of the model without any intervention."""
    losses = np.array([observed, *null])
    extreme = {"greater": losses, "less": -losses, "both": abs(losses - own)}[side]
    # The observed loss is one of them, so that no p is zero.
    return float((extreme >= extreme[0] - _ROUNDING * abs(observed)).mean())
