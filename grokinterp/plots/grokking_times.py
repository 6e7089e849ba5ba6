"""When runs grok: over one or two swept settings, and as survival curves."""

import math
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import theme
from grokinterp.plots.curves import add_band
from grokinterp.plots.data import need, small, with_rule


# Target coverage of a median's confidence interval, if there are enough seeds.
CONFIDENCE: Final = 0.95
# Medians beyond the last epoch are drawn above it by this factor.
_ABOVE: Final = 1.25
_BEYOND: Final = "beyond the last epoch"
_CENSORED: Final = "not grokked by its last epoch"
_INTERVAL: Final = "confidence interval of the median"


def grokking_time(ds: xr.Dataset, *, axis: str | None = None) -> go.Figure:
    """Plot the grokking epoch of every run over a swept axis, with medians and their confidence intervals.

    A run that had not grokked by its last epoch is censored: it is drawn as a triangle at that epoch and ranked later
    than all runs that grokked, so a median or the end of its interval may lie beyond the last epoch.

    Args:
        ds: A sweep over one or two axes, from `gi.collect`: `grokked_epoch` and `last_epoch` over the swept axes and
            `seed`.
        axis: Swept axis to use as the horizontal axis; default: the first. Values of the other are drawn in color.

    Returns:
        A figure with one panel and a logarithmic epoch axis. Bands (bars, if values are not numbers) are confidence
        intervals between two order statistics, which make no assumption about the distribution. They have at least
        95% coverage with six seeds or more; with fewer seeds, they span all runs, and the legend has their coverage.

    Raises:
        KeyError: If `grokked_epoch` or `last_epoch` is missing.
        ValueError: If there are no swept axes or more than two, if `axis` is not one of them, or if there are no runs.

    Examples:
        >>> dims, coords = ("weight_decay", "seed"), {"weight_decay": [0.5, 1.0], "seed": [0, 1]}
        >>> epochs = xr.DataArray([[900.0, np.nan], [300.0, 500.0]], dims=dims, coords=coords)
        >>> ds = xr.Dataset({"grokked_epoch": epochs, "last_epoch": xr.full_like(epochs, 2000.0)})
        >>> [trace.name for trace in grokking_time(ds).data]
        ['50% confidence interval of the median', 'median', 'run', 'not grokked by its last epoch']
    """
    grokked, last = _runs(ds)
    axes = [str(dim) for dim in grokked.dims if dim != "seed"]
    if not 1 <= len(axes) <= 2:
        msg = f"the plot needs one or two swept axes, got {', '.join(axes) or 'none'}; select values of the others."
        raise ValueError(msg)
    along = axes[0] if axis is None else arguments.one_of(axis, axes, "axis")
    other = next((dim for dim in axes if dim != along), None)
    setting = grokked[along]
    x = tick_positions(setting.values)
    end = float(np.nanmax(last.values))
    top = end * _ABOVE
    fig = theme.panels([f"Grokking epoch by {theme.name(setting)}"], columns=1)
    groups = [""] if other is None else _names(grokked[other])
    for number, (group, color) in enumerate(zip(groups, theme.seed_colors(len(groups)), strict=True)):
        selected = {} if other is None else {other: number}
        epochs = [data.isel(selected).transpose(along, "seed").values for data in (grokked, last)]
        _add_group(fig, setting, x, *epochs, top=top, color=color, group=group, legend=other is None)
    if other is not None:
        _add_symbol_legend(fig, is_censored=bool((grokked.isnull() & last.notnull()).any()))
    labels = theme.tick_labels(setting.values)
    fig.update_xaxes(title_text=theme.title(setting), tickvals=x, ticktext=labels, showgrid=False)
    first = grokked.values[grokked.values > 0].min(initial=max(end, 1.0)) / 1.5
    ticks = [m * 10**n for n in range(9) for m in (1, 2, 5) if first <= m * 10**n <= max(end, 1.0)]
    ticktext = [f"{tick:,}" for tick in ticks]
    if any(trace.customdata is not None and _BEYOND in trace.customdata for trace in theme.traces(fig)):
        ticks, ticktext = [*ticks, top], [*ticktext, f"after {end:,.0f}"]
    limits = [math.log10(first), math.log10(top * 1.05)]
    title = with_rule(grokked.attrs.get("units", "epoch"), grokked)
    fig.update_yaxes(title_text=title, type="log", tickvals=ticks, ticktext=ticktext, range=limits)
    fig.update_layout(legend={"y": 1.0, "tracegroupgap": 0})
    return theme.apply(fig, height=440)


