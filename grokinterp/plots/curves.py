"""Loss and accuracy while training: the picture in which grokking was first seen."""

import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import theme
from grokinterp.plots.data import need, over_epochs, positive, small
from grokinterp.plots.shading import add_phases


def training_curves(metrics: xr.Dataset, *, log_x: bool = False, phases: xr.Dataset | None = None) -> go.Figure:
    """Loss, on a logarithmic axis, and accuracy by split over the epochs.

    Args:
        metrics: `loss` and `accuracy` over (epoch, split): the metrics of a run, or a trajectory.
        log_x: Whether epochs are on a logarithmic axis; epoch 0 has no place on it.
        phases: Shaded behind the curves, if given: what `gi.phases.detect` gives.

    Returns:
        A figure of two panels.

    Raises:
        KeyError: If `loss` or `accuracy` is missing.

    Examples:
        >>> import numpy as np
        >>> curve = xr.DataArray(np.ones((3, 2)), dims=("epoch", "split"), coords={"split": ["train", "test"]})
        >>> [line.name for line in training_curves(xr.Dataset({"loss": curve, "accuracy": curve})).data]
        ['train', 'test', 'train', 'test']
    """
    log_x = arguments.flag(log_x, "log_x")
    loss, accuracy = over_epochs(need(metrics, "loss")), over_epochs(need(metrics, "accuracy"))
    fig = theme.panels(["Loss", "Accuracy"], columns=2, shared_xaxes="all", horizontal_spacing=0.1)
    for number, data in enumerate((loss, accuracy)):
        for split in ("train", "test"):
            add_split(fig, data, split, number, legend="legend", log_y=number == 0)
        fig.update_yaxes(title_text=theme.title(data), row=1, col=number + 1)
    fig.update_yaxes(theme.log_axis(), row=1, col=1)
    fig.update_yaxes(range=[-0.03, 1.03], row=1, col=2)
    fig.update_xaxes(title_text=theme.title(loss["epoch"]))
    if log_x:
        fig.update_xaxes(theme.log_axis())
    # One entry per split serves both panels.
    fig.update_traces(showlegend=False, col=2)
    fig.update_layout(hovermode="x unified", legend=theme.LEGEND_ABOVE | {"x": 1, "y": 1})
    if phases is not None:
        add_phases(fig, phases, float(loss["epoch"].max()))
        fig.update_layout(margin={"b": 84})
    return theme.apply(fig, height=370 if phases is None else 400)


def add_split(fig: go.Figure, data: xr.DataArray, split: str, number: int, *, legend: str, log_y: bool) -> None:
    """Add the line of one split to a panel of a figure that has two columns, in the colour that the split has."""
    values = data.sel(split=split)
    add_line(fig, values, number, name=split, colour=theme.SPLIT[split], legend=legend, log_y=log_y)


def add_line(
    fig: go.Figure, data: xr.DataArray, number: int, *, name: str, colour: str, legend: str, log_y: bool
) -> None:
    """Add a line over epochs to a panel of a figure that has two columns; a single epoch is a point."""
    fig.add_scatter(
        x=data["epoch"].values,
        y=small(positive(data.values) if log_y else data.values),
        name=name,
        mode="lines" if data.sizes["epoch"] > 1 else "markers",
        line={"color": colour, "width": 1.8},
        legend=legend,
        legendgroup=f"{legend} {name}",
        hovertemplate="%{y:.3g}",
        **theme.place(number, 2),
    )
