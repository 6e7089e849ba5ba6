"""Logits: their Fourier components, what neurons contribute to them, and their values over all inputs."""

from typing import Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import heatmaps, theme
from grokinterp.plots.data import (
    basis_ticks,
    distinct,
    keys_of,
    need,
    over_epochs,
    positive,
    present,
    rows_by_block,
    rows_by_frequency,
    small,
)


# The color scale of norms spans this many powers of ten below the largest.
_DECADES: Final = 3.0
# Squares fewer rows apart than this are labeled on opposite sides.
_NEAR: Final = 5
# Beyond this many neurons, their numbers do not fit on the axis.
_MOST_NUMBERS: Final = 60


def logits_over_inputs(ds: xr.Dataset) -> go.Figure:
    """Plot the logits of some output classes over all pairs of inputs.

    Args:
        ds: A snapshot or a trajectory with `logits`.

    Returns:
        A figure with one panel per class, white where the logit is zero, and a slider if there are several epochs.

    Raises:
        KeyError: If `logits` is missing.
    """
    data = over_epochs(need(ds, "logits"))
    top = float(np.nanmax(np.abs(data.values))) or 1.0
    return heatmaps.input_grids(data, "c", [f"Logit of c = {c}" for c in data["c"].values], limits=(-top, top))


def logit_components(ds: xr.Dataset) -> go.Figure:
    """Plot the 2D Fourier components of the logits: the norm over classes for each pair of components of a and b.

    A model that adds using a few frequencies has a two-by-two square for each of them on the diagonal.

    Args:
        ds: A snapshot or a trajectory with `logit_components`.

    Returns:
        A heatmap on a logarithmic scale, white below a thousandth of the largest norm, and a slider if there are
        several epochs. Key frequencies are labeled: those used to compute the Dataset, or the five largest at the last
        epoch. Without a slider, hovering shows the norms.

    Raises:
        KeyError: If `logit_components` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 4c.

    Examples:
        >>> names = ["const", "cos 1", "sin 1"]
        >>> norms = xr.DataArray(np.eye(3), dims=("component", "row"), coords={"component": names, "row": names})
        >>> logit_components(xr.Dataset({"logit_components": norms})).data[0].customdata[1].tolist()
        [0.0, 1.0, 0.0]
    """
    data = present(present(over_epochs(need(ds, "logit_components")), "component"), "row")
    data = data.transpose("epoch", "component", "row")
    of_a, of_b = ([str(name) for name in data[dim].values] for dim in ("component", "row"))
    exponents = np.log10(positive(data.values))
    low, high = _limits(exponents)
    in_bytes = data.sizes["epoch"] > 1
    frames = [[{"z": heatmaps.encode(epoch, low, high, in_bytes=in_bytes)}] for epoch in exponents]
    shown = frames[-1][0] if in_bytes else {**frames[-1][0], "customdata": small(data.values[-1])}
    fig = theme.panels(["Components of the logits"], columns=1)
    _add_map(fig, of_b, of_a, **shown, hover="%{y} of a, %{x} of b" + ("" if in_bytes else ": %{customdata:.3g}"))
    fig.update_xaxes(title_text=_title("b", of_b), constrain="domain", **basis_ticks(of_b))
    square = {"scaleanchor": "x", "constrain": "domain", "constraintoward": "top"}
    fig.update_yaxes(title_text=_title("a", of_a), **square, **basis_ticks(of_a))
    _label_keys(fig, ds, data)
    theme.add_slider(fig, data["epoch"].values.tolist(), frames)
    ticks = {float(n): f"10<sup>{n}</sup>" for n in range(int(np.ceil(low)), int(np.floor(high)) + 1)}
    fig.update_layout(coloraxis=heatmaps.coloraxis(low, high, theme.title(data), in_bytes=in_bytes, ticks=ticks))
    return theme.apply(fig.update_layout(width=700), height=660 + (90 if in_bytes else 0))


