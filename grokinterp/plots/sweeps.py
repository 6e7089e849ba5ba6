"""Sweeps: when runs grok, over one or two of the settings in which they differ."""

import math
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import theme
from grokinterp.plots.data import need, small, with_rule
from grokinterp.plots.grokking import axis_of_epochs, places, side_by_side, texts


# How sure an interval of a median is to be, where there are seeds enough.
CONFIDENCE: Final = 0.95
# How far above the last epoch a median stands that lies beyond it, as a factor.
_ABOVE: Final = 1.25
_BEYOND: Final = "beyond the last epoch"


def grokking_time(ds: xr.Dataset, *, axis: str | None = None) -> go.Figure:
    """The epoch of grokking over a swept axis: every run, the medians, and how sure these are.

    A run that had not grokked by its last epoch is a triangle there: it groks later, or never. It counts as later than
    all that have grokked, so that a median, or an end of its interval, may lie beyond the last epoch.

    Args:
        ds: A sweep of one axis or two, as `gi.collect` gives it: `grokked_epoch` and `last_epoch` over the swept axes
            and `seed`.
        axis: The one along the picture; default: the first. Each value of the other has a colour.

    Returns:
        A figure of one panel, on a logarithmic axis of epochs. Bands, or bars where the values are no numbers, are
        the interval of the median between two runs of the order, which needs no assumption: of 95 % where there are
        six seeds or more, else from the first run to the last; the legend says how sure that is.

    Raises:
        KeyError: If `grokked_epoch` or `last_epoch` is missing.
        ValueError: If there is no axis, or more than two, or none of this name, or no run.

    Examples:
        >>> dims, coords = ("weight_decay", "seed"), {"weight_decay": [0.5, 1.0], "seed": [0, 1]}
        >>> epochs = xr.DataArray([[900.0, np.nan], [300.0, 500.0]], dims=dims, coords=coords)
        >>> ds = xr.Dataset({"grokked_epoch": epochs, "last_epoch": xr.full_like(epochs, 2000.0)})
        >>> [trace.name for trace in grokking_time(ds).data]
        ['50 % interval of the median', 'median', 'run', 'not grokked by its last epoch']
    """
    grokked, last = _runs(ds)
    axes = [str(dim) for dim in grokked.dims if dim != "seed"]
    if not 1 <= len(axes) <= 2:
        msg = f"the plot needs one or two swept axes, got {', '.join(axes) or 'none'}; select values of the others."
        raise ValueError(msg)
    along = axes[0] if axis is None else arguments.one_of(axis, axes, "axis")
    across = next((dim for dim in axes if dim != along), None)
    setting = grokked[along]
    x = places(setting.values)
    end = float(np.nanmax(last.values))
    top = end * _ABOVE
    fig = theme.panels([f"Grokking by {theme.name(setting)}"], columns=1)
    groups = [""] if across is None else _names(grokked[across])
    for place, (group, colour) in enumerate(zip(groups, theme.seed_colours(len(groups)), strict=True)):
        at = {} if across is None else {across: place}
        parts = [data.isel(at).transpose(along, "seed").values for data in (grokked, last)]
        _add_group(fig, setting, x, *parts, top=top, colour=colour, group=group, legend=across is None)
    if across is not None:
        _explain(fig, grokked.transpose(..., "seed").values.reshape(-1, grokked.sizes["seed"]), last)
    fig.update_xaxes(title_text=theme.title(setting), tickvals=x, ticktext=texts(setting.values), showgrid=False)
    epochs = np.append(grokked.values, end)
    limits = axis_of_epochs(epochs[epochs > 0], None)
    limits["range"] = [limits["range"][0], math.log10(top * 1.05)]
    if any(_is_beyond(trace) for trace in fig.data):
        limits |= {"tickvals": [*limits["tickvals"], top], "ticktext": [*limits["ticktext"], f"after {end:,.0f}"]}
    fig.update_yaxes(title_text=with_rule(grokked.attrs.get("units", "epoch"), grokked), **limits)
    fig.update_layout(legend={"y": 1.0, "tracegroupgap": 0})
    return theme.apply(fig, height=440)


