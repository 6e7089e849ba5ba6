"""Metrics and progress measures of one run, in four panels: its metrics, and its progress measures."""

from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.phases import GROKKED
from grokinterp.plots import theme
from grokinterp.plots.curves import add_line, add_phases, add_splits
from grokinterp.plots.data import need, over_epochs


_MARKER: Final = {"color": theme.QUIET, "width": 1.2, "dash": "dash"}
_NOTE: Final = {"size": 11, "color": theme.QUIET}


def overview(metrics: xr.Dataset, *, times: xr.Dataset | None = None, log_x: bool = False) -> go.Figure:
    """Plot accuracy, loss and weight norm over training, and a close-up of test accuracy at the grokking threshold.

    Args:
        metrics: `loss` and `accuracy` over (epoch, split), and `squared_weight_norm` or `weight_norm`: the metrics of
            a run, or a trajectory.
        times: The result of `gi.phases.grokking_times`, whose epochs and threshold are marked. By default only the
            threshold `gi.phases.GROKKED` is.
        log_x: Use a logarithmic epoch axis, which omits epoch 0.

    Returns:
        A figure with four panels.

    Raises:
        KeyError: If a variable is missing.

    Examples:
        >>> curve = xr.DataArray(np.ones((3, 2)), dims=("epoch", "split"), coords={"split": ["train", "test"]})
        >>> ds = xr.Dataset({"loss": curve, "accuracy": curve, "squared_weight_norm": ("epoch", [3.0, 2.0, 1.0])})
        >>> len(overview(ds).data)
        6
    """
    log_x = arguments.flag(log_x, "log_x")
    loss, accuracy = over_epochs(need(metrics, "loss")), over_epochs(need(metrics, "accuracy"))
    is_logged = "squared_weight_norm" in metrics
    norm = over_epochs(metrics["squared_weight_norm"]) if is_logged else _total(need(metrics, "weight_norm"))
    titles = ["Accuracy", "Loss", "Weights", "Test accuracy"]
    fig = theme.panels(titles, columns=2, shared_xaxes="all", horizontal_spacing=0.1, vertical_spacing=0.15)
    for number, data in enumerate((accuracy, loss)):
        add_splits(fig, data, number, log_y=number == 1)
        fig.update_yaxes(title_text=theme.title(data), row=1, col=number + 1)
    test = accuracy.sel(split="test")
    add_line(fig, norm, 2, name="all weights", color=theme.INK, log_y=False)
    add_line(fig, test, 3, name="test", color=theme.SPLIT["test"], log_y=False)
    fig.update_traces(showlegend=False, col=2)
    fig.update_traces(showlegend=False, row=2)
    fig.update_yaxes(range=[-0.03, 1.03], row=1, col=1)
    fig.update_yaxes(theme.log_axis(), row=1, col=2)
    fig.update_yaxes(title_text=theme.title(norm), rangemode="tozero", row=2, col=1)
    low = 0.8 if test.max() > 0.8 else 0.0
    fig.update_yaxes(title_text="test accuracy", range=[low - 0.005, 1.005], row=2, col=2)
    fig.update_xaxes(title_text=theme.title(loss["epoch"]), row=2)
    threshold = GROKKED if times is None else float(times.attrs["grokked_at"])
    note = {"text": f"{threshold:g}", "font": _NOTE}
    fig.add_hline(y=threshold, line=_MARKER, annotation=note, **theme.row_col(3, 2))
    for name, number in (("memorized", 0), ("grokked", 3)):
        if times is not None and not np.isnan(times[name]):
            epoch = float(times[name])
            text = f"{name} (≥ {times.attrs[f'{name}_at']:g}), epoch {epoch:,.0f}"
            _add_event(fig, text, epoch, loss["epoch"].values, log_x=log_x, **theme.row_col(number, 2))
    if log_x:
        fig.update_xaxes(theme.log_axis())
    fig.update_layout(hovermode="x unified", legend=theme.LEGEND_ABOVE | {"x": 1, "y": 1})
    return theme.apply(fig, height=620)


