"""A run on one page."""

from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.phases import GROKKED
from grokinterp.plots import theme
from grokinterp.plots.curves import add_line, add_split
from grokinterp.plots.data import need, over_epochs


_QUIET: Final = {"color": theme.QUIET, "width": 1.2, "dash": "dash"}
_SMALL: Final = {"size": 11, "color": theme.QUIET}


def overview(metrics: xr.Dataset, *, times: xr.Dataset | None = None, log_x: bool = False) -> go.Figure:
    """Accuracy, loss and weights over the epochs, and test accuracy alone with the threshold of grokking.

    Args:
        metrics: `loss` and `accuracy` over (epoch, split), and `squared_weight_norm` or `weight_norm`: the metrics of
            a run, or a trajectory.
        times: What `gi.phases.grokking_times` gives: the accuracy has a line where the run had memorized, the test
            accuracy one where it had grokked and one at the threshold. Without it the threshold is
            `gi.phases.GROKKED`.
        log_x: Whether epochs are on a logarithmic axis; epoch 0 has no place on it.

    Returns:
        A figure of four panels.

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
    norm = _norm(metrics)
    titles = ["Accuracy", "Loss", "Weights", "Test accuracy"]
    fig = theme.panels(titles, columns=2, shared_xaxes="all", horizontal_spacing=0.1, vertical_spacing=0.15)
    for number, data in enumerate((accuracy, loss)):
        for split in ("train", "test"):
            add_split(fig, data, split, number, legend="legend", log_y=number == 1)
        fig.update_yaxes(title_text=theme.title(data), row=1, col=number + 1)
    add_line(fig, norm, 2, name="all weights", colour=theme.INK, legend="legend", log_y=False)
    add_split(fig, accuracy, "test", 3, legend="legend", log_y=False)
    fig.update_traces(showlegend=False, col=2)
    fig.update_traces(showlegend=False, row=2)
    fig.update_yaxes(range=[-0.03, 1.03], row=1, col=1)
    fig.update_yaxes(theme.log_axis(), row=1, col=2)
    fig.update_yaxes(title_text=theme.title(norm), rangemode="tozero", row=2, col=1)
    fig.update_yaxes(title_text="test accuracy", **_close_up(accuracy.sel(split="test").values), row=2, col=2)
    fig.update_xaxes(title_text=theme.title(loss["epoch"]), row=2)
    threshold = GROKKED if times is None else float(times.attrs["grokked_at"])
    fig.add_hline(y=threshold, line=_QUIET, annotation={"text": f"{threshold:g}", "font": _SMALL}, **theme.place(3, 2))
    for name, where in (("memorized", theme.place(0, 2)), ("grokked", theme.place(3, 2))):
        if times is not None and not np.isnan(times[name]):
            at = float(times[name])
            text = f"{name} (≥ {times.attrs[f'{name}_at']:g}), epoch {at:,.0f}"
            _add_event(fig, text, at, loss["epoch"].values, log_x=log_x, **where)
    if log_x:
        fig.update_xaxes(theme.log_axis())
    fig.update_layout(hovermode="x unified", legend=theme.LEGEND_ABOVE | {"x": 1, "y": 1})
    return theme.apply(fig, height=620)


def _norm(metrics: xr.Dataset) -> xr.DataArray:
    if "squared_weight_norm" in metrics:
        return over_epochs(metrics["squared_weight_norm"])
    total = over_epochs(need(metrics, "weight_norm")).sum("parameter", keep_attrs=True)
    return total.assign_attrs(long_name="sum of squared weights")


def _add_event(fig: go.Figure, text: str, at: float, epochs: np.ndarray, *, log_x: bool, **where: Any) -> None:
    """Add a line at an epoch, and what it is beside it, on the side where there is room."""
    if log_x:
        at, epochs = max(at, 1.0), np.log10(epochs[epochs > 0])
        # Plotly takes the place of a note on a logarithmic axis as an exponent, and that of a line as it is.
        line_at, at = at, float(np.log10(at))
    else:
        line_at = at
    is_late = at - epochs[0] > 0.6 * (epochs[-1] - epochs[0])
    side = {"xanchor": "right", "xshift": -4} if is_late else {"xanchor": "left", "xshift": 4}
    note = {"text": text, "font": _SMALL, "x": at, "y": 0.5, "yanchor": "middle", **side}
    fig.add_vline(x=line_at, line=_QUIET, annotation=note, **where)
    # A note would widen the axis to hold its text.
    fig.update_xaxes(range=[float(epochs[0]), float(epochs[-1])])


def _close_up(accuracy: np.ndarray) -> dict[str, Any]:
    """An axis of what is near 1, or of all where nothing comes near."""
    low = 0.8 if accuracy.max() > 0.8 else 0.0
    return {"range": [low - 0.005, 1.005]}
