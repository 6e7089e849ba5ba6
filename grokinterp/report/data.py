"""The data of a report: the measures, and the checkpoints at which they are computed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import xarray as xr

from grokinterp import attention, fourier, logits, neurons, phases, progress
from grokinterp.runs.run import Run
from grokinterp.snapshots import Snapshot
from grokinterp.trajectories import known_epochs, trajectory


# Maximum number of checkpoints along a curve, and on a slider.
CURVE_EPOCHS: Final = 200
SLIDER_EPOCHS: Final = 9
RULES: Final[tuple[fourier.Rule, ...]] = ("logits", "neurons", "W_E", "W_L")


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """The data of a report.

    Attributes:
        metrics: Logged metrics.
        events: Result of `gi.phases.detect` for the metrics, which are denser than checkpoints; its phases are unused.
        curves: Measures drawn as lines over many checkpoints.
        pictures: Measures drawn as one picture per slider stop; empty for an MLP on a task without a group.
        neurons: Activations of a few neurons at the slider stops; empty for a task without a group.
        phases: Result of `gi.phases.detect` with the excluded loss of all frequencies at the epochs of the curves and
            at all cached epochs; for a model without keys, the same as `events`.
        keys: Key frequencies of the last checkpoint by rule; empty for a task without a group.
        irreps: Names of the group's irreps by number; empty for cyclic groups and without a group.
    """

    metrics: xr.Dataset
    events: xr.Dataset
    curves: xr.Dataset
    pictures: xr.Dataset
    neurons: xr.Dataset
    phases: xr.Dataset
    keys: Mapping[str, Sequence[int]]
    irreps: Mapping[int, str]


def gather(run: Run, *, progress_bar: bool = True) -> Numbers:
    """Compute the measures of a run, or read them from its `analysis/` directory.

    Raises:
        RunError: If the run has no metrics or checkpoints, or a file is damaged.
    """
    metrics = run.metrics
    events = phases.detect(metrics)
    snapshot = run.snapshot()
    has_group = run.task.group is not None
    by_rule = {rule: fourier.key_frequencies(snapshot, rule) for rule in RULES} if has_group else {}
    keys = by_rule.get("logits", ())

    measures = [progress.losses, progress.accuracies, progress.weight_norm]
    if has_group:
        measures += [fourier.gini, fourier.spectrum, logits.fve(), progress.excluded_loss_by_frequency()]
    if keys:
        measures += [progress.restricted_loss(keys), progress.excluded_loss(keys)]
        measures.append(progress.excluded_loss().named("excluded_loss_2D"))
    # Cached results of deleted checkpoints cost nothing.
    checkpoints = run.checkpoint_epochs
    cached = set(known_epochs(run, measures)).difference(checkpoints)
    curve_epochs = sorted(cached.union(thin(checkpoints, CURVE_EPOCHS)))
    curves = trajectory(run, measures, epochs=curve_epochs, progress=progress_bar)
    curves.attrs["key_frequencies"] = list(keys)
    detected = events
    if keys:
        detected = phases.detect(curves.drop_vars("excluded_loss").rename(excluded_loss_2D="excluded_loss"))
        curves = curves.drop_vars("excluded_loss_2D")
    curves = curves.sel(epoch=thin(curves.epoch.values.tolist(), CURVE_EPOCHS))

    stops = slider_epochs(checkpoints, detected["phase_end"].values.tolist())
    drawn = [attention.pattern] if run.config.model.has_attention else []
    if has_group:
        drawn += [fourier.components, neurons.frequency, neurons.fve, neurons.phase, neurons.spectrum]
        drawn.append(logits.over_inputs(range(min(3, run.task.n_outputs))))
    circles = circle_keys(snapshot, keys)
    if circles:
        drawn.append(fourier.embedding_circles(circles))
    pictures = trajectory(run, drawn, epochs=stops, progress=False) if drawn else xr.Dataset()
    few = xr.Dataset()
    if has_group:
        # Separate from the pictures, which have all neurons.
        few = trajectory(run, [neurons.activations(clearest_neurons(snapshot, keys))], epochs=stops, progress=False)
        few["neuron_frequency"] = pictures["neuron_frequency"].sel(neuron=few["neuron"])
    group = run.task.group
    is_cyclic = group is None or group.logarithm is not None
    return Numbers(
        metrics=metrics,
        events=events,
        curves=curves,
        pictures=pictures,
        neurons=few,
        phases=detected,
        keys=by_rule,
        irreps={} if is_cyclic else {k: snapshot.basis.block_names[k] for k in snapshot.basis.blocks},
    )


def thin(epochs: Sequence[int], most: int) -> list[int]:
    """Thin out epochs to at most `most`, including the first and the last.

    Examples:
        >>> thin(range(0, 101), 5)
        [0, 25, 50, 75, 100]
    """
    if len(epochs) <= most:
        return list(epochs)
    return [epochs[i] for i in np.unique(np.linspace(0, len(epochs) - 1, most).round().astype(int))]


def slider_epochs(epochs: Sequence[int], events: Iterable[float]) -> list[int]:
    """Thinned-out epochs, and the nearest epoch to each event that is not NaN.

    Examples:
        >>> slider_epochs(range(0, 1001, 10), [13.0, float("nan")])
        [0, 10, 120, 250, 380, 500, 620, 750, 880, 1000]
    """
    near = {min(epochs, key=lambda epoch: abs(epoch - event)) for event in events if not np.isnan(event)}
    return sorted(near.union(thin(epochs, SLIDER_EPOCHS)))


def clearest_neurons(snapshot: Snapshot, keys: Sequence[int], most: int = 4) -> list[int]:
    """The neuron with the highest FVE for each of the first keys; without keys, the best of all neurons."""
    fit = neurons.fit(snapshot)
    chosen = [int(torch.where(fit.frequency == k, fit.fve, -1.0).argmax()) for k in keys[:most]]
    return list(dict.fromkeys(chosen)) or fit.fve.argsort(descending=True)[:most].tolist()


def circle_keys(snapshot: Snapshot, keys: Sequence[int]) -> list[int]:
    """The keys whose plane shows residue x at angle w_k x, for addition modulo p."""
    group = snapshot.task.group
    if group is None or group.logarithm is None:
        return []
    is_additive = bool((group.logarithm == torch.arange(group.order)).all()) and group.order == snapshot.task.n_tokens
    return [k for k in keys if is_additive and 2 * k != group.order]
