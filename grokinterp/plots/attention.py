"""Attention patterns: over all pairs of inputs, and their means over training."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import theme
from grokinterp.plots.curves import add_band, add_curve
from grokinterp.plots.data import need, over_epochs
from grokinterp.plots.heatmaps import input_grids


def attention(ds: xr.Dataset) -> go.Figure:
    """Plot the attention of each head from '=' to the first input, over all pairs of inputs.

    Args:
        ds: A snapshot or a trajectory with `attention`.

    Returns:
        A figure with one panel per head, and a slider if there are several epochs.

    Raises:
        KeyError: If `attention` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 4a.
    """
    data = over_epochs(need(ds, "attention"))
    return input_grids(data, "head", [f"Head {h}" for h in data["head"].values], limits=(0.0, 1.0))


def attention_over_time(ds: xr.Dataset) -> go.Figure:
    """Plot the mean attention of each head to each position over training, with its spread over pairs as a band.

    The band separates two heads with equal means: at a mean of 0.5, a band from 0 to 1 shows a head that attends to a
    for some pairs and to b for others; no band shows a head that attends to both equally.

    Args:
        ds: A trajectory with `attention_mean`. If `attention_std` is present, bands extend one standard
            deviation to each side, clipped to the range from 0 to 1.

    Returns:
        A figure with one panel per layer and head, and one line per position.

    Raises:
        KeyError: If `attention_mean` is missing.

    Examples:
        >>> mean = xr.DataArray(np.full((2, 1, 1, 3), 1 / 3), dims=("epoch", "layer", "head", "key"))
        >>> len(attention_over_time(xr.Dataset({"attention_mean": mean})).data)
        3
    """
    mean = over_epochs(need(ds, "attention_mean")).transpose("epoch", "layer", "head", "key")
    std = over_epochs(ds["attention_std"]).transpose(*mean.dims) if "attention_std" in ds else None
    heads = list(np.ndindex(mean.sizes["layer"], mean.sizes["head"]))
    names = [f"Layer {mean['layer'].values[layer]}, head" if mean.sizes["layer"] > 1 else "Head" for layer, _ in heads]
    titles = [f"{name} {mean['head'].values[head]}" for name, (_, head) in zip(names, heads, strict=True)]
    columns = min(mean.sizes["head"], 4)
    fig = theme.panels(
        titles, columns=columns, shared_xaxes="all", shared_yaxes="all", horizontal_spacing=0.03, vertical_spacing=0.14
    )
    epochs = mean["epoch"].values
    for number, (layer, head) in enumerate(heads):
        panel = theme.row_col(number, columns)
        for key, color in zip(range(mean.sizes["key"]), theme.FREQUENCY, strict=False):
            curve = mean[:, layer, head, key]
            name = f"to {mean['key'].values[key]}"
            if std is not None:
                spread = std.values[:, layer, head, key]
                low, high = np.maximum(curve.values - spread, 0), np.minimum(curve.values + spread, 1)
                add_band(fig, epochs, low, high, color, legendgroup=name, showlegend=False, **panel)
            trace = {"name": name, "legendgroup": name, "showlegend": number == 0}
            hover = f"{name}, epoch %{{x}}: %{{y:.3f}}<extra></extra>"
            add_curve(fig, curve, line={"color": color, "width": 1.8}, hovertemplate=hover, **trace, **panel)
    rows = -(-len(titles) // columns)
    fig.update_yaxes(title_text=theme.title(mean), col=1)
    fig.update_yaxes(range=[-0.03, 1.03])
    fig.update_xaxes(title_text=theme.title(mean["epoch"]), row=rows)
    fig.update_xaxes(nticks=5)
    height = 240 * rows + 120
    return theme.apply(theme.legend_on_top(fig, height), height=height)
