"""Kaplan-Meier curves: the fraction of runs that have not grokked by each epoch, with censored runs."""

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
    """The fraction of runs that have not grokked by each epoch, with its band and median, and a test between groups.

    Runs that ended before they grokked are included up to their censoring time: omitting them, or using their last
    epoch as the grokking time, makes grokking look earlier than it is.

    Args:
        times: Epoch of grokking, or of censoring, of each run, over any dimensions; NaN if there is no run.
        is_censored: True or 1 if the time is a censoring time, False or 0 if the run grokked; over the same dimensions
            and coordinates, in any order. Ignored if there is no run.
        groups: A dimension of `times` whose values are compared, e.g. a swept axis; runs are pooled over the other
            dimensions. Default: all runs are one group.
        confidence: Pointwise confidence level of bands and intervals, between 0 and 1.

    Returns:
        Dataset over `group` and `epoch` (0 and every epoch in `times`): `survival`, NaN after the last time in the
        group; `lower` and `upper`, its confidence band; `at_risk`, the number of runs neither grokked nor
        censored before. Over `group`: `runs`, `censored` (counts), `median`, infinite if fewer than half of the group
        are observed to grok, with `median_lower` and `median_upper`. `p_value` of the log-rank test that all groups
        have the same distribution, if there are at least two.

    Raises:
        ImportError: If lifelines is not installed.
        TypeError: If times or is_censored is not a DataArray.
        ValueError: If their dimensions or coordinates differ, `is_censored` of a run is neither 0 nor 1, `groups` is
            not one of their dimensions, the confidence is out of range, a time is negative or infinite, or there is
            no run.

    Source:
        Kaplan and Meier 1958, computed by `lifelines`, with Greenwood bands on the log(-log S) scale; the median's
        interval is where the bands cross 0.5. The median is the first epoch at which at most half of the runs remain.

    Examples:
        >>> epochs = xr.DataArray([100.0, 200.0, 400.0, 400.0], dims="seed")
        >>> curve = kaplan_meier(epochs, xr.DataArray([False, False, True, True], dims="seed"))
        >>> curve.epoch.values.tolist(), curve.survival.sel(group="all").values.tolist()
        ([0.0, 100.0, 200.0, 400.0], [1.0, 0.75..., 0.5, 0.5])
    """
    confidence = arguments.number(confidence, "confidence", above=0, below=1)
    lifelines = _lifelines()
    by_group = _by_group(times, is_censored, groups)
    epochs = np.unique(np.concatenate([[0.0], *(group_times for group_times, _ in by_group.values())]))
    fits = [_fit(lifelines, *runs, epochs, confidence) for runs in by_group.values()]
    coords = {"group": list(by_group), "epoch": epochs}
    along_epochs, level = ("group", "epoch"), f"{confidence:.0%}"
    variables = {
        name: labels.array(
            np.stack([fit[name] for fit in fits]).astype(float),
            dims,
            name=name,
            units=units,
            long_name=long_name,
            coords={dim: coords[dim] for dim in dims},
        )
        for name, dims, units, long_name in (
            ("survival", along_epochs, "", "fraction of runs that have not grokked"),
            ("lower", along_epochs, "", f"lower end of the {level} band"),
            ("upper", along_epochs, "", f"upper end of the {level} band"),
            ("at_risk", along_epochs, "", "runs at risk"),
            ("runs", ("group",), "", "runs"),
            ("censored", ("group",), "", "censored runs"),
            ("median", ("group",), "epoch", "median epoch of grokking"),
            ("median_lower", ("group",), "epoch", f"lower end of the median's {level} interval"),
            ("median_upper", ("group",), "epoch", f"upper end of the median's {level} interval"),
        )
    }
    if len(by_group) > 1:
        p_value = _log_rank(lifelines, by_group)
        variables["p_value"] = labels.array(p_value, name="p_value", units="", long_name="p-value, log-rank test")
    ds = xr.Dataset(variables, attrs={"confidence": confidence})
    ds["group"].attrs["long_name"] = "runs" if groups is None else str(times[groups].attrs.get("long_name", groups))
    if "rule" in times.attrs:
        ds["survival"].attrs["rule"] = times.attrs["rule"]
    return ds


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
    """The times and the censoring of the runs in each nonempty group."""
    for name, given in (("times", times), ("is_censored", is_censored)):
        if not isinstance(given, xr.DataArray):
            msg = f"{name} must be a DataArray, e.g. xr.DataArray(x, dims='seed'), got {arguments.shown(given)}."
            raise TypeError(msg)
    if times.dtype.kind not in "iuf":
        msg = f"times must be numbers of epochs, got {arguments.shown(times.values.ravel().tolist())}."
        raise ValueError(msg)
    if dict(times.sizes) != dict(is_censored.sizes):
        got = f"{dict(times.sizes)} and {dict(is_censored.sizes)}"
        msg = f"times and is_censored must have the same dimensions, got {got}."
        raise ValueError(msg)
    for dim in times.dims:
        both = [x[dim].values.tolist() if dim in x.coords else None for x in (times, is_censored)]
        # Counted instead of sorted, since coordinates may mix strings and numbers.
        if (both[0] is None) != (both[1] is None) or Counter(both[0]) != Counter(both[1]):
            got = " and ".join("none" if values is None else arguments.shown(values) for values in both)
            msg = f"times and is_censored must have the same coordinates along {dim}, got {got}."
            raise ValueError(msg)
    is_censored = is_censored.reindex_like(times).transpose(*times.dims)
    if groups is not None:
        groups = arguments.one_of(groups, times.dims, "groups")
    if ((times < 0) | np.isinf(times)).any():
        msg = f"times must be finite and not negative, got {float(times.min()):g} to {float(times.max()):g}."
        raise ValueError(msg)
    if not (is_censored.isin([0, 1]) | times.isnull()).all():
        msg = "is_censored must be True or False, or 1 or 0, for each run; if there is no run, set its time to NaN."
        raise ValueError(msg)
    is_censored = is_censored.astype(bool)
    by_group = {}
    for i, value in enumerate(["all"] if groups is None else times[groups].values.tolist()):
        at = {} if groups is None else {groups: i}
        group_times, censored = times.isel(at).values.ravel().astype(float), is_censored.isel(at).values.ravel()
        is_run = ~np.isnan(group_times)
        if is_run.any():
            by_group[value] = (group_times[is_run], censored[is_run])
    if not by_group:
        msg = "times must have a number for at least one run, got none."
        raise ValueError(msg)
    return by_group


