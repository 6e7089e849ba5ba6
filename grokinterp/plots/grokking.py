"""When runs grok, over a setting in which they differ."""

from collections.abc import Collection
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import theme
from grokinterp.plots.data import need, with_rule


# Train accuracy says when a run has memorized, test accuracy when it has grokked.
_COLOURS: Final = {"memorized": theme.SPLIT["train"], "grokked": theme.SPLIT["test"]}
# How far above the last epoch runs stand that did not come to it, as a factor.
_ABOVE: Final = 1.4


def grokking_epochs(ds: xr.Dataset) -> go.Figure:
    """The epoch at which each run grokked over the value of a setting, and the medians.

    Runs that had not grokked by their last epoch are open circles on a line above it. They may grok later, so that a
    value with one of them has no median.

    Args:
        ds: `grokked` over (`value`, `seed`): the epochs that `gi.phases.detect` finds in each run, NaN where a run
            had not grokked by the last epoch, which is the attribute `horizon`. The long name of the coordinate
            `value` says what was set. `memorized`, of the same kind, is drawn too where it is there.

    Returns:
        A figure of one panel, on a logarithmic axis of epochs. Values are as far apart as they are; where that would
        put some of them on top of each other, or they are no numbers, each is one step from the next.

    Raises:
        KeyError: If `grokked` is missing.
        ValueError: If there is a NaN, and no `horizon`.

    Examples:
        >>> epochs = xr.DataArray(
        ...     [[900.0, 1100.0], [300.0, np.nan]],
        ...     dims=("value", "seed"),
        ...     coords={"value": [0.3, 0.5], "seed": [0, 1]},
        ...     attrs={"horizon": 4000},
        ... )
        >>> median, dots, circles = grokking_epochs(xr.Dataset({"grokked": epochs})).data
        >>> median.y.tolist(), dots.y.tolist(), circles.name
        ([1000.0, nan], [900.0, 1100.0, 300.0], 'not by epoch 4,000')
    """
    setting = need(ds, "grokked")["value"]
    drawn = {name: ds[name].transpose("value", "seed") for name in _COLOURS if name in ds}
    horizon = _horizon(drawn.values())
    x = places(setting.values)
    fig = theme.panels([f"Grokking by {theme.name(setting)}"], columns=1)
    for name, data in drawn.items():
        _add_runs(fig, data, x, _COLOURS[name], horizon)
    fig.update_xaxes(title_text=theme.title(setting), tickvals=x, ticktext=texts(setting.values), showgrid=False)
    epochs = np.concatenate([data.values.ravel() for data in drawn.values()])
    title = drawn["grokked"].attrs.get("units", "epoch")
    for data in drawn.values():
        title = with_rule(title, data)
    fig.update_yaxes(title_text=title, **axis_of_epochs(epochs[epochs > 0], horizon))
    fig.update_layout(legend=theme.LEGEND_ABOVE | {"x": 1, "y": 1})
    return theme.apply(fig, height=420)


def _horizon(drawn: Collection[xr.DataArray]) -> float | None:
    """The last epoch of the runs; None where all of them came to it."""
    unfinished = [data for data in drawn if np.isnan(data).any()]
    for data in unfinished:
        if "horizon" not in data.attrs:
            msg = f"{data.name} is NaN for some runs and must have the attribute 'horizon', their last epoch."
            raise ValueError(msg)
    return max((float(data.attrs["horizon"]) for data in unfinished), default=None)


def places(values: np.ndarray) -> np.ndarray:
    """Where values stand: at themselves if that keeps them apart, else at 0, 1, ...

    Examples:
        >>> places(np.array([0.0, 0.5, 2.0])).tolist(), places(np.array([0.001, 0.01, 1.0])).tolist()
        ([0.0, 0.5, 2.0], [0.0, 1.0, 2.0])
    """
    if values.dtype.kind in "iuf" and len(values) > 1:
        closest = np.diff(np.sort(values)).min()
        if closest > 0.03 * np.ptp(values):
            return values.astype(float)
    return np.arange(len(values), dtype=float)


def texts(values: np.ndarray) -> list[str]:
    """What an axis calls these values of a setting.

    Examples:
        >>> texts(np.array([1e-3, 2.0])), texts(np.array(["AdamW"]))
        (['0.001', '2'], ['AdamW'])
    """
    return [f"{value:g}" if values.dtype.kind == "f" else str(value) for value in values]


def side_by_side(x: np.ndarray, count: int) -> np.ndarray:
    """Where the runs of each value stand: a little to both sides of it, in the order of their seeds.

    Examples:
        >>> side_by_side(np.array([0.0, 10.0]), 3).tolist()
        [[-0.25, 0.0, 0.25], [9.75, 10.0, 10.25]]
    """
    width = min(0.3 * np.diff(np.sort(x)).min(), 0.05 * np.ptp(x)) if len(x) > 1 else 0.1
    return x[:, None] + width * (np.arange(count) - (count - 1) / 2) / max(count - 1, 1)


def _add_runs(fig: go.Figure, data: xr.DataArray, x: np.ndarray, colour: str, horizon: float | None) -> None:
    """Add the median of each value, a dot for each run that came to it, and a circle for each that did not."""
    name, setting = theme.name(data), theme.name(data["value"])
    order = np.argsort(x)
    fig.add_scatter(
        x=x[order],
        # Of a NaN and anything the median is NaN.
        y=np.median(data.values, axis=1)[order],
        mode="lines+markers",
        line={"color": colour, "width": 2},
        marker={"size": 4},
        opacity=0.45,
        name=f"{name}, median",
        hovertemplate=f"{name}, median: %{{y:,.0f}}<extra></extra>",
    )
    where = side_by_side(x, data.sizes["seed"])
    seeds, values = data["seed"].values, texts(data["value"].values)
    runs = np.array([[f"{setting} {value}, seed {seed}" for seed in seeds] for value in values])
    is_reached = np.isfinite(data.values)
    read = f"{name}, %{{customdata}}: %{{y:,.0f}}<extra></extra>"
    dots = {"mode": "markers", "marker": {"color": colour, "size": 8}, "name": name, "hovertemplate": read}
    fig.add_scatter(x=where[is_reached], y=data.values[is_reached], customdata=runs[is_reached], **dots)
    if horizon is None or is_reached.all():
        return
    missed = f"not by epoch {horizon:,.0f}"
    read = f"{name}, %{{customdata}}: {missed}<extra></extra>"
    open_ = {"color": colour, "size": 9, "symbol": "circle-open", "line": {"width": 1.8}}
    circles = {"mode": "markers", "marker": open_, "name": missed, "hovertemplate": read, "showlegend": False}
    above = np.full((~is_reached).sum(), horizon * _ABOVE)
    fig.add_scatter(x=where[~is_reached], y=above, customdata=runs[~is_reached], **circles)


def axis_of_epochs(epochs: np.ndarray, horizon: float | None) -> dict[str, Any]:
    """Settings of a logarithmic axis of epochs; its last label is the line of runs that did not come to it."""
    last = horizon or epochs.max(initial=1.0)
    first = epochs.min(initial=last)
    ticks = [m * 10**n for n in range(9) for m in (1, 2, 5) if first / 1.5 <= m * 10**n <= last]
    text = [f"{tick:,}" for tick in ticks]
    if horizon is not None:
        ticks, text = [*ticks, horizon * _ABOVE], [*text, f"not by<br>epoch {horizon:,.0f}"]
    limits = [first / 1.5, last * (_ABOVE**2 if horizon else 1.2)]
    return {"type": "log", "tickvals": ticks, "ticktext": text, "range": np.log10(limits).tolist()}