def progress(ds: xr.Dataset, *, phases: xr.Dataset | None = None) -> go.Figure:
    """Plot the progress measures over training: excluded and restricted loss, Gini coefficients and squared weights.

    Args:
        ds: A trajectory with `loss`, `excluded_loss`, `restricted_loss`, `gini` and `weight_norm`.
        phases: Phases to shade behind the curves, from `gi.phases.detect`.

    Returns:
        A figure with four panels. Losses are on logarithmic axes, and a loss of zero leaves a gap in its line.

    Raises:
        KeyError: If a variable is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 7 (phases as vertical lines there).
    """
    loss = over_epochs(need(ds, "loss"))
    measures = {name: over_epochs(need(ds, f"{name}_loss")) for name in ("excluded", "restricted")}
    gini, total = over_epochs(need(ds, "gini")), _total(need(ds, "weight_norm"))

    titles = ["Excluded loss", "Restricted loss", "Gini coefficient", "Squared weights"]
    fig = theme.panels(titles, columns=2, shared_xaxes="all", horizontal_spacing=0.1, vertical_spacing=0.15)
    legends = [theme.legend_of_panel(fig, number, 2) for number in range(3)]
    for number, (name, data) in enumerate(measures.items()):
        label = f"{name}, {data.attrs['split']} pairs" if "split" in data.attrs else name
        add_line(fig, data, number, name=label, color=theme.MEASURE[name], legend=legends[number], log_y=True)
        add_splits(fig, loss, number, legend=legends[number], log_y=True)
        fig.update_yaxes(theme.log_axis() | {"title_text": theme.title(loss)}, **theme.row_col(number, 2))
    for matrix in ("W_E", "W_L"):
        style = {"color": theme.matrix_color(matrix), "legend": legends[2], "log_y": False}
        add_line(fig, gini.sel(matrix=matrix), 2, name=matrix, **style)
    add_line(fig, total, 3, name="all weights", color=theme.INK, log_y=False)
    fig.data[-1].showlegend = False
    fig.update_yaxes(title_text=theme.title(gini), range=[0, 1.03], row=2, col=1)
    fig.update_yaxes(title_text=theme.title(total), rangemode="tozero", row=2, col=2)
    fig.update_xaxes(title_text=theme.title(loss["epoch"]), row=2)
    fig.update_layout(hovermode="x unified")
    if phases is not None:
        add_phases(fig, phases, float(loss["epoch"].max()))
    return theme.apply(fig, height=640)


def _total(norm: xr.DataArray) -> xr.DataArray:
    """Squared weights summed over parameters, per epoch."""
    return over_epochs(norm).sum("parameter", keep_attrs=True).assign_attrs(long_name="sum of squared weights")


def _add_event(fig: go.Figure, text: str, epoch: float, epochs: np.ndarray, *, log_x: bool, **panel: Any) -> None:
    """Add a vertical line at an epoch, labeled on the side that has room."""
    x = line_x = epoch
    if log_x:
        # On a logarithmic axis plotly takes an annotation's position as an exponent, and a line's as a value.
        line_x, epochs = max(epoch, 1.0), np.log10(epochs[epochs > 0])
        x = float(np.log10(line_x))
    is_late = x - epochs[0] > 0.6 * (epochs[-1] - epochs[0])
    side = {"xanchor": "right", "xshift": -4} if is_late else {"xanchor": "left", "xshift": 4}
    note = {"text": text, "font": _NOTE, "x": x, "y": 0.5, "yanchor": "middle", **side}
    fig.add_vline(x=line_x, line=_MARKER, annotation=note, **panel)
    # Otherwise plotly widens the axis to fit the annotation's text.
    fig.update_xaxes(range=[float(epochs[0]), float(epochs[-1])])