def _fit(
    lifelines: Any, times: np.ndarray, censored: np.ndarray, epochs: np.ndarray, confidence: float
) -> dict[str, Any]:
    """The curves of one group at the given epochs, and its statistics."""
    fitter = lifelines.KaplanMeierFitter(alpha=1 - confidence).fit(times, ~censored)
    # The curve is a step function: each epoch has the value of the last event at or before it.
    steps = np.searchsorted(fitter.timeline, epochs, side="right") - 1
    is_observed = epochs <= times.max()
    band = fitter.confidence_interval_survival_function_
    curves = dict(zip(_CURVES, (fitter.survival_function_.values[:, 0], *band.values.T), strict=True))
    medians = (_median(fitter.timeline, curve) for curve in curves.values())
    return {name: np.where(is_observed, curve[steps], np.nan) for name, curve in curves.items()} | {
        "at_risk": (times[None, :] >= epochs[:, None]).sum(axis=1),
        "runs": len(times),
        "censored": censored.sum(),
        **dict(zip(("median", "median_lower", "median_upper"), medians, strict=True)),
    }


def _median(epochs: np.ndarray, curve: np.ndarray) -> float:
    """The first epoch at which a curve is at most 0.5 up to rounding; lifelines' median does not allow for rounding."""
    is_half = curve <= 0.5 + 1e-9
    return float(epochs[is_half.argmax()]) if is_half.any() else float("inf")


def _log_rank(lifelines: Any, by_group: Mapping[Any, tuple[np.ndarray, np.ndarray]]) -> float:
    times, censored = (np.concatenate(parts) for parts in zip(*by_group.values(), strict=True))
    if censored.all():
        return 1.0  # without events the groups cannot differ
    group = np.repeat(np.arange(len(by_group)), [len(runs) for runs, _ in by_group.values()])
    return float(lifelines.statistics.multivariate_logrank_test(times, group, ~censored).p_value)
