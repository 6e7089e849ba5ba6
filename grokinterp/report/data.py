"""The numbers of a report: what is measured of a run, and at which of its checkpoints."""

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


# Checkpoints along a curve, and those that a slider stops at.
CURVE_EPOCHS: Final = 200
SLIDER_EPOCHS: Final = 9
RULES: Final[tuple[fourier.Rule, ...]] = ("logits", "neurons", "W_E", "W_L")


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """All that a report draws and tells.

    Attributes:
        metrics: As logged while training.
        events: `gi.phases.detect` of the metrics, which are denser than checkpoints; its phases are not used.
        curves: Measures that are lines over many checkpoints.
        pictures: Measures that fill a picture at each of a few checkpoints; empty for an MLP on a task without a group.
        neurons: The activations of a few neurons at these; empty where the task has no group.
        phases: `gi.phases.detect` with the excluded loss of all frequencies, as in the dossier, at every epoch whose
            measures can be had without more work than for the curves; of the metrics if the model has no keys.
        keys: Key frequencies of the last checkpoint by rule; empty where the task has no group.
        irreps: Names of the task's irreps by number; empty where its group is cyclic, or it has none.
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
    """Measure a run; what was measured before comes from its `analysis/` folder.

    Raises:
        RunError: If the run has no metrics or no checkpoint, or a file of it is broken.
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
    found = events
    if keys:
        found = phases.detect(curves.drop_vars("excluded_loss").rename(excluded_loss_2D="excluded_loss"))
        curves = curves.drop_vars("excluded_loss_2D")
    curves = curves.sel(epoch=thin(curves.epoch.values.tolist(), CURVE_EPOCHS))

    stops = slider_epochs(checkpoints, found["phase_end"].values.tolist())
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
        # Apart from the others, which are of all neurons.
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
        phases=found,
        keys=by_rule,
        irreps={} if is_cyclic else {k: snapshot.basis.block_names[k] for k in snapshot.basis.blocks},
    )


def thin(epochs: Sequence[int], most: int) -> list[int]:
    """At most so many of the epochs, the first and the last among them.

    Examples:
        >>> thin(range(0, 101), 5)
        [0, 25, 50, 75, 100]
    """
    if len(epochs) <= most:
        return list(epochs)
    return [epochs[i] for i in np.unique(np.linspace(0, len(epochs) - 1, most).round().astype(int))]


def slider_epochs(epochs: Sequence[int], events: Iterable[float]) -> list[int]:
    """Some of the epochs, with the nearest to each event; an event that is NaN has none.

    Examples:
        >>> slider_epochs(range(0, 1001, 10), [13.0, float("nan")])
        [0, 10, 120, 250, 380, 500, 620, 750, 880, 1000]
    """
    near = {min(epochs, key=lambda epoch: abs(epoch - event)) for event in events if not np.isnan(event)}
    return sorted(near.union(thin(epochs, SLIDER_EPOCHS)))


def clearest_neurons(snapshot: Snapshot, keys: Sequence[int], most: int = 4) -> list[int]:
    """The neuron that its frequency explains best, for each of the first keys; without keys, the best of all."""
    fit = neurons.fit(snapshot)
    chosen = [int(torch.where(fit.frequency == k, fit.fve, -1.0).argmax()) for k in keys[:most]]
    return list(dict.fromkeys(chosen)) or fit.fve.argsort(descending=True)[:most].tolist()


def circle_keys(snapshot: Snapshot, keys: Sequence[int]) -> list[int]:
    """The keys that have a plane in which residue x stands at the angle w_k x: those of an addition modulo p."""
    group = snapshot.task.group
    if group is None or group.logarithm is None:
        return []
    is_additive = bool((group.logarithm == torch.arange(group.order)).all()) and group.order == snapshot.task.n_tokens
    return [k for k in keys if is_additive and 2 * k != group.order]
