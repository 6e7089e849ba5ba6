"""Alarms: when a detector first says that a run is about to grok."""

from typing import Final

import numpy as np
import xarray as xr

from grokinterp import arguments, labels
from grokinterp.detection.benchmark import trials, winner
from grokinterp.detection.detectors import DETECTORS, RULE, last_sustained, signals
from grokinterp.runs.run import AnyRun


# Checkpoints in a row that an alarm needs.
SUSTAINED: Final = 2


def first_alarm(signal: xr.DataArray, has_memorized: xr.DataArray, *, threshold: float, rises: bool) -> float:
    """The first epoch after memorization from which a signal is beyond its threshold for two checkpoints in a row.

    The alarm is that of the second of them, when it could first be raised.

    Args:
        signal: Over `epoch`.
        has_memorized: Over `epoch`.
        threshold: Beyond which it speaks of grokking.
        rises: Whether that is above.

    Returns:
        The epoch of the alarm; NaN if there is none.

    Raises:
        ValueError: If the threshold is not a finite number.
    """
    threshold, rises = arguments.number(threshold, "threshold"), arguments.flag(rises, "rises")
    beyond = signal.values > threshold if rises else signal.values < threshold
    return last_sustained(signal.epoch.values, beyond & has_memorized.values, SUSTAINED)


def early_detection(run: AnyRun, detector: str | None = None, *, progress: bool = True) -> xr.Dataset:
    """Whether and when a detector says that a run is about to grok, without its test accuracy or loss; and its record.

    Detectors know the operation that is learned, and not whether the model answers by it where it was not trained.
    An alarm is no proof. The record says how often the detector was right and wrong on runs of the benchmark, all of
    them one-layer transformers at p = 47 to 61; nothing is known of other models, tasks or sizes. No alarm means little
    in a run that has not been trained for long.

    Args:
        run: A run, finished or not, or its path. Alarms are told apart no better than by its checkpoints.
        detector: One of `DETECTORS`; default: the one that won the benchmark.
        progress: Whether to show a progress bar.

    Returns:
        Dataset with `signal` over `epoch`, and the numbers `alarm_epoch` (NaN: none), `memorized_epoch`, `threshold`,
        and over `statistic` (value, low, high) the record: `detection_rate`, `false_alarm_rate`, `median_lead` in
        epochs; attribute `detector`.

    Raises:
        ValueError: If there is no such detector, it has no record, or the task is one that it cannot read.

    Examples:
        >>> import grokinterp as gi
        >>> found = gi.early_detection(gi.load_run("nanda2023"), progress=False)
        >>> bool(found.detection_rate.sel(statistic="value") > found.false_alarm_rate.sel(statistic="value"))
        True
    """
    # A detector with neither a threshold nor a record can raise no alarm.
    known = [name for name in DETECTORS if name in trials()]
    name = arguments.one_of(winner() if detector is None else detector, known, "detector")
    ds = signals(run, [name], progress=progress)
    trial, rises = trials()[name], DETECTORS[name].rises
    alarm_epoch = first_alarm(ds[name], ds.has_memorized, threshold=trial.threshold, rises=rises)
    after = ds.epoch.values[ds.has_memorized.values]
    memorized = float(after[0]) if len(after) else np.nan
    numbers = {
        "alarm_epoch": labels.array(alarm_epoch, name="alarm", units="epoch", long_name="epoch of the alarm"),
        "memorized_epoch": labels.array(memorized, name="memorized", units="epoch", long_name=f"first after {RULE}"),
        "threshold": labels.array(trial.threshold, name="threshold", units="", long_name="threshold"),
        "detection_rate": _record(trial.detection_rate, "", "share of grokking runs that were detected in time"),
        "false_alarm_rate": _record(trial.false_alarm_rate, "", "share of controls with an alarm"),
        "median_lead": _record(trial.median_lead, "epoch", "median lead before a test accuracy of one half"),
    }
    rule = f"{'above' if rises else 'below'} the threshold after memorization, {SUSTAINED} checkpoints in a row"
    return xr.Dataset({"signal": ds[name], **numbers}, attrs={**ds.attrs, "detector": name, "rule": rule})


def _record(values: tuple[float, float, float], units: str, long_name: str) -> xr.DataArray:
    coords = {"statistic": ["value", "low", "high"]}
    return labels.array(values, ("statistic",), name="record", units=units, long_name=long_name, coords=coords)
