"""Alarms: the epoch at which a detector first indicates that a run is about to grok."""

from typing import Final

import numpy as np
import xarray as xr

from grokinterp import arguments, labels
from grokinterp.detection.benchmark import trials, winner
from grokinterp.detection.detectors import DETECTORS, RULE, last_sustained, signals
from grokinterp.runs.run import AnyRun


# Consecutive checkpoints that an alarm needs.
SUSTAINED: Final = 2


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
    return last_sustained(signal.epoch.values, is_past & has_memorized.values, SUSTAINED)


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
    rule = f"{'above' if rises else 'below'} the threshold after memorization, {SUSTAINED} consecutive checkpoints"
    return xr.Dataset(variables, attrs={**ds.attrs, "detector": name, "rule": rule})


def _statistic(values: tuple[float, float, float], units: str, long_name: str) -> xr.DataArray:
    coords = {"statistic": ["value", "low", "high"]}
    return labels.array(values, ("statistic",), name="record", units=units, long_name=long_name, coords=coords)
