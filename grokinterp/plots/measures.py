"""The progress measures over training: the four panels that show what a sudden leap hides."""

import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import theme
from grokinterp.plots.curves import add_line, add_split
from grokinterp.plots.data import need, over_epochs
from grokinterp.plots.shading import add_phases


def progress(ds: xr.Dataset, *, phases: xr.Dataset | None = None) -> go.Figure:
    """The excluded and the restricted loss, the Gini coefficients and the squared weights over the epochs.

    Args:
        ds: A trajectory with `loss`, `excluded_loss`, `restricted_loss`, `gini` and `weight_norm`.
        phases: Shaded behind the curves, if given: what `gi.phases.detect` gives.

    Returns:
        A figure of four panels; losses are on logarithmic axes, and a loss of zero is a gap in its line.

    Raises:
        KeyError: If one of the variables is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 7 (phases as vertical lines there).
    """
    loss = over_epochs(need(ds, "loss"))
    measures = {name: over_epochs(need(ds, f"{name}_loss")) for name in ("excluded", "restricted")}
    gini, norm = over_epochs(need(ds, "gini")), over_epochs(need(ds, "weight_norm"))
    total = norm.sum("parameter", keep_attrs=True).assign_attrs(long_name="sum of squared weights")

    titles = ["Excluded loss", "Restricted loss", "Gini coefficient", "Squared weights"]
    fig = theme.panels(titles, columns=2, shared_xaxes="all", horizontal_spacing=0.1, vertical_spacing=0.15)
    legends = [theme.legend_of_panel(fig, number, 2) for number in range(3)]
    for number, (name, data) in enumerate(measures.items()):
        style = {"legend": legends[number], "log_y": True}
        label = f"{name}, {data.attrs['split']} pairs" if "split" in data.attrs else name
        add_line(fig, data, number, name=label, colour=theme.MEASURE[name], **style)
        for split in ("train", "test"):
            add_split(fig, loss, split, number, **style)
        fig.update_yaxes(theme.log_axis() | {"title_text": theme.title(loss)}, **theme.place(number, 2))
    for matrix in ("W_E", "W_L"):
        style = {"colour": theme.matrix_colour(matrix), "legend": legends[2], "log_y": False}
        add_line(fig, gini.sel(matrix=matrix), 2, name=matrix, **style)
    add_line(fig, total, 3, name="all weights", colour=theme.INK, legend="legend", log_y=False)
    fig.data[-1].showlegend = False
    fig.update_yaxes(title_text=theme.title(gini), range=[0, 1.03], row=2, col=1)
    fig.update_yaxes(title_text=theme.title(total), rangemode="tozero", row=2, col=2)
    fig.update_xaxes(title_text=theme.title(loss["epoch"]), row=2)
    fig.update_layout(hovermode="x unified")
    if phases is not None:
        add_phases(fig, phases, float(loss["epoch"].max()))
        fig.update_layout(margin={"b": 84})
    return theme.apply(fig, height=640)