def grokking_map(ds: xr.Dataset) -> go.Figure:
    """The median epoch of grokking over two swept axes, as colours.

    Args:
        ds: A sweep of two axes, as `gi.collect` gives it: `grokked_epoch` and `last_epoch` over them and `seed`.

    Returns:
        A figure of one panel, whose cells say the median and how many runs grokked, of how many. A cell is grey where
        the median lies beyond the last epoch, for half of the runs or more have not grokked, and empty without a run.

    Raises:
        KeyError: If `grokked_epoch` or `last_epoch` is missing.
        ValueError: If there are not two axes, or no run.

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
    across, up = axes
    epochs = grokked.transpose(up, across, "seed").values
    ends = last.transpose(up, across, "seed").values
    median = np.empty(epochs.shape[:2])
    text = np.full(epochs.shape[:2], "", dtype=object)
    for cell in np.ndindex(median.shape):
        runs, horizon = _ordered(epochs[cell], ends[cell]), np.nanmax(ends[cell], initial=0)
        median[cell] = _median(runs)
        said = f"{median[cell]:,.0f}" if np.isfinite(median[cell]) else f"> {horizon:,.0f}"
        text[cell] = f"{said}<br>{np.isfinite(runs).sum()} of {len(runs)}" if len(runs) else ""
    title = f"Median epoch of grokking by {theme.name(ds[across])} and {theme.name(ds[up])}"
    fig = theme.panels([with_rule(title, grokked)], columns=1)
    x, y = texts(ds[across].values), texts(ds[up].values)
    read = f"{theme.name(ds[across])} %{{x}}, {theme.name(ds[up])} %{{y}}: %{{text}}<extra></extra>"
    is_known = np.isfinite(median)
    style = {"x": x, "y": y, "xgap": 2, "ygap": 2, "hovertemplate": read, "texttemplate": "%{text}"}
    shades = np.where(is_known, np.log10(np.where(is_known, median, 1).clip(1)), np.nan)
    fig.add_heatmap(z=small(shades), text=np.where(is_known, text, ""), coloraxis="coloraxis", **style)
    if np.isinf(median).any():
        grey = np.where(np.isinf(median), 0.0, np.nan)
        colour = {"colorscale": [theme.OTHER, theme.OTHER], "showscale": False}
        fig.add_heatmap(z=small(grey), text=np.where(np.isinf(median), text, ""), **colour, **style)
    _colour_by_epoch(fig, shades)
    fig.update_xaxes(title_text=theme.title(ds[across]), type="category", showgrid=False)
    fig.update_yaxes(title_text=theme.title(ds[up]), type="category", showgrid=False)
    return theme.apply(fig, height=140 + 62 * len(y))


def median_interval(runs: np.ndarray) -> tuple[float, float, float]:
    """An interval of the median of which runs are a sample, by their order alone, and how sure it is.

    Args:
        runs: Epochs in order, infinite where a run has not grokked.

    Returns:
        The lower and the upper end, and the probability that the median lies between: the narrowest interval from the
        k-th run to the k-th from the end that is surer than `CONFIDENCE`, else from the first run to the last.

    Examples:
        >>> median_interval(np.array([1.0, 2.0, 3.0]))
        (1.0, 3.0, 0.75)
    """
    n = len(runs)
    # The median is below the k-th run if fewer than k runs are below the median, each with probability one half.
    below = np.cumsum([math.comb(n, i) for i in range(n)]) / 2**n
    k = max(int((1 - 2 * below >= CONFIDENCE).sum()), 1)
    return float(runs[k - 1]), float(runs[n - k]), float(max(1 - 2 * below[k - 1], 0.0))


def _runs(ds: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """The epochs of grokking, and the last ones of the runs."""
    grokked, last = need(ds, "grokked_epoch"), need(ds, "last_epoch")
    if last.isnull().all():
        msg = "the plot needs at least one finished run, got none."
        raise ValueError(msg)
    return grokked, last.broadcast_like(grokked).transpose(*grokked.dims)


def _ordered(grokked: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The epochs of the runs that there are, in order; infinite for one that has not grokked."""
    is_run = ~np.isnan(last)
    return np.sort(np.where(np.isnan(grokked[is_run]), np.inf, grokked[is_run]))


