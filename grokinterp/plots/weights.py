"""Weights: the norm of each matrix over training, the entries of a matrix, and embeddings in the plane of each key."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import heatmaps, theme
from grokinterp.plots.curves import add_curve
from grokinterp.plots.data import need, over_epochs, present, small


def weights(ds: xr.Dataset, *, log_y: bool = True) -> go.Figure:
    """Plot the sum of squares of each weight matrix over training.

    Args:
        ds: A trajectory with `weight_norm`.
        log_y: Use a logarithmic vertical axis. It ends a factor of 10 below the smallest final value, so that biases
            that start near zero do not stretch it.

    Returns:
        A figure with one line per matrix. Biases are dotted, in the color of their matrix.

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
        dash = "dot" if "b_" in name or "W_pos" in name else "solid"
        line = {"color": theme.matrix_color(name), "width": 1.8, "dash": dash}
        add_curve(fig, norm.sel(parameter=parameter), log_y=log_y, name=name, line=line, hovertemplate="%{y:.3g}")
    axis: dict[str, Any] = theme.log_axis() if log_y else {"rangemode": "tozero"}
    last = norm.values[-1]
    if log_y and (last > 0).any():
        axis["range"] = np.log10([last[last > 0].min() / 10, np.nanmax(norm.values) * 1.5]).tolist()
    fig.update_xaxes(title_text=theme.title(norm["epoch"]))
    fig.update_yaxes(title_text=theme.title(norm), **axis)
    fig.update_layout(hovermode="x unified")
    return theme.apply(fig, height=400)


