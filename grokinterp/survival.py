"""How many runs have not grokked by an epoch, where some were stopped before they did: Kaplan and Meier's curves."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import xarray as xr

from grokinterp import arguments, labels


_CURVES: Final = ("survival", "lower", "upper")
_INSTALL: Final = "Kaplan-Meier curves need lifelines; pip install 'grokinterp[stats]'."


def kaplan_meier(
    times: xr.DataArray, is_censored: xr.DataArray, *, groups: str | None = None, confidence: float = 0.95
) -> xr.Dataset:
    """The share of runs that have not grokked by each epoch, with its band, the median, and whether groups differ.

    Runs that were stopped before they grokked count for as long as they were watched: leaving them out, or taking
    their last epoch for that of grokking, makes grokking look earlier than it is.

    Args:
        times: Epoch of grokking of each run, or the last at which it could be seen; over any dimensions. NaN where
            there is no run.
        is_censored: True or 1 where that is the last epoch and not that of grokking, else False or 0; over the same
            dimensions and coordinates, in any order. It is ignored where there is no run.
        groups: The dimension of `times` whose values are compared, such as a swept axis; the runs of a value are all
            those over the other dimensions. Default: all runs are one group.
        confidence: Of bands and intervals, between 0 and 1, for one epoch and one group at a time.

    Returns:
        Dataset over `group` and `epoch`, all epochs at which something happened and 0: `survival`, NaN after the last
        epoch at which a run of the group was watched; `lower` and `upper`, its band; `at_risk`, the runs that were
        still watched and had not grokked before. Over `group`: `runs`, `censored` (how many), `median`, infinite
        where less than half of the group is known to grok, with `median_lower` and `median_upper`. `p_value`, of the
        log-rank test that all groups are alike, where there are two or more.

    Raises:
        ImportError: If lifelines is not installed.
        TypeError: If one of the two is not a DataArray.
        ValueError: If the two have not the same dimensions and coordinates, `is_censored` of a run is neither 0 nor 1,
            `groups` is no dimension of theirs, the confidence is out of range, a time is negative or infinite, or there
            is no run.

    Source:
        Kaplan and Meier 1958, by `lifelines`: bands by Greenwood's formula on log(-log S), the median's interval by
        where they pass a half. The median is the first epoch at which at most half of the runs are left.

    Examples:
        >>> epochs = xr.DataArray([100.0, 200.0, 400.0, 400.0], dims="seed")
        >>> curve = kaplan_meier(epochs, xr.DataArray([False, False, True, True], dims="seed"))
        >>> curve.epoch.values.tolist(), curve.survival.sel(group="all").values.tolist()
        ([0.0, 100.0, 200.0, 400.0], [1.0, 0.75..., 0.5, 0.5])
    """
    confidence = arguments.number(confidence, "confidence", above=0, below=1)
    fitters = _lifelines()
    by_group = _by_group(times, is_censored, groups)
    every = [x for x, _ in by_group.values()]
    epochs = np.unique(np.concatenate([[0.0], *every]))
    fits = {name: _fit(fitters, *runs, epochs, confidence) for name, runs in by_group.items()}
    long_name = "runs" if groups is None else str(times[groups].attrs.get("long_name", groups))
    curves = {
        "survival": "share of runs that have not grokked",
        "lower": f"lower end of the {confidence:.0%} band",
        "upper": f"upper end of the {confidence:.0%} band",
        "at_risk": "runs that are watched and have not grokked",
    }
    numbers = {
        "runs": ("", "runs"),
        "censored": ("", "runs that have not grokked by their last epoch"),
        "median": ("epoch", "median epoch of grokking"),
        "median_lower": ("epoch", f"lower end of the {confidence:.0%} interval of the median"),
        "median_upper": ("epoch", f"upper end of the {confidence:.0%} interval of the median"),
    }
    coords = {"group": list(by_group), "epoch": epochs}
    variables = {
        name: labels.array(
            np.stack([fit[name] for fit in fits.values()]),
            ("group", "epoch"),
            name=name,
            units="",
            long_name=about,
            coords=coords,
        )
        for name, about in curves.items()
    }
    variables |= {
        name: labels.array(
            [float(fit[name]) for fit in fits.values()],
            ("group",),
            name=name,
            units=units,
            long_name=about,
            coords={"group": coords["group"]},
        )
        for name, (units, about) in numbers.items()
    }
    if len(by_group) > 1:
        p_value = _log_rank(fitters, by_group)
        variables["p_value"] = labels.array(p_value, name="p_value", units="", long_name="p-value, log-rank test")
    found = xr.Dataset(variables, attrs={"confidence": confidence})
    found["group"].attrs["long_name"] = long_name
    if "rule" in times.attrs:
        found["survival"].attrs["rule"] = times.attrs["rule"]
    return found


def _lifelines() -> Any:
    """The package, which is an extra and takes seconds to import."""
    try:
        import lifelines
        import lifelines.statistics
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    return lifelines


def _by_group(
    times: xr.DataArray, is_censored: xr.DataArray, groups: str | None
) -> Mapping[Any, tuple[np.ndarray, np.ndarray]]:
    """The times of the runs of each group that has some, and which of them are censored."""
    for name, given in (("times", times), ("is_censored", is_censored)):
        if not isinstance(given, xr.DataArray):
            msg = f"{name} must be a DataArray, such as xr.DataArray(x, dims='seed'), got {arguments.shown(given)}."
            raise TypeError(msg)
    if times.dtype.kind not in "iuf":
        msg = f"times must be numbers, epochs, got {arguments.shown(times.values.ravel().tolist())}."
        raise ValueError(msg)
    if set(times.dims) != set(is_censored.dims) or dict(times.sizes) != dict(is_censored.sizes):
        msg = (
            "times and is_censored must have the same dimensions, "
            f"got {dict(times.sizes)} and {dict(is_censored.sizes)}."
        )
        raise ValueError(msg)
    for dim in times.dims:
        # Counted and not sorted, which text beside numbers cannot be.
        counts = [Counter(x.get_index(dim)) if dim in x.coords else None for x in (times, is_censored)]
        if counts[0] != counts[1]:
            both = [
                arguments.shown(x[dim].values.tolist()) if dim in x.coords else "none" for x in (times, is_censored)
            ]
            got = " and ".join(both)
            msg = f"times and is_censored must have the same coordinates along {dim}, got {got}."
            raise ValueError(msg)
    is_censored = is_censored.reindex_like(times)
    if groups is not None:
        groups = arguments.one_of(groups, times.dims, "groups")
    if ((times < 0) | np.isinf(times)).any():
        msg = f"times must be finite and not negative, got {float(times.min()):g} to {float(times.max()):g}."
        raise ValueError(msg)
    is_censored = is_censored.transpose(*times.dims)
    if not (is_censored.isin([0, 1]) | times.isnull()).all():
        msg = (
            "is_censored must be True or False, or 1 or 0, for each run; where there is no run, times are NaN as well."
        )
        raise ValueError(msg)
    is_censored = is_censored.astype(bool)
    values = ["all"] if groups is None else times[groups].values.tolist()
    found = {}
    for place, value in enumerate(values):
        at = {} if groups is None else {groups: place}
        x, censored = times.isel(at).values.ravel().astype(float), is_censored.isel(at).values.ravel()
        is_run = ~np.isnan(x)
        if is_run.any():
            found[value] = (x[is_run], censored[is_run])
    if not found:
        msg = "times must have a number for at least one run, got none."
        raise ValueError(msg)
    return found


def _fit(lifelines: Any, x: np.ndarray, censored: np.ndarray, epochs: np.ndarray, confidence: float) -> dict[str, Any]:
    """The curve of one group at some epochs, and its numbers."""
    fitter = lifelines.KaplanMeierFitter(alpha=1 - confidence).fit(x, ~censored)
    # A step function: at an epoch it has the value of the last one before.
    place = np.searchsorted(fitter.timeline, epochs, side="right") - 1
    is_watched = epochs <= x.max()
    band = fitter.confidence_interval_survival_function_
    curves = dict(zip(_CURVES, (fitter.survival_function_.values[:, 0], *band.values.T), strict=True))
    medians = (_first_half(fitter.timeline, curve) for curve in curves.values())
    return {name: np.where(is_watched, curve[place], np.nan) for name, curve in curves.items()} | {
        "at_risk": (x[None, :] >= epochs[:, None]).sum(axis=1).astype(float),
        "runs": len(x),
        "censored": censored.sum(),
        **dict(zip(("median", "median_lower", "median_upper"), medians, strict=True)),
    }


def _first_half(epochs: np.ndarray, curve: np.ndarray) -> float:
    """The first epoch at which a curve is down to a half, up to rounding, which lifelines' own median is not."""
    is_down = curve <= 0.5 + 1e-9
    return float(epochs[is_down.argmax()]) if is_down.any() else float("inf")


def _log_rank(lifelines: Any, by_group: Mapping[Any, tuple[np.ndarray, np.ndarray]]) -> float:
    x, censored = (np.concatenate(parts) for parts in zip(*by_group.values(), strict=True))
    if censored.all():
        return 1.0  # Nothing happened by which groups could differ.
    number = np.repeat(np.arange(len(by_group)), [len(runs) for runs, _ in by_group.values()])
    return float(lifelines.statistics.multivariate_logrank_test(x, number, ~censored).p_value)
