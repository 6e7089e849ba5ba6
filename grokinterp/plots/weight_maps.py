"""Weight matrices as they are: entries as colours, for each head, over checkpoints."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import levels, slider, theme
from grokinterp.plots.data import need, over_epochs, small


def weight_maps(ds: xr.Dataset, *, side_by_side: bool = False) -> go.Figure:
    """The entries of a weight matrix, with a panel for each head.

    Args:
        ds: A snapshot or a trajectory with `weight`.
        side_by_side: Whether epochs are columns beside each other, which suits a few of them, and not steps of a
            slider.

    Returns:
        A figure whose colours mean the same in every panel and at every epoch: white is 0, and the strongest colours
        are the 99.9th percentile of the entries' size.

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

    def colours(time: int, head: int) -> np.ndarray:
        values = data.values[time, head]
        return levels.as_bytes(values, -top, top) if in_bytes else small(values)

    read = f"{rows} %{{y}}, {columns} %{{x}}" + ("" if in_bytes else ": %{z:.3g}") + "<extra></extra>"
    for number, (time, head) in enumerate(shown):
        where = theme.place(number, per_row)
        fig.add_heatmap(z=colours(time, head), coloraxis="coloraxis", hovertemplate=read, **where)
        below = {"title_text": theme.title(data[columns])} if number + per_row >= len(shown) else {}
        fig.update_xaxes(showgrid=False, nticks=5, **below, **where)
        left = {"title_text": theme.title(data[rows])} if where["col"] == 1 else {}
        fig.update_yaxes(autorange="reversed", showgrid=False, nticks=5, **left, **where)
    if in_bytes:
        slider.add(fig, epochs, [[{"z": colours(time, head)} for _, head in shown] for time in range(len(epochs))])
    fig.update_layout(coloraxis=levels.coloraxis(-top, top, theme.title(data), in_bytes=in_bytes))
    return theme.apply(fig, height=(460 if per_row == 1 else 300) * lines + 100 + (90 if in_bytes else 0))