def grokking_map(ds: xr.Dataset) -> go.Figure:
    """Plot the median grokking epoch over two swept axes, as a heatmap.

    Args:
        ds: A sweep over two axes, from `gi.collect`: `grokked_epoch` and `last_epoch` over them and `seed`.

    Returns:
        A figure with one panel, whose cells show the median and how many runs grokked. A cell is gray if the median
        lies beyond the last epoch, because too few runs grokked, and empty if it has no runs.

    Raises:
        KeyError: If `grokked_epoch` or `last_epoch` is missing.
        ValueError: If there are not two swept axes, or no runs.

    Examples:
        >>> dims = ("weight_decay", "fraction", "seed")
        >>> epochs = xr.DataArray([[[900.0], [300.0]], [[np.nan], [200.0]]], dims=dims)
        >>> ds = xr.Dataset({"grokked_epoch": epochs, "last_epoch": xr.full_like(epochs, 2000.0)})
        >>> grokking_map(ds).data[0].text.tolist()
        [['900<br>1 of 1', ''], ['300<br>1 of 1', '200<br>1 of 1']]
    """
    grokked, last = _runs(ds)
    axes = [str(dim) for dim in grokked.dims if dim != "seed"]
    if len(axes) != 2:
        msg = f"the map needs two swept axes, got {', '.join(axes) or 'none'}; use grokking_time, or select values."
        raise ValueError(msg)
    horizontal, vertical = axes
    epochs = grokked.transpose(vertical, horizontal, "seed").values
    ends = last.transpose(vertical, horizontal, "seed").values
    median = np.empty(epochs.shape[:2])
    text = np.full(epochs.shape[:2], "", dtype=object)
    for cell in np.ndindex(median.shape):
        runs, horizon = _ordered(epochs[cell], ends[cell]), np.nanmax(ends[cell], initial=0)
        median[cell] = _median(runs)
        epoch = f"{median[cell]:,.0f}" if np.isfinite(median[cell]) else f"> {horizon:,.0f}"
        text[cell] = f"{epoch}<br>{np.isfinite(runs).sum()} of {len(runs)}" if len(runs) else ""
    title = f"Median grokking epoch by {theme.name(ds[horizontal])} and {theme.name(ds[vertical])}"
    fig = theme.panels([with_rule(title, grokked)], columns=1)
    x, y = theme.tick_labels(ds[horizontal].values), theme.tick_labels(ds[vertical].values)
    hover = f"{theme.name(ds[horizontal])} %{{x}}, {theme.name(ds[vertical])} %{{y}}: %{{text}}<extra></extra>"
    is_known = np.isfinite(median)
    style = {"x": x, "y": y, "xgap": 2, "ygap": 2, "hovertemplate": hover, "texttemplate": "%{text}"}
    shades = np.where(is_known, np.log10(np.where(is_known, median, 1).clip(1)), np.nan)
    fig.add_heatmap(z=small(shades), text=np.where(is_known, text, ""), coloraxis="coloraxis", **style)
    if np.isinf(median).any():
        gray = np.where(np.isinf(median), 0.0, np.nan)
        scale = {"colorscale": [theme.OTHER, theme.OTHER], "showscale": False}
        fig.add_heatmap(z=small(gray), text=np.where(np.isinf(median), text, ""), **scale, **style)
    _add_epoch_colorbar(fig, shades)
    fig.update_xaxes(title_text=theme.title(ds[horizontal]), type="category", showgrid=False)
    fig.update_yaxes(title_text=theme.title(ds[vertical]), type="category", showgrid=False)
    return theme.apply(fig, height=140 + 62 * len(y))


