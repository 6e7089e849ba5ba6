"""Detectors: signals over a run's checkpoints that indicate grokking, and the epoch of the first alarm."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import xarray as xr

from grokinterp import arguments, labels, phases
from grokinterp.detection import measures
from grokinterp.detection.benchmark import trials, winner
from grokinterp.measures import Measure
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.monitors import MONITORS
from grokinterp.progress import weight_norm
from grokinterp.runs.run import AnyRun, load_run
from grokinterp.trajectories import trajectory


# All thresholds were calibrated with this value. It is shorter than `phases.SUSTAINED`, to be early.
SUSTAINED: Final = 3
# Consecutive checkpoints that an alarm needs.
ALARM_SUSTAINED: Final = 2
RULE: Final = phases.rules(sustained=SUSTAINED)["memorized"]


def _identity(values: xr.DataArray, _: np.ndarray) -> np.ndarray:
    return values.values


def _fall(values: xr.DataArray, has_memorized: np.ndarray) -> np.ndarray:
    """The relative decrease of the sum of squared weights from its maximum since memorization, 0 to 1."""
    total = values.sum("parameter").values
    largest = np.maximum.accumulate(np.where(has_memorized, total, 0.0))
    return 1 - total / np.where(largest > 0, largest, total)


def _of_embedding(values: xr.DataArray, _: np.ndarray) -> np.ndarray:
    return values.sel(parameter="embed.W_E").values


@dataclass(frozen=True, kw_only=True)
class Detector:
    """A signal and the direction that indicates grokking.

    Attributes:
        name: The signal's name.
        measure: A measure evaluated at every checkpoint; it reads no test labels.
        signal: Maps the measure over epochs, and a mask of the epochs after memorization, to the signal over epochs.
        rises: True if high values indicate grokking, False if low values do.
        meaning: Description of the signal.
    """

    name: str
    measure: Measure
    signal: Callable[[xr.DataArray, np.ndarray], np.ndarray] = _identity
    rises: bool = True
    meaning: str


_ALL: Final = (
    Detector(
        name="embedding Gini", measure=measures.embedding_gini, meaning="Gini coefficient of W_E's frequency norms"
    ),
    Detector(name="readout Gini", measure=measures.readout_gini, meaning="Gini coefficient of W_L's frequency norms"),
    Detector(
        name="spectral concentration",
        measure=measures.concentration,
        meaning="fraction of W_E's squared norm in its five largest frequencies",
    ),
    Detector(
        name="product Gini",
        measure=measures.product_gini,
        meaning="Gini coefficient of the logits' frequency norms over a∘b",
    ),
    Detector(
        name="excluded loss",
        measure=measures.excluded,
        meaning="increase of the train loss, over log p, without the five largest frequencies of W_E at that epoch",
    ),
    Detector(
        name="restricted loss",
        measure=measures.restricted,
        meaning="1 - train loss / log p with only these five frequencies",
    ),
    Detector(
        name="weight decay",
        measure=weight_norm,
        signal=_fall,
        meaning="relative decrease of the sum of squared weights from its maximum after memorization",
    ),
    Detector(
        name="alignment",
        measure=MONITORS["alignment"],
        meaning="cosine similarity between the negative gradient and the weights",
    ),
    Detector(
        name="effective rank",
        measure=MONITORS["effective_rank"],
        signal=_of_embedding,
        rises=False,
        meaning="effective rank of W_E",
    ),
)
DETECTORS: Final[Mapping[str, Detector]] = MappingProxyType({detector.name: detector for detector in _ALL})


def signals(run: AnyRun, names: Sequence[str] = tuple(DETECTORS), *, progress: bool = True) -> xr.Dataset:
    """Detector signals at each checkpoint of a run.

    Args:
        run: A run or its path. The checkpoint spacing limits the resolution of alarms.
        names: Keys of `DETECTORS`.
        progress: Whether to show a progress bar.

    Returns:
        Dataset over `epoch`: one variable per detector, and `has_memorized`, True from the epoch at which train
        accuracy has been at least `phases.MEMORIZED` for three consecutive metrics entries.

    Raises:
        ValueError: If there is no such detector, or the model or the task is not supported.

    Examples:
        >>> import grokinterp as gi
        >>> ds = signals(gi.load_run("nanda2023"), ["weight decay"], progress=False)
        >>> float(ds["weight decay"].sel(epoch=40000)) > 0.6
        True
    """
    run = load_run(run)
    names = arguments.some_of(names, DETECTORS, "names")
    if not isinstance(run.config.model, TransformerConfig):
        kind = run.config.model.kind
        msg = f"detectors support transformers only, on which they were benchmarked, got a model of kind {kind!r}."
        raise ValueError(msg)
    chosen = [DETECTORS[name] for name in names]
    needed = {detector.measure.name: detector.measure for detector in chosen}
    ds = trajectory(run, list(needed.values()), progress=progress)
    epochs = ds.epoch.values
    has_memorized = epochs >= memorized_epoch(run)

    def over_epochs(values: np.ndarray, name: str, long_name: str, **attrs: str) -> xr.DataArray:
        coords = {"epoch": epochs}
        return labels.array(values, ("epoch",), name=name, units="", long_name=long_name, coords=coords, **attrs)

    variables = {
        detector.name: over_epochs(
            detector.signal(ds[detector.measure.name], has_memorized), detector.name, detector.meaning
        )
        for detector in chosen
    }
    mask = over_epochs(has_memorized, "has_memorized", "whether the run has memorized", rule=RULE)
    return xr.Dataset({**variables, "has_memorized": mask}, attrs=ds.attrs)


def memorized_epoch(run: AnyRun) -> float:
    """The epoch at which `RULE` is fulfilled: the last of the consecutive entries; NaN if it never is."""
    metrics = load_run(run).metrics
    holds = metrics.accuracy.sel(split="train").values >= phases.MEMORIZED
    return last_sustained(metrics.epoch.values, holds, SUSTAINED)


def last_sustained(epochs: np.ndarray, holds: np.ndarray, sustained: int) -> float:
    """The last epoch of the first `sustained` consecutive ones at which a condition holds; NaN if there are none.

    Examples:
        >>> last_sustained(np.arange(6), np.array([True, False, True, True, True, False]), 3)
        4.0
    """
    start = phases.first_sustained(epochs, holds, sustained)
    return start if np.isnan(start) else float(epochs[np.searchsorted(epochs, start) + sustained - 1])


def first_alarm(signal: xr.DataArray, has_memorized: xr.DataArray, *, threshold: float, rises: bool) -> float:
    """The first alarm after memorization: a signal past its threshold at two consecutive checkpoints.

    Args:
        signal: Signal with dim `epoch`.
        has_memorized: Mask of the epochs after memorization, with dim `epoch`.
        threshold: Threshold that triggers the alarm.
        rises: True if the alarm fires above the threshold, False if below.

    Returns:
        The second of the two epochs, the earliest at which the alarm could fire; NaN if it never fires.

    Raises:
        ValueError: If the threshold is not a finite number.
    """
    threshold, rises = arguments.number(threshold, "threshold"), arguments.flag(rises, "rises")
    is_past = signal.values > threshold if rises else signal.values < threshold
    return last_sustained(signal.epoch.values, is_past & has_memorized.values, ALARM_SUSTAINED)


def early_detection(run: AnyRun, detector: str | None = None, *, progress: bool = True) -> xr.Dataset:
    """Whether and when a detector predicts that a run will grok, without test accuracy or loss, and how reliable it is.

    Detectors know the operation, but not whether the model answers correctly on pairs outside the training set.
    An alarm is not proof. The record gives the detector's rates on the benchmark's runs, all of them one-layer
    transformers at p = 47 to 61; it does not extend to other models, tasks or sizes. The absence of an alarm means
    little in a run that has not been trained for long.

    Args:
        run: A run, finished or not, or its path. The checkpoint spacing limits the resolution of alarms.
        detector: A key of `DETECTORS`; default: the winner of the benchmark.
        progress: Whether to show a progress bar.

    Returns:
        Dataset with `signal` over `epoch`, the scalars `alarm_epoch` (NaN if there is no alarm), `memorized_epoch`
        and `threshold`, and the record over `statistic` (value, low, high): `detection_rate`, `false_alarm_rate`, and
        `median_lead` in epochs; attribute `detector`.

    Raises:
        ValueError: If there is no such detector, it has no record, or the model or the task is not supported.

    Examples:
        >>> import grokinterp as gi
        >>> ds = gi.early_detection(gi.load_run("nanda2023"), progress=False)
        >>> bool(ds.detection_rate.sel(statistic="value") > ds.false_alarm_rate.sel(statistic="value"))
        True
    """
    # Without a record there is no threshold, so no alarm.
    known = [name for name in DETECTORS if name in trials()]
    name = arguments.one_of(winner() if detector is None else detector, known, "detector")
    ds = signals(run, [name], progress=progress)
    trial, rises = trials()[name], DETECTORS[name].rises
    alarm_epoch = first_alarm(ds[name], ds.has_memorized, threshold=trial.threshold, rises=rises)
    after = ds.epoch.values[ds.has_memorized.values]
    memorized = float(after[0]) if len(after) else np.nan
    variables = {
        "signal": ds[name],
        "alarm_epoch": labels.array(alarm_epoch, name="alarm", units="epoch", long_name="epoch of the alarm"),
        "memorized_epoch": labels.array(memorized, name="memorized", units="epoch", long_name=f"first after {RULE}"),
        "threshold": labels.array(trial.threshold, name="threshold", units="", long_name="threshold"),
        "detection_rate": _statistic(trial.detection_rate, "", "fraction of grokking runs detected in time"),
        "false_alarm_rate": _statistic(trial.false_alarm_rate, "", "fraction of controls with an alarm"),
        "median_lead": _statistic(trial.median_lead, "epoch", "median lead before a test accuracy of 0.5"),
    }
    rule = f"{'above' if rises else 'below'} the threshold after memorization, {ALARM_SUSTAINED} checkpoints in a row"
    return xr.Dataset(variables, attrs={**ds.attrs, "detector": name, "rule": rule})


def _statistic(values: tuple[float, float, float], units: str, long_name: str) -> xr.DataArray:
    coords = {"statistic": ["value", "low", "high"]}
    return labels.array(values, ("statistic",), name="record", units=units, long_name=long_name, coords=coords)
