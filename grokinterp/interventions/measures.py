"""Measures of edited models: the effect of an intervention, for one snapshot or over training."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, get_args

import torch
import xarray as xr

from grokinterp import arguments, labels, progress
from grokinterp.interventions.cache_keys import call
from grokinterp.interventions.components import Component
from grokinterp.interventions.frequencies import At, frequency
from grokinterp.interventions.intervention import Intervention, as_intervention
from grokinterp.interventions.operations import ablate
from grokinterp.measures import Measure
from grokinterp.snapshots import Snapshot


Operation = Callable[[Component], Intervention]


def under(intervention: Intervention, measure: Measure) -> Measure:
    """A measure of the model under an intervention.

    Args:
        intervention: The intervention to apply.
        measure: The measure of the edited model.

    Returns:
        Measure with the same dims, named `intervened_` and the measure's name.

    Raises:
        TypeError: If it is not an intervention, e.g. a component, or the measure is not a Measure.

    Examples:
        >>> import grokinterp as gi
        >>> without_3 = gi.interventions.ablate(gi.interventions.frequency(3))
        >>> fve = under(without_3, gi.logits.fve())(gi.testing.planted_snapshot(7, keys=(1, 3)))
        >>> fve.name, fve.values.round(6).tolist()
        ('intervened_logit_fve', [1.0, 0.0, 0.0])
    """
    intervention = as_intervention(intervention)
    if not isinstance(measure, Measure):
        msg = f"measure must be a Measure such as gi.progress.losses, got {arguments.shown(measure)}."
        raise TypeError(msg)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        return measure(intervention(snapshot))

    made = cached_if_named(f"intervened_{measure.name}", compute, intervention, measure.arguments, measure.version)
    return replace(made, renamed_from=measure.renamed_from, code=measure.code)


def losses(intervention: Intervention) -> Measure:
    """The cross-entropy under an intervention, by split.

    Args:
        intervention: Intervention to apply.

    Returns:
        Measure giving `intervened_loss`, dims (split,), nats. If the snapshot has no train mask, only `all` is
        returned.

    Examples:
        >>> import grokinterp as gi
        >>> without_keys = gi.interventions.ablate(gi.interventions.frequency(1, 3))
        >>> losses(without_keys)(gi.testing.planted_snapshot(7, keys=(1, 3))).sel(split="test").item()  # log 7
        1.945910149...
    """
    return under(intervention, progress.losses)


def accuracies(intervention: Intervention) -> Measure:
    """The accuracy under an intervention, by split.

    Args:
        intervention: Intervention to apply.

    Returns:
        Measure giving `intervened_accuracy`, dims (split,), 0 to 1. If the snapshot has no train mask, only `all` is
        returned.

    Examples:
        >>> import grokinterp as gi
        >>> relocated = gi.interventions.relocate(3, 2, at=("W_E",))
        >>> accuracies(relocated)(gi.testing.planted_snapshot(7, keys=(1, 3))).sel(split="all").item() < 0.5
        True
    """
    return under(intervention, progress.accuracies)


def effects(keys: Iterable[int] | None = None, *, at: At = "logits", operation: Operation = ablate) -> Measure:
    """The cross-entropy under an operation on each frequency separately, by split.

    Args:
        keys: Frequencies, or irreps; default: every frequency.
        at: `logits`; `neurons` of the last layer; or `W_E`.
        operation: `ablate`, `keep_only`, or a function from a component to an intervention.

    Returns:
        Measure giving `intervened_loss_by_frequency`, dims (frequency, split), nats. If the snapshot has no train mask,
        only `all` is returned.

    Raises:
        TypeError: If the operation is not a function from a component to an intervention.
        ValueError: If a key or `at` is invalid; when applied, if a key is not a block of the task's basis, or the task
            has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figure 6: the loss without each frequency.

    Examples:
        >>> import grokinterp as gi
        >>> loss = effects()(gi.testing.planted_snapshot(7, keys=(1, 3)))
        >>> loss.sel(split="all").values.round(3).tolist()
        [1.182, 0.529, 1.182]
    """
    at = arguments.one_of(at, get_args(At), "at")
    wanted = None if keys is None else list(arguments.keys(keys))
    if not callable(operation):
        msg = f"operation must be a function such as gi.interventions.ablate, got {arguments.shown(operation)}."
        raise TypeError(msg)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        blocks = list(snapshot.basis.blocks) if wanted is None else wanted
        by_frequency = [progress.losses(operation(frequency(k, at=at))(snapshot)) for k in blocks]
        values = torch.tensor([loss.values.tolist() for loss in by_frequency], dtype=torch.float64)
        coords, long_name = {"frequency": blocks, "split": snapshot.splits}, "loss under an operation on one frequency"
        return labels.array(values, tuple(coords), units="nats", long_name=long_name, coords=coords)

    on_each = as_intervention(operation(replace(frequency(1, at=at), name=call("frequency", "k", at=at))))
    return cached_if_named("intervened_loss_by_frequency", compute, on_each, {"key_frequencies": wanted})


def cached_if_named(
    name: str,
    compute: Callable[[Snapshot], xr.DataArray],
    intervention: Intervention,
    others: Mapping[str, Any],
    version: int | None = 1,
) -> Measure:
    """A measure with its intervention's name among its arguments; without a version if that does not say all of it."""
    recorded = {"intervention": intervention.name, **others}
    return Measure(name=name, compute=compute, arguments=recorded, version=version if intervention.cacheable else None)