def survival(ds: xr.Dataset) -> go.Figure:
    """Plot Kaplan-Meier curves: the fraction of runs that have not grokked, with confidence bands, per group.

    Args:
        ds: The result of `gi.survival.kaplan_meier`: `survival` over (group, epoch) and, if present, `lower` and
            `upper`, `runs`, `censored` and `p_value`.

    Returns:
        A figure with one panel. A cross marks the last epoch at which runs that had not grokked were observed.

    Raises:
        KeyError: If `survival` is missing.

    Examples:
        >>> left = xr.DataArray([[1.0, 0.5]], dims=("group", "epoch"), coords={"group": ["all"], "epoch": [0, 9]})
        >>> survival(xr.Dataset({"survival": left})).data[0].line.shape
        'hv'
    """
    data = need(ds, "survival").transpose("group", "epoch")
    epochs, groups = data["epoch"].values, data["group"].values
    test = f" (log-rank test: p = {float(ds['p_value']):.2g})" if "p_value" in ds else ""
    fig = theme.panels([f"Not yet grokked{test}"], columns=1)
    for number, (group, color) in enumerate(zip(groups, theme.seed_colors(len(groups)), strict=True)):
        is_observed = ~np.isnan(data.values[number])
        x, y = epochs[is_observed], data.values[number][is_observed]
        name = str(group)
        if "runs" in ds and "censored" in ds:
            runs, censored = int(ds["runs"].values[number]), int(ds["censored"].values[number])
            name += f" ({runs - censored} of {runs} grokked)"
        if "lower" in ds and "upper" in ds:
            low, high = (ds[end].transpose("group", "epoch").values[number][is_observed] for end in ("lower", "upper"))
            # Both edges are step functions.
            low, high = np.repeat(low, 2)[:-1], np.repeat(high, 2)[:-1]
            add_band(fig, np.repeat(x, 2)[1:], low, high, color, legendgroup=name, showlegend=False)
        hover = f"{group}, from epoch %{{x:,.0f}}: %{{y:.0%}}<extra></extra>"
        line = {"color": color, "width": 2, "shape": "hv"}
        fig.add_scatter(x=x, y=small(y), name=name, mode="lines", line=line, legendgroup=name, hovertemplate=hover)
        if len(x) and y[-1] > 0:
            cross = {"symbol": "cross-thin", "size": 9, "line": {"width": 1.8, "color": color}}
            hover = f"{group}, last observed at epoch %{{x:,.0f}}: %{{y:.0%}} left<extra></extra>"
            trace = {"legendgroup": name, "showlegend": False, "hovertemplate": hover}
            fig.add_scatter(x=x[-1:], y=small(y[-1:]), mode="markers", marker=cross, **trace)
    fig.update_xaxes(title_text=theme.title(data["epoch"]), rangemode="tozero")
    fig.update_yaxes(title_text=with_rule(theme.title(data), data), range=[-0.03, 1.03], tickformat=".0%")
    fig.update_layout(legend={"title": {"text": theme.name(data["group"]), "font": {"size": 11}}, "y": 1.0})
    return theme.apply(fig, height=400)


def median_interval(runs: np.ndarray) -> tuple[float, float, float]:
    """Distribution-free confidence interval of the median, between two order statistics.

    Args:
        runs: Epochs in ascending order, infinite for runs that have not grokked.

    Returns:
        Lower end, upper end, and coverage: the narrowest interval from the k-th smallest to the k-th largest value
        with a coverage of at least `CONFIDENCE`, or else from the smallest to the largest value.

    Examples:
        >>> median_interval(np.array([1.0, 2.0, 3.0]))
        (1.0, 3.0, 0.75)
    """
    n = len(runs)
    # The true median is below the k-th run if fewer than k runs are below it; each is with probability 1/2.
    below = np.cumsum([math.comb(n, i) for i in range(n)]) / 2**n
    k = max(int((1 - 2 * below >= CONFIDENCE).sum()), 1)
    return float(runs[k - 1]), float(runs[n - k]), float(max(1 - 2 * below[k - 1], 0.0))


def tick_positions(values: np.ndarray) -> np.ndarray:
    """Positions of values on an axis: the values themselves if far enough apart, otherwise 0, 1, ...

    Examples:
        >>> tick_positions(np.array([0.0, 0.5, 2.0])).tolist(), tick_positions(np.array([0.001, 0.01, 1.0])).tolist()
        ([0.0, 0.5, 2.0], [0.0, 1.0, 2.0])
    """
    if values.dtype.kind in "iuf" and len(values) > 1:
        closest = np.diff(np.sort(values)).min()
        if closest > 0.03 * np.ptp(values):
            return values.astype(float)
    return np.arange(len(values), dtype=float)


def dodge(x: np.ndarray, count: int) -> np.ndarray:
    """Spread the runs at each position out horizontally, in the order of their seeds.

    Examples:
        >>> dodge(np.array([0.0, 10.0]), 3).tolist()
        [[-0.25, 0.0, 0.25], [9.75, 10.0, 10.25]]
    """
    width = min(0.3 * np.diff(np.sort(x)).min(), 0.05 * np.ptp(x)) if len(x) > 1 else 0.1
    return x[:, None] + width * (np.arange(count) - (count - 1) / 2) / max(count - 1, 1)


