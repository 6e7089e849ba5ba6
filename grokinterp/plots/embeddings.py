"""Embeddings projected onto the plane of each key frequency."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import theme
from grokinterp.plots.data import need, over_epochs, present, small


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