def readout_components(ds: xr.Dataset) -> go.Figure:
    """Plot W_L, the effect of some neurons on the logits, in Fourier components over the output classes.

    A neuron that contributes to one frequency has two colored cells in its row, one for cosine and one for sine.

    Args:
        ds: A snapshot or a trajectory with `readout_components`.

    Returns:
        A heatmap with one row per neuron, white at zero, and a slider if there are several epochs. Neurons are sorted
        by the frequency and the phase of their largest contribution at the last epoch.

    Raises:
        KeyError: If `readout_components` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 5b.

    Examples:
        >>> readout = xr.DataArray(
        ...     [[0.1, 3.0, -2.0], [4.0, 0.0, 0.2]],
        ...     dims=("neuron", "component"),
        ...     coords={"neuron": [4, 9], "component": ["const", "cos 1", "sin 1"]},
        ... )
        >>> readout_components(xr.Dataset({"readout_components": readout})).data[0].y
        ('9', '4')
    """
    data = present(over_epochs(need(ds, "readout_components")), "neuron").transpose("epoch", "neuron", "component")
    names = [str(name) for name in data["component"].values]
    data = data.isel(neuron=_order(data.values[-1], names))
    top = float(np.abs(data).max()) or 1.0
    in_bytes = data.sizes["epoch"] > 1
    frames = [[{"z": heatmaps.encode(epoch, -top, top, in_bytes=in_bytes)}] for epoch in data.values]
    neurons = [str(neuron) for neuron in data["neuron"].values]
    fig = theme.panels(["Components of W_L by neuron"], columns=1)
    _add_map(fig, names, neurons, **frames[-1][0], hover="neuron %{y}, %{x}" + ("" if in_bytes else ": %{z:.3g}"))
    fig.update_xaxes(title_text=_title("c", names), **basis_ticks(names))
    fig.update_yaxes(title_text="neuron, sorted by frequency and phase", type="category", dtick=1)
    if len(neurons) > _MOST_NUMBERS:
        fig.update_yaxes(showticklabels=False, ticks="")
    theme.add_slider(fig, data["epoch"].values.tolist(), frames)
    fig.update_layout(coloraxis=heatmaps.coloraxis(-top, top, theme.title(data), in_bytes=in_bytes))
    return theme.apply(fig, height=min(max(16 * len(neurons), 200), 560) + 130 + (90 if in_bytes else 0))


def _add_map(fig: go.Figure, x: list[str], y: list[str], *, hover: str, **values: np.ndarray) -> None:
    """Add a heatmap with its first row at the top."""
    names = {"x": distinct(x), "y": distinct(y)}
    fig.add_heatmap(**names, **values, coloraxis="coloraxis", hovertemplate=hover + "<extra></extra>")
    fig.update_xaxes(showgrid=False)
    fig.update_yaxes(showgrid=False, autorange="reversed")


def _limits(exponents: np.ndarray) -> tuple[float, float]:
    """The exponents at the ends of the color scale."""
    finite = exponents[np.isfinite(exponents)]
    if not finite.size:
        return -1.0, 0.0
    high = float(finite.max())
    return min(max(float(finite.min()), high - _DECADES), high - 1.0), high


def _title(of: str, names: list[str]) -> str:
    return f"component of {of}" + (" (cos and sin of frequency k)" if rows_by_frequency(names) else "")


def _label_keys(fig: go.Figure, ds: xr.Dataset, data: xr.DataArray) -> None:
    """Label each key frequency next to its square on the diagonal, unless the square is white."""
    rows, columns = (rows_by_frequency(data[dim].values.tolist()) for dim in ("component", "row"))
    both = sorted(rows.keys() & columns.keys())
    sizes = np.array([np.abs(data.values[-1][np.ix_(rows[k], columns[k])]).max() for k in both])
    visible = {k for k, size in zip(both, sizes, strict=True) if size > data.values.max() / 10**_DECADES}
    keys = keys_of(ds, xr.DataArray(sizes, dims="frequency", coords={"frequency": both}), None) if both else []
    style = {"showarrow": False, "font_size": 11, "bgcolor": "rgba(255,255,255,0.6)", "borderpad": 0}
    last, is_right = -np.inf, False
    for k in (k for k in keys if k in visible):
        # On the left of its square if the right side is too close to the previous label, or to the edge.
        is_near = is_right and rows[k][0] - last < _NEAR
        is_right, last = not is_near and columns[k][-1] + _NEAR <= data.sizes["row"], rows[k][0]
        right = {"x": columns[k][-1] + 0.5, "xanchor": "left", "xshift": 3}
        left = {"x": columns[k][0] - 0.5, "xanchor": "right", "xshift": -3}
        fig.add_annotation(text=f"<b>{k}</b>", y=np.mean(rows[k]), **(right if is_right else left), **style)


def _order(values: np.ndarray, names: list[str]) -> np.ndarray:
    """The order that sorts neurons by their largest block, then by phase."""
    blocks = list(rows_by_block(names).values())
    largest = np.argmax([np.square(values[:, block]).sum(axis=1) for block in blocks], axis=0)
    # A block other than (cos, sin) has no phase; its first and last rows stand in for them.
    rows = np.array([[blocks[block][0], blocks[block][-1]] for block in largest])
    cos, sin = np.take_along_axis(values, rows, axis=1).T
    return np.lexsort((np.arctan2(sin, cos), largest))