def _runs(ds: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Grokking epochs and last epochs of the runs."""
    grokked, last = need(ds, "grokked_epoch"), need(ds, "last_epoch")
    if last.isnull().all():
        msg = "the plot needs at least one finished run, got none."
        raise ValueError(msg)
    return grokked, last.broadcast_like(grokked).transpose(*grokked.dims)


def _ordered(grokked: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Grokking epochs of the runs that exist, in ascending order; infinite for runs that have not grokked."""
    is_run = ~np.isnan(last)
    return np.sort(np.where(np.isnan(grokked[is_run]), np.inf, grokked[is_run]))


def _median(runs: np.ndarray) -> float:
    """Median of ordered runs: infinite if a middle one has not grokked, NaN if there are none."""
    n = len(runs)
    return float((runs[(n - 1) // 2] + runs[n // 2]) / 2) if n else float("nan")


def _add_group(
    fig: go.Figure,
    setting: xr.DataArray,
    x: np.ndarray,
    grokked: np.ndarray,
    last: np.ndarray,
    *,
    top: float,
    color: str,
    group: str,
    legend: bool,
) -> None:
    """Add the runs of one color: confidence intervals, medians, dots and triangles."""
    order = [i for i in np.argsort(x) if not np.isnan(last[i]).all()]
    runs = [_ordered(grokked[i], last[i]) for i in order]
    low, high, coverage = np.array([median_interval(of_value) for of_value in runs]).T
    median = np.array([_median(of_value) for of_value in runs])
    low, high, shown = (np.minimum(ends, top) for ends in (low, high, median))
    is_number = setting.dtype.kind in "iuf"
    style: dict[str, Any] = {"legendgroup": group, "showlegend": legend}
    if any(len(of_value) > 1 for of_value in runs):
        # The interval of a single run has no coverage.
        name = f"{math.floor(100 * coverage[coverage > 0].min(initial=1.0))}% {_INTERVAL}"
        if is_number:
            add_band(fig, x[order], low, high, color, opacity=0.18, name=name, **style)
        else:
            gap = np.full(len(order), np.nan)
            bars = np.stack([x[order], x[order], gap], axis=1), np.stack([low, high, gap], axis=1)
            line = {"color": color, "width": 7}
            trace = {"mode": "lines", "line": line, "opacity": 0.25, "hoverinfo": "skip", "name": name, **style}
            fig.add_scatter(x=bars[0].ravel(), y=bars[1].ravel(), **trace)
    fig.add_scatter(
        x=x[order],
        y=shown,
        mode="lines+markers" if is_number else "markers",
        line={"color": color, "width": 2},
        marker={"size": 9, "symbol": "line-ew", "line": {"width": 2.4, "color": color}},
        name=group or "median",
        customdata=[f"{epoch:,.0f}" if np.isfinite(epoch) else _BEYOND for epoch in median],
        hovertemplate=f"{group or 'median'}: %{{customdata}}<extra></extra>",
        legendgroup=group,
    )
    positions = dodge(x, grokked.shape[1])
    is_grokked = ~np.isnan(grokked)
    names = np.repeat(np.array(_names(setting))[:, None], grokked.shape[1], axis=1)
    for is_shown, y, symbol, size, name in (
        (is_grokked, grokked, "circle", 7, "run"),
        (~is_grokked & ~np.isnan(last), last, "triangle-up-open", 9, _CENSORED),
    ):
        if is_shown.any():
            fig.add_scatter(
                x=positions[is_shown],
                y=y[is_shown],
                mode="markers",
                marker={"color": color, "size": size, "symbol": symbol},
                opacity=0.75,
                name=name,
                customdata=names[is_shown],
                hovertemplate=f"{name}, %{{customdata}}: %{{y:,.0f}}<extra></extra>",
                **style,
            )


def _add_symbol_legend(fig: go.Figure, *, is_censored: bool) -> None:
    """Explain symbols in the legend, in gray, if colors stand for values."""
    for symbol, name in (("circle", "run"), ("triangle-up-open", _CENSORED))[: 1 + is_censored]:
        marker = {"color": theme.QUIET, "symbol": symbol, "size": 8}
        fig.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=name)
    for name in sorted({trace.name for trace in theme.traces(fig) if trace.name and trace.name.endswith(_INTERVAL)}):
        marker = {"symbol": "square", "color": theme.OTHER, "size": 12}
        fig.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=name)


def _names(setting: xr.DataArray) -> list[str]:
    """Each value of a setting, with the setting's name."""
    return [f"{theme.name(setting)} {label}" for label in theme.tick_labels(setting.values)]


def _add_epoch_colorbar(fig: go.Figure, shades: np.ndarray) -> None:
    """Label the colorbar in epochs; colors are their logarithms."""
    if np.isnan(shades).all():
        fig.update_layout(coloraxis={"showscale": False})
        return
    low, high = float(np.nanmin(shades)), float(np.nanmax(shades))
    low, high = (low, high) if high - low > 0.1 else (low - 0.1, high + 0.1)
    ticks = [m * 10**n for n in range(9) for m in (1, 2, 5) if low <= math.log10(m * 10**n) <= high]
    bar = {"tickvals": [math.log10(tick) for tick in ticks], "ticktext": [f"{tick:,}" for tick in ticks]}
    bar["title"] = {"text": "median epoch", "side": "right", "font": {"size": 11}}
    fig.update_layout(coloraxis={"colorscale": theme.SEQUENTIAL[1:-1], "cmin": low, "cmax": high, "colorbar": bar})
