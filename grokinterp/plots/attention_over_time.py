"""Where each attention head looks, over training."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import theme
from grokinterp.plots.bands import add_band
from grokinterp.plots.data import need, over_epochs, small


def attention_over_time(ds: xr.Dataset) -> go.Figure:
    """The mean attention of each head to each position over the epochs, with its spread over pairs as a band.

    A head at one half with a band from 0 to 1 looks at a for some pairs and at b for others; one without a band looks
    at both alike. Their means are the same.

    Args:
        ds: A trajectory with `attention_mean`; `attention_deviation`, where it is there, is the band: a standard
            deviation to both sides, cut off at 0 and 1.

    Returns:
        A figure with a panel per layer and head, and a line per position.

    Raises:
        KeyError: If `attention_mean` is missing.

    Examples:
        >>> mean = xr.DataArray(np.full((2, 1, 1, 3), 1 / 3), dims=("epoch", "layer", "head", "key"))
        >>> len(attention_over_time(xr.Dataset({"attention_mean": mean})).data)
        3
    """
    mean = over_epochs(need(ds, "attention_mean")).transpose("epoch", "layer", "head", "key")
    has_spread = "attention_deviation" in ds
    spread = over_epochs(ds["attention_deviation"]).transpose(*mean.dims) if has_spread else None
    places = [(layer, head) for layer in range(mean.sizes["layer"]) for head in range(mean.sizes["head"])]
    several = mean.sizes["layer"] > 1
    names = [f"Layer {mean['layer'].values[layer]}, head" if several else "Head" for layer, _ in places]
    titles = [f"{name} {mean['head'].values[head]}" for name, (_, head) in zip(names, places, strict=True)]
    columns = mean.sizes["head"] if mean.sizes["head"] <= 4 else 4
    fig = theme.panels(
        titles, columns=columns, shared_xaxes="all", shared_yaxes="all", horizontal_spacing=0.03, vertical_spacing=0.14
    )
    epochs = mean["epoch"].values
    for number, (layer, head) in enumerate(places):
        where = theme.place(number, columns)
        for key, colour in zip(range(mean.sizes["key"]), theme.FREQUENCY, strict=False):
            curve = mean.values[:, layer, head, key]
            name = f"to {mean['key'].values[key]}"
            if spread is not None:
                away = spread.values[:, layer, head, key]
                add_band(fig, epochs, np.maximum(curve - away, 0), np.minimum(curve + away, 1), colour, name, **where)
            fig.add_scatter(
                x=epochs,
                y=small(curve),
                name=name,
                mode="lines" if len(epochs) > 1 else "markers",
                line={"color": colour, "width": 1.8},
                legendgroup=name,
                showlegend=number == 0,
                hovertemplate=f"{name}, epoch %{{x}}: %{{y:.3f}}<extra></extra>",
                **where,
            )
    rows = -(-len(titles) // columns)
    fig.update_yaxes(title_text=theme.title(mean), col=1)
    fig.update_yaxes(range=[-0.03, 1.03])
    fig.update_xaxes(title_text=theme.title(mean["epoch"]), row=rows)
    fig.update_xaxes(nticks=5)
    height = 240 * rows + 120
    return theme.apply(theme.legend_on_top(fig, height), height=height)