def _median(runs: np.ndarray) -> float:
    """Of ordered runs; of an epoch and infinity infinity, and NaN of none."""
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
    colour: str,
    group: str,
    legend: bool,
) -> None:
    """Add the runs of one colour: the interval, the medians, the dots and the triangles."""
    order = [i for i in np.argsort(x) if not np.isnan(last[i]).all()]
    runs = [_ordered(grokked[i], last[i]) for i in order]
    low, high, sure = np.array([median_interval(of_value) for of_value in runs]).T
    median = np.array([_median(of_value) for of_value in runs])
    low, high, shown = (np.minimum(ends, top) for ends in (low, high, median))
    is_number = setting.dtype.kind in "iuf"
    style = {"legendgroup": group, "showlegend": legend}
    if any(len(of_value) > 1 for of_value in runs):
        _add_interval(fig, x[order], low, high, is_band=is_number, colour=colour, name=_sure(sure), **style)
    said = [f"{epoch:,.0f}" if np.isfinite(epoch) else _BEYOND for epoch in median]
    fig.add_scatter(
        x=x[order],
        y=shown,
        mode="lines+markers" if is_number else "markers",
        line={"color": colour, "width": 2},
        marker={"size": 9, "symbol": "line-ew", "line": {"width": 2.4, "color": colour}},
        name=group or "median",
        customdata=said,
        hovertemplate=f"{group or 'median'}: %{{customdata}}<extra></extra>",
        legendgroup=group,
    )
    where = side_by_side(x, grokked.shape[1])
    is_grokked = ~np.isnan(grokked)
    is_late = ~is_grokked & ~np.isnan(last)
    names = np.repeat(np.array(_names(setting))[:, None], grokked.shape[1], axis=1)
    for is_shown, y, symbol, name in (
        (is_grokked, grokked, "circle", "run"),
        (is_late, last, "triangle-up-open", "not grokked by its last epoch"),
    ):
        if is_shown.any():
            fig.add_scatter(
                x=where[is_shown],
                y=y[is_shown],
                mode="markers",
                marker={"color": colour, "size": 7 if symbol == "circle" else 9, "symbol": symbol},
                opacity=0.75,
                name=name,
                customdata=names[is_shown],
                hovertemplate=f"{name}, %{{customdata}}: %{{y:,.0f}}<extra></extra>",
                **style,
            )


def _add_interval(
    fig: go.Figure, x: np.ndarray, low: np.ndarray, high: np.ndarray, *, is_band: bool, colour: str, **style: Any
) -> None:
    if is_band:
        outline = {"x": np.concatenate([x, x[::-1]]), "y": np.concatenate([low, high[::-1]])}
        fig.add_scatter(
            **outline, fill="toself", fillcolor=colour, line={"width": 0}, opacity=0.18, hoverinfo="skip", **style
        )
        fig.data[-1].mode = "lines"
        return
    gap = np.full_like(x, np.nan)
    bars = {"x": np.stack([x, x, gap], axis=1).ravel(), "y": np.stack([low, high, gap], axis=1).ravel()}
    fig.add_scatter(**bars, mode="lines", line={"color": colour, "width": 7}, opacity=0.25, hoverinfo="skip", **style)


def _is_beyond(trace: Any) -> bool:
    """Whether a trace has a median beyond the last epoch."""
    return trace.customdata is not None and _BEYOND in trace.customdata


def _sure(probabilities: np.ndarray) -> str:
    """How sure the intervals are, at least; those of a single run say nothing."""
    least = probabilities[probabilities > 0].min(initial=1.0)
    return f"{math.floor(100 * least)} % interval of the median"


def _explain(fig: go.Figure, grokked: np.ndarray, last: xr.DataArray) -> None:
    """Add to the legend, in grey, what dots and triangles are, where colours are of values."""
    marks = {"circle": "run"}
    if (np.isnan(grokked) & ~np.isnan(last.transpose(..., "seed").values.reshape(grokked.shape))).any():
        marks["triangle-up-open"] = "not grokked by its last epoch"
    for symbol, name in marks.items():
        fig.add_scatter(
            x=[None], y=[None], mode="markers", marker={"color": theme.QUIET, "symbol": symbol, "size": 8}, name=name
        )
    sure = {trace.name for trace in fig.data if trace.name and trace.name.endswith("interval of the median")}
    for name in sorted(sure):
        band = {"symbol": "square", "color": theme.OTHER, "size": 12}
        fig.add_scatter(x=[None], y=[None], mode="markers", marker=band, name=name)


def _names(setting: xr.DataArray) -> list[str]:
    """Each value of a setting with the setting's name."""
    return [f"{theme.name(setting)} {text}" for text in texts(setting.values)]


def _colour_by_epoch(fig: go.Figure, shades: np.ndarray) -> None:
    """A key of epochs for colours that are their logarithms."""
    if np.isnan(shades).all():
        fig.update_layout(coloraxis={"showscale": False})
        return
    low, high = float(np.nanmin(shades)), float(np.nanmax(shades))
    low, high = (low, high) if high - low > 0.1 else (low - 0.1, high + 0.1)
    ticks = [m * 10**n for n in range(9) for m in (1, 2, 5) if low <= math.log10(m * 10**n) <= high]
    bar = {"tickvals": [math.log10(tick) for tick in ticks], "ticktext": [f"{tick:,}" for tick in ticks]}
    bar["title"] = {"text": "median epoch", "side": "right", "font": {"size": 11}}
    fig.update_layout(coloraxis={"colorscale": theme.SEQUENTIAL[1:-1], "cmin": low, "cmax": high, "colorbar": bar})
