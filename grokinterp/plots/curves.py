"""Curves over training, and the bands and shaded phases drawn with them."""

import math
from typing import Any, cast

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import theme
from grokinterp.plots.data import need, over_epochs, positive, small


def training_curves(metrics: xr.Dataset, *, log_x: bool = False, phases: xr.Dataset | None = None) -> go.Figure:
    """Plot loss, on a logarithmic axis, and accuracy by split over training.

    Args:
        metrics: `loss` and `accuracy` over (epoch, split): the metrics of a run, or a trajectory.
        log_x: Use a logarithmic epoch axis, which omits epoch 0.
        phases: Phases to shade behind the curves, from `gi.phases.detect`.

    Returns:
        A figure with two panels.

    Raises:
        KeyError: If `loss` or `accuracy` is missing.

    Examples:
        >>> curve = xr.DataArray(np.ones((3, 2)), dims=("epoch", "split"), coords={"split": ["train", "test"]})
        >>> [line.name for line in training_curves(xr.Dataset({"loss": curve, "accuracy": curve})).data]
        ['train', 'test', 'train', 'test']
    """
    log_x = arguments.flag(log_x, "log_x")
    loss, accuracy = over_epochs(need(metrics, "loss")), over_epochs(need(metrics, "accuracy"))
    fig = theme.panels(["Loss", "Accuracy"], columns=2, shared_xaxes="all", horizontal_spacing=0.1)
    for number, data in enumerate((loss, accuracy)):
        add_splits(fig, data, number, log_y=number == 0)
        fig.update_yaxes(title_text=theme.title(data), row=1, col=number + 1)
    fig.update_yaxes(theme.log_axis(), row=1, col=1)
    fig.update_yaxes(range=[-0.03, 1.03], row=1, col=2)
    fig.update_xaxes(title_text=theme.title(loss["epoch"]))
    if log_x:
        fig.update_xaxes(theme.log_axis())
    # One legend entry per split serves both panels.
    fig.update_traces(showlegend=False, col=2)
    fig.update_layout(hovermode="x unified", legend=theme.LEGEND_ABOVE | {"x": 1, "y": 1})
    if phases is not None:
        add_phases(fig, phases, float(loss["epoch"].max()))
    return theme.apply(fig, height=370 if phases is None else 400)


def add_curve(fig: go.Figure, curve: xr.DataArray, *, log_y: bool = False, **trace: Any) -> None:
    """Add a curve over `epoch` to a figure; a single epoch is drawn as a point.

    Args:
        fig: Figure to modify.
        curve: Values over `epoch`.
        log_y: Whether the vertical axis is logarithmic, which makes values that are not positive gaps.
        **trace: Further settings passed to plotly's `add_scatter`.

    Examples:
        >>> fig = go.Figure()
        >>> add_curve(fig, xr.DataArray([1.0, 0.0], dims="epoch", coords={"epoch": [0, 10]}), log_y=True)
        >>> fig.data[0].y.tolist()
        [1.0, nan]
    """
    y = small(positive(curve.values) if log_y else curve.values)
    fig.add_scatter(x=curve["epoch"].values, y=y, mode="lines" if curve.size > 1 else "markers", **trace)


def add_line(
    fig: go.Figure, curve: xr.DataArray, number: int, *, name: str, color: str, log_y: bool, legend: str = "legend"
) -> None:
    """Add a curve to one panel, counted from 0, of a two-column figure."""
    trace = {"name": name, "line": {"color": color, "width": 1.8}, "hovertemplate": "%{y:.3g}"}
    trace |= {"legend": legend, "legendgroup": f"{legend} {name}", **theme.row_col(number, 2)}
    add_curve(fig, curve, log_y=log_y, **trace)


def add_splits(fig: go.Figure, data: xr.DataArray, number: int, *, log_y: bool, legend: str = "legend") -> None:
    """Add the train and test curves to one panel of a two-column figure."""
    for split in ("train", "test"):
        color = theme.SPLIT[split]
        add_line(fig, data.sel(split=split), number, name=split, color=color, log_y=log_y, legend=legend)


def add_band(
    fig: go.Figure,
    x: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    color: str,
    *,
    opacity: float = 0.15,
    **trace: Any,
) -> None:
    """Shade the area between two curves, as one closed line.

    Args:
        fig: Figure to modify.
        x: Positions shared by both curves.
        low: Lower curve.
        high: Upper curve.
        color: Fill color.
        opacity: Opacity of the band, from 0 to 1.
        **trace: Further settings passed to plotly's `add_scatter`.
    """
    fig.add_scatter(
        x=np.concatenate([x, x[::-1]]),
        y=small(np.concatenate([low, high[::-1]])),
        fill="toself",
        fillcolor=color,
        opacity=opacity,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        **trace,
    )


def add_phases(fig: go.Figure, phases: xr.Dataset, last_epoch: float) -> None:
    """Shade every phase that was reached in all panels, and name it in a legend below them.

    Args:
        fig: Figure to modify, with epochs on its horizontal axes.
        phases: `phase_start`, `phase_end` and optionally `phase_rule` over `phase`, from `gi.phases.detect`.
        last_epoch: Right edge of a phase that has not ended.

    Raises:
        KeyError: If the start or the end of the phases is missing.
    """
    for name in ("phase_start", "phase_end"):
        if name not in phases:
            msg = f"phases must have {name!r}: pass the result of gi.phases.detect"
            raise KeyError(msg)
    legend = f"legend{len(cast('Any', fig.layout).annotations) + 1}"
    for name in phases["phase"].values:
        start, end = (float(phases[edge].sel(phase=name)) for edge in ("phase_start", "phase_end"))
        if math.isnan(start):
            continue
        color = theme.PHASE.get(str(name), theme.GRID)
        when = f"from epoch {start:,.0f}" if math.isnan(end) else f"epochs {start:,.0f} to {end:,.0f}"
        if "phase_rule" in phases and not math.isnan(end):
            when += f" ({phases['phase_rule'].sel(phase=name).item()})"
        end = last_epoch if math.isnan(end) else end
        fig.add_vrect(x0=start, x1=end, fillcolor=color, line_width=0, layer="below", row="all", col="all")
        swatch = {"symbol": "square", "size": 12, "color": color, "line": {"width": 1, "color": theme.FRAME}}
        fig.add_scatter(x=[None], y=[None], mode="markers", marker=swatch, legend=legend, name=f"{name}, {when}")
    below = {"orientation": "h", "x": 0.5, "xanchor": "center", "y": 0.01, "yref": "container", "yanchor": "bottom"}
    fig.update_layout({legend: below | {"font": {"size": 11}}, "margin": {"b": 84}})