def weight_maps(ds: xr.Dataset, *, side_by_side: bool = False) -> go.Figure:
    """Plot the entries of a weight matrix as heatmaps, one per head.

    Args:
        ds: A snapshot or a trajectory with `weight`.
        side_by_side: Draw epochs as columns, which suits a few of them, instead of steps of a slider.

    Returns:
        A figure with one color scale for all heads and epochs: white is 0, and the strongest colors are the 99.9th
        percentile of the absolute entries.

    Raises:
        KeyError: If `weight` is missing.

    Examples:
        >>> entries = xr.DataArray(np.ones((2, 3, 4)), dims=("head", "d_model", "d_head"))
        >>> len(weight_maps(xr.Dataset({"weight": entries})).data)
        2
    """
    side_by_side = arguments.flag(side_by_side, "side_by_side")
    data = over_epochs(need(ds, "weight"))
    rows, columns = data.dims[-2:]
    parameter = str(data.attrs.get("parameter", theme.name(data))).removeprefix("blocks.0.")
    if "head" in data.dims:
        names = [f"{parameter}, head {head}" for head in data["head"].values]
    else:
        data, names = data.expand_dims("head"), [parameter]
    data = data.transpose("epoch", "head", rows, columns)
    epochs = [int(epoch) for epoch in data["epoch"].values]
    top = float(np.quantile(np.abs(data.values), 0.999)) or 1.0
    heads = range(data.sizes["head"])
    if side_by_side:
        shown, per_row = [(time, head) for head in heads for time in range(len(epochs))], len(epochs)
        titles = [f"{names[head]}, epoch {epochs[time]:,}" for time, head in shown]
    else:
        shown, per_row, titles = [(-1, head) for head in heads], min(2, len(heads)), names
    in_bytes = not side_by_side and len(epochs) > 1
    lines = -(-len(shown) // per_row)
    fig = theme.panels(titles, columns=per_row, horizontal_spacing=0.16 / per_row, vertical_spacing=0.24 / lines)
    frames = [[{"z": heatmaps.encode(z, -top, top, in_bytes=in_bytes)} for z in epoch] for epoch in data.values]
    hover = f"{rows} %{{y}}, {columns} %{{x}}" + ("" if in_bytes else ": %{z:.3g}") + "<extra></extra>"
    for number, (time, head) in enumerate(shown):
        panel = theme.row_col(number, per_row)
        fig.add_heatmap(**frames[time][head], coloraxis="coloraxis", hovertemplate=hover, **panel)
        bottom = {"title_text": theme.title(data[columns])} if number + per_row >= len(shown) else {}
        fig.update_xaxes(showgrid=False, nticks=5, **bottom, **panel)
        left = {"title_text": theme.title(data[rows])} if panel["col"] == 1 else {}
        fig.update_yaxes(autorange="reversed", showgrid=False, nticks=5, **left, **panel)
    if in_bytes:
        theme.add_slider(fig, epochs, frames)
    fig.update_layout(coloraxis=heatmaps.coloraxis(-top, top, theme.title(data), in_bytes=in_bytes))
    return theme.apply(fig, height=(460 if per_row == 1 else 300) * lines + 100 + (90 if in_bytes else 0))


def embedding_circles(ds: xr.Dataset) -> go.Figure:
    """Plot each residue's embedding in the (cos, sin) plane of each key frequency, with neighbors connected.

    Neighbors on the circle of frequency k differ by the inverse of k modulo p, so the line is a circle if the model
    has learned the frequency, and a tangle otherwise.

    Args:
        ds: A snapshot or a trajectory with `embedding_circle`.

    Returns:
        A figure with one panel per frequency, all on one scale, and a slider if there are several epochs.

    Raises:
        KeyError: If `embedding_circle` is missing.

    Examples:
        >>> angle = 2 * np.pi * 2 * np.arange(5) / 5
        >>> points = xr.DataArray(
        ...     [[np.cos(angle), np.sin(angle)]],
        ...     dims=("frequency", "axis", "p"),
        ...     coords={"frequency": [2], "axis": ["cos", "sin"], "p": np.arange(5)},
        ... )
        >>> embedding_circles(xr.Dataset({"embedding_circle": points})).data[0].customdata.tolist()
        [0, 3, 1, 4, 2, 0]
    """
    data = present(over_epochs(need(ds, "embedding_circle")), "frequency")
    data = data.transpose("epoch", "frequency", "axis", "p")
    keys = [int(k) for k in data["frequency"].values]
    p = data.sizes["p"]
    unit = f" ({data.attrs['units']})" if data.attrs.get("units") else ""
    columns = len(keys) if len(keys) <= 4 else 3
    fig = theme.panels([f"k = {k}" for k in keys], columns=columns, horizontal_spacing=0.05, vertical_spacing=0.16)
    # Around the circle by the angle of k x, and back to the first residue; residues may share an angle.
    orders = [np.append(order := np.argsort(np.arange(p) * k % p, kind="stable"), order[0]) for k in keys]

    def points(epoch: int, number: int) -> dict[str, np.ndarray]:
        cos, sin = data.values[epoch, number][:, orders[number]]
        return {"x": small(cos), "y": small(sin)}

    # The final circles set the scale; points that are farther out at earlier epochs may leave the panel.
    widest, last = (float(np.nanmax(np.abs(values))) for values in (data.values, data.values[-1]))
    reach = min(widest, 1.35 * last) * 1.12 or 1.0
    for number, (k, order) in enumerate(zip(keys, orders, strict=True)):
        residues = data["p"].values[order]
        panel = theme.row_col(number, columns)
        fig.add_scatter(
            **points(-1, number),
            mode="lines+markers",
            line={"color": theme.OTHER, "width": 1},
            marker={"color": residues, "coloraxis": "coloraxis", "size": 6 if p < 80 else 4.5},
            customdata=residues,
            hovertemplate=f"residue %{{customdata}}, k = {k}<extra></extra>",
            name=f"k = {k}",
            **panel,
        )
        style = {"range": [-reach, reach], "constrain": "domain", "nticks": 5}
        fig.update_xaxes(title_text="cos" + unit if number + columns >= len(keys) else None, **style, **panel)
        fig.update_yaxes(title_text="sin" + unit if panel["col"] == 1 else None, **style, **panel)
        theme.make_square(fig, **panel)
    bar = theme.colorbar(theme.title(data["p"]))
    fig.update_layout(coloraxis={"colorscale": theme.RESIDUE, "colorbar": bar}, showlegend=False)
    frames = [[points(epoch, number) for number in range(len(keys))] for epoch in range(data.sizes["epoch"])]
    theme.add_slider(fig, data["epoch"].values.tolist(), frames)
    return theme.apply(fig, height=theme.square_height(len(keys), columns) + (90 if fig.frames else 0))
