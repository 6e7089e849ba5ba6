"""What each detector did in the benchmark: how often it was right, how often wrong, and how early."""

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
    """A detector's record on runs that had no part in setting its threshold.

    Attributes:
        detector: Its name.
        threshold: Set on other runs, midway between what their controls reach and what grokking runs reach in time.
        rises: Whether alarms are above it, else below.
        grokked: Runs that reached a test accuracy of one half.
        detected: Of these, how many had the alarm before.
        late: Of these, how many had it then or after.
        censored: Runs of a setting that groks which had not reached it when they ended; they count as neither.
        controls: Runs that never reach it: no weight decay, random labels, too little data.
        false_alarms: Of these, how many had an alarm.
        leads: Epochs from the alarm to a test accuracy of one half, of each run that was detected.
        lead_shares: The same as shares of the epoch at which it was reached.
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
        """The share of grokking runs that were detected in time, and its 95 % interval."""
        return self.detected / self.grokked, *wilson(self.detected, self.grokked)

    @property
    def false_alarm_rate(self) -> tuple[float, float, float]:
        """The share of controls with an alarm, and its 95 % interval."""
        return self.false_alarms / self.controls, *wilson(self.false_alarms, self.controls)

    @property
    def median_lead(self) -> tuple[float, float, float]:
        """The median of `leads`, and its 95 % interval by resampling runs; NaN where none was detected."""
        return resampled_median(self.leads)


def trials() -> dict[str, Trial]:
    """Every detector's record, the baseline's under `naive score`.

    Examples:
        >>> trial = trials()["naive score"]
        >>> trial.false_alarms > 0
        True
    """
    text = (resources.files("grokinterp") / "detection" / "trials.json").read_text(encoding="utf-8")
    return {entry["detector"]: read_trial(entry) for entry in json.loads(text)["trials"]}


def winner() -> str:
    """The detector that won the benchmark."""
    text = (resources.files("grokinterp") / "detection" / "trials.json").read_text(encoding="utf-8")
    return json.loads(text)["winner"]


def read_trial(entry: dict[str, Any]) -> Trial:
    """A record from its JSON values."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Trial(**values)


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    Source:
        Wilson 1927, Journal of the American Statistical Association 22, 209-212.

    Examples:
        >>> [round(end, 3) for end in wilson(0, 18)]
        [0.0, 0.176]
    """
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def resampled_median(values: tuple[float, ...], *, draws: int = 2_000, seed: int = 0) -> tuple[float, float, float]:
    """The median, and its 95 % interval over samples drawn with replacement; NaN of nothing.

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

    It reads the test loss, so that it is not early by construction; it has the dimension of one over a loss; and once a
    run has memorized, std(train) is next to nothing and any fall of the test loss, however small, makes it explode.
    Its users take 0.1 for the threshold.

    Args:
        metrics: `run.metrics`.
        window: Entries, this one the last of them.

    Returns:
        The score over `epoch`; NaN before the first whole window.

    Source:
        A public grokking framework, whose window is 100 epochs of losses logged at each.
    """
    window = arguments.integer(window, "window", minimum=1)
    train, test = (metrics.loss.sel(split=split).values for split in ("train", "test"))
    score = np.full(len(train), np.nan)
    for last in range(window - 1, len(train)):
        part = slice(last + 1 - window, last + 1)
        fall = (test[part][0] - test[part][-1]) / test[part][0]
        score[last] = fall * (test[part].mean() / train[part].mean()) / (train[part].std() + 1e-8)
    return labels.array(
        score,
        ("epoch",),
        name="score",
        units="",
        long_name="naive score",
        coords={"epoch": metrics.epoch.values},
    )
