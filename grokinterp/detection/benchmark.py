"""The benchmark record of each detector: detection rate, false-alarm rate, and lead time."""

import json
import math
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import xarray as xr

from grokinterp import arguments, labels


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A detector's record on held-out runs, which were not used to calibrate its threshold.

    Attributes:
        detector: The detector's name.
        threshold: The threshold, calibrated on other runs: midway between what their controls reach and what their
            grokking runs reach in time.
        rises: True if values above the threshold raise an alarm, False if values below it do.
        grokked: Number of runs that reached a test accuracy of 0.5.
        detected: Number of these with an alarm before.
        late: Number of these with an alarm then or later.
        censored: Number of runs with a config that groks that ended too early; they are in no other count.
        controls: Number of runs that never grok: no weight decay, random labels, or too little data.
        false_alarms: Number of controls with an alarm.
        leads: Epochs from the alarm to a test accuracy of 0.5, for each detected run.
        lead_shares: Leads as fractions of the epoch at which that accuracy was reached.
    """

    detector: str
    threshold: float
    rises: bool
    grokked: int
    detected: int
    late: int
    censored: int
    controls: int
    false_alarms: int
    leads: tuple[float, ...]
    lead_shares: tuple[float, ...]

    @property
    def detection_rate(self) -> tuple[float, float, float]:
        """Fraction of grokking runs detected in time, with its 95% interval."""
        return self.detected / self.grokked, *wilson(self.detected, self.grokked)

    @property
    def false_alarm_rate(self) -> tuple[float, float, float]:
        """Fraction of controls with an alarm, with its 95% interval."""
        return self.false_alarms / self.controls, *wilson(self.false_alarms, self.controls)

    @property
    def median_lead(self) -> tuple[float, float, float]:
        """Median of `leads`, with its 95% bootstrap interval over runs; NaN if no run was detected."""
        return resampled_median(self.leads)


def _benchmark() -> dict[str, Any]:
    return json.loads((resources.files("grokinterp") / "detection" / "trials.json").read_text(encoding="utf-8"))


def trials() -> dict[str, Trial]:
    """The record of every detector; the baseline's key is `naive score`.

    Examples:
        >>> trial = trials()["naive score"]
        >>> trial.false_alarms > 0
        True
    """
    records = {}
    for entry in _benchmark()["trials"]:
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
        }
        records[values["detector"]] = Trial(**values)
    return records


def winner() -> str:
    """The detector that won the benchmark."""
    return _benchmark()["winner"]


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion.

    Source:
        Wilson 1927, Journal of the American Statistical Association 22, 209-212.

    Examples:
        >>> [round(end, 3) for end in wilson(0, 18)]
        [0.0, 0.176]
    """
    fraction = successes / n
    center = (fraction + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)


def resampled_median(values: tuple[float, ...], *, draws: int = 2_000, seed: int = 0) -> tuple[float, float, float]:
    """The median with its 95% bootstrap interval; NaN if there are no values.

    Examples:
        >>> resampled_median((3.0, 3.0, 3.0))
        (3.0, 3.0, 3.0)
    """
    if not values:
        return math.nan, math.nan, math.nan
    rng = np.random.default_rng(seed)
    medians = np.median(rng.choice(values, size=(draws, len(values))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(np.median(values)), float(low), float(high)


def naive_score(metrics: xr.Dataset, *, window: int = 10) -> xr.DataArray:
    """((test[0] - test[-1]) / test[0]) * (mean test / mean train) / (std(train) + 1e-8) over a window of losses.

    It reads the test loss, so it is not early by construction, and it has the units of 1 / loss. Once a run has
    memorized, std(train) is close to 0, and any decrease of the test loss makes it diverge. It is used with a
    threshold of 0.1.

    Args:
        metrics: `run.metrics`.
        window: Number of entries, up to and including the current one.

    Returns:
        The score over `epoch`; NaN before the first complete window.

    Source:
        A public grokking framework, with a window of 100 epochs of losses logged at every epoch.
    """
    window = arguments.integer(window, "window", minimum=1)
    train, test = (metrics.loss.sel(split=split).values for split in ("train", "test"))
    score = np.full(len(train), np.nan)
    for last in range(window - 1, len(train)):
        part = slice(last + 1 - window, last + 1)
        decrease = (test[part][0] - test[part][-1]) / test[part][0]
        score[last] = decrease * (test[part].mean() / train[part].mean()) / (train[part].std() + 1e-8)
    coords = {"epoch": metrics.epoch.values}
    return labels.array(score, ("epoch",), name="score", units="", long_name="naive score", coords=coords)
