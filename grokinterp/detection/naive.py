"""A score that has been in use, kept as the baseline that a detector has to beat."""

import numpy as np
import xarray as xr

from grokinterp import arguments, labels


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
