"""The weights over training."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import theme
from grokinterp.plots.data import need, over_epochs, positive, present, small


def weights(ds: xr.Dataset, *, log_y: bool = True) -> go.Figure:
    """The sum of squares of each weight matrix over the epochs.

    Args:
        ds: A trajectory with `weight_norm`.
        log_y: Whether sums are on a logarithmic axis; it reaches down to the least at the end, so that biases
            that begin near zero come in from below.

    Returns:
        A figure with a line per matrix; biases are dashed in the colour of their matrix.

    Raises:
        KeyError: If `weight_norm` is missing.

    Examples:
        >>> norm = xr.DataArray([[2.0, 1.0]], dims=("epoch", "parameter"), coords={"parameter": ["W_E", "W_U"]})
        >>> [line.name for line in weights(xr.Dataset({"weight_norm": norm})).data]
        ['W_E', 'W_U']
    """
    log_y = arguments.flag(log_y, "log_y")
    norm = present(over_epochs(need(ds, "weight_norm")), "parameter")
    fig = theme.panels(["Squared weights by matrix"], columns=1)
    full = [str(parameter) for parameter in norm["parameter"].values]
    short = [name.rsplit(".", 1)[-1] for name in full]
    for parameter, name in zip(full, short if len(set(short)) == len(full) else full, strict=True):
        values = norm.sel(parameter=parameter).values
        dashed = "b_" in name or "W_pos" in name
        fig.add_scatter(
            x=norm["epoch"].values,
            y=small(positive(values) if log_y else values),
            name=name,
            mode="lines" if norm.sizes["epoch"] > 1 else "markers",
            line={"color": theme.matrix_colour(name), "width": 1.8, "dash": "dot" if dashed else "solid"},
            hovertemplate="%{y:.3g}",
        )
    fig.update_xaxes(title_text=theme.title(norm["epoch"]))
    axis: dict[str, Any] = _log_axis(norm) if log_y else {"rangemode": "tozero"}
    fig.update_yaxes(title_text=theme.title(norm), **axis)
    fig.update_layout(hovermode="x unified")
    return theme.apply(fig, height=400)


def _log_axis(norm: xr.DataArray) -> dict[str, Any]:
    last, every = norm.values[-1], norm.values
    if not (last > 0).any():
        return theme.log_axis()
    limits = [last[last > 0].min() / 10, np.nanmax(every) * 1.5]
    return theme.log_axis() | {"range": np.log10(limits).tolist()}
