"""What is held of each row of a basis as a map of colours: the logits by pairs of rows, W_L by neuron and row."""

from typing import Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import levels, slider, theme, waves
from grokinterp.plots.data import keys_of, need, over_epochs, positive, present, small


# How far below the largest norm colours begin, in powers of ten.
_DECADES: Final = 3.0
# Squares that are fewer rows apart than this are labelled on different sides.
_NEAR: Final = 5
# So many neurons have their numbers on the axis.
_MOST_NUMBERS: Final = 60


def logit_components(ds: xr.Dataset) -> go.Figure:
    """The norm over classes of each product of a component of a with one of b in the logits, on a logarithmic scale.

    A model that adds by a few frequencies has for each of them a square of two by two on the diagonal.

    Args:
        ds: A snapshot or a trajectory with `logit_components`.

    Returns:
        A square of colours, white below a thousandth of the largest norm. The key frequencies are named: those that
        the Dataset's measures were given, else the five whose squares are largest at the last epoch. With several
        epochs it has a slider, and norms are told by their colours alone.

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
    low, high = _exponents(exponents)
    in_bytes = data.sizes["epoch"] > 1
    frames = [[{"z": levels.as_bytes(epoch, low, high)}] for epoch in exponents]
    shown = frames[-1][0] if in_bytes else {"z": small(exponents[-1]), "customdata": small(data.values[-1])}
    fig = theme.panels(["Components of the logits"], columns=1)
    _add_map(fig, of_b, of_a, **shown, read="%{y} of a, %{x} of b" + ("" if in_bytes else ": %{customdata:.3g}"))
    fig.update_xaxes(title_text=_title("b", of_b), constrain="domain", **waves.axis(of_b))
    square = {"scaleanchor": "x", "constrain": "domain", "constraintoward": "top"}
    fig.update_yaxes(title_text=_title("a", of_a), **square, **waves.axis(of_a))
    _name_keys(fig, ds, data)
    slider.add(fig, data["epoch"].values.tolist(), frames)
    ticks = {float(n): f"10<sup>{n}</sup>" for n in range(int(np.ceil(low)), int(np.floor(high)) + 1)}
    fig.update_layout(coloraxis=levels.coloraxis(low, high, theme.title(data), in_bytes=in_bytes, ticks=ticks))
    return theme.apply(fig.update_layout(width=700), height=660 + (90 if in_bytes else 0))


def readout_components(ds: xr.Dataset) -> go.Figure:
    """What some neurons write to the logits, W_L, by components over the classes.

    A neuron that writes one frequency has two coloured cells in its row, that of the cosine and that of the sine.

    Args:
        ds: A snapshot or a trajectory with `readout_components`.

    Returns:
        A map of colours, white at zero, with a row per neuron, and a slider where there are several epochs. Neurons
        are in the order of the frequency of which they write most at the last epoch, and of its phase.

    Raises:
        KeyError: If `readout_components` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 5b.

    Examples:
        >>> written = xr.DataArray(
        ...     [[0.1, 3.0, -2.0], [4.0, 0.0, 0.2]],
        ...     dims=("neuron", "component"),
        ...     coords={"neuron": [4, 9], "component": ["const", "cos 1", "sin 1"]},
        ... )
        >>> readout_components(xr.Dataset({"readout_components": written})).data[0].y
        ('9', '4')
    """
    data = present(over_epochs(need(ds, "readout_components")), "neuron").transpose("epoch", "neuron", "component")
    names = [str(name) for name in data["component"].values]
    data = data.isel(neuron=_by_frequency(data.values[-1], names))
    top = float(np.abs(data).max()) or 1.0
    in_bytes = data.sizes["epoch"] > 1
    frames = [[{"z": levels.as_bytes(epoch, -top, top)}] for epoch in data.values]
    shown = frames[-1][0] if in_bytes else {"z": small(data.values[-1])}
    neurons = [str(neuron) for neuron in data["neuron"].values]
    fig = theme.panels(["Components of W_L by neuron"], columns=1)
    _add_map(fig, names, neurons, **shown, read="neuron %{y}, %{x}" + ("" if in_bytes else ": %{z:.3g}"))
    fig.update_xaxes(title_text=_title("c", names), **waves.axis(names))
    fig.update_yaxes(title_text="neuron, by its frequency and phase", type="category", dtick=1)
    if len(neurons) > _MOST_NUMBERS:
        fig.update_yaxes(showticklabels=False, ticks="")
    slider.add(fig, data["epoch"].values.tolist(), frames)
    fig.update_layout(coloraxis=levels.coloraxis(-top, top, theme.title(data), in_bytes=in_bytes))
    return theme.apply(fig, height=min(max(16 * len(neurons), 200), 560) + 130 + (90 if in_bytes else 0))


def _add_map(fig: go.Figure, x: list[str], y: list[str], *, read: str, **values: np.ndarray) -> None:
    """Add a map of colours whose first row is at the top."""
    names = {"x": waves.distinct(x), "y": waves.distinct(y)}
    fig.add_heatmap(**names, **values, coloraxis="coloraxis", hovertemplate=read + "<extra></extra>")
    fig.update_xaxes(showgrid=False)
    fig.update_yaxes(showgrid=False, autorange="reversed")


def _exponents(exponents: np.ndarray) -> tuple[float, float]:
    """The ends of the scale of colours."""
    found = exponents[np.isfinite(exponents)]
    if not found.size:
        return -1.0, 0.0
    high = float(found.max())
    return min(max(float(found.min()), high - _DECADES), high - 1.0), high


def _title(of: str, names: list[str]) -> str:
    return f"component of {of}" + (" (cos and sin of frequency k)" if waves.rows_by_frequency(names) else "")


def _name_keys(fig: go.Figure, ds: xr.Dataset, data: xr.DataArray) -> None:
    """Write each key frequency beside its square on the diagonal, where that is not white."""
    rows, columns = (waves.rows_by_frequency(data[dim].values.tolist()) for dim in ("component", "row"))
    both = sorted(rows.keys() & columns.keys())
    sizes = np.array([np.abs(data.values[-1][np.ix_(rows[k], columns[k])]).max() for k in both])
    seen = {k for k, size in zip(both, sizes, strict=True) if size > data.values.max() / 10**_DECADES}
    keys = keys_of(ds, xr.DataArray(sizes, dims="frequency", coords={"frequency": both}), None) if both else []
    look = {"showarrow": False, "font_size": 11, "bgcolor": "rgba(255,255,255,0.6)", "borderpad": 0}
    last, is_right = -np.inf, False
    for k in (k for k in keys if k in seen):
        # To the left of its square if it would otherwise be too near the one before, or the edge.
        is_near = is_right and rows[k][0] - last < _NEAR
        is_right, last = not is_near and columns[k][-1] + _NEAR <= data.sizes["row"], rows[k][0]
        right = {"x": columns[k][-1] + 0.5, "xanchor": "left", "xshift": 3}
        left = {"x": columns[k][0] - 0.5, "xanchor": "right", "xshift": -3}
        fig.add_annotation(text=f"<b>{k}</b>", y=np.mean(rows[k]), **(right if is_right else left), **look)


def _by_frequency(values: np.ndarray, names: list[str]) -> np.ndarray:
    """The order of neurons by the block of which each has most, and in a block by their phase."""
    blocks = list(waves.rows_by_block(names).values())
    largest = np.argmax([np.square(values[:, rows]).sum(axis=1) for rows in blocks], axis=0)
    # A block that is no cosine and sine has no phase; in place of it are the first and the last of its rows.
    of_each = np.array([[blocks[block][0], blocks[block][-1]] for block in largest])
    cos, sin = np.take_along_axis(values, of_each, axis=1).T
    return np.lexsort((np.arctan2(sin, cos), largest))
