"""Something over both inputs as a square of colours: neurons, attention, logits."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import slider, theme
from grokinterp.plots.data import need, over_epochs, present, small


# Colours of a figure with a slider are stored in one byte each: 256 of them are more than the eye sees.
LEVELS = 255


def neuron_grid(ds: xr.Dataset) -> go.Figure:
    """The activations of some neurons over all pairs of inputs, each as a share of its largest.

    What is largest is taken at the last epoch, and activations above it at earlier ones look like it.

    Args:
        ds: A snapshot or a trajectory with `neurons`; `neuron_frequency`, where it is there, goes into the titles.

    Returns:
        A figure with a panel per neuron, and a slider where there are several epochs.

    Raises:
        KeyError: If `neurons` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 4b.

    Examples:
        >>> import numpy as np
        >>> activations = xr.DataArray(np.ones((2, 3, 3)), dims=("neuron", "a", "b"))
        >>> len(neuron_grid(xr.Dataset({"neurons": activations})).data)
        2
    """
    data = present(over_epochs(need(ds, "neurons")), "neuron")
    titles = [f"Neuron {n}" for n in data["neuron"].values]
    if "neuron_frequency" in ds and "neuron" in ds["neuron_frequency"].coords:
        last = over_epochs(ds["neuron_frequency"])[-1]
        titles = [f"Neuron {n}, k = {int(last.sel(neuron=n))}" for n in data["neuron"].values]
    # Each in its own measure, or the strongest neuron would leave the others pale.
    data = data.transpose("epoch", "neuron", "a", "b")
    largest = data.values[-1].max(axis=(1, 2), keepdims=True)
    shares = data.copy(data=np.minimum(data.values / np.where(largest > 0, largest, 1.0), 1.0))
    shares.attrs = {"long_name": f"{theme.title(data)},<br>share of its largest", "units": ""}
    return _grid(shares, "neuron", titles)


def attention(ds: xr.Dataset) -> go.Figure:
    """The attention of each head from '=' to the first input over all pairs of inputs.

    Args:
        ds: A snapshot or a trajectory with `attention`.

    Returns:
        A figure with a panel per head, and a slider where there are several epochs.

    Raises:
        KeyError: If `attention` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 4a.
    """
    data = over_epochs(need(ds, "attention"))
    return _grid(data, "head", [f"Head {h}" for h in data["head"].values], limits=(0.0, 1.0))


def logits_over_inputs(ds: xr.Dataset) -> go.Figure:
    """The logits of some output classes over all pairs of inputs.

    Args:
        ds: A snapshot or a trajectory with `logits`.

    Returns:
        A figure with a panel per class, white where the logit is zero, and a slider where there are several
        epochs.

    Raises:
        KeyError: If `logits` is missing.
    """
    data = over_epochs(need(ds, "logits"))
    top = float(np.nanmax(np.abs(data.values))) or 1.0
    return _grid(data, "c", [f"Logit of c = {c}" for c in data["c"].values], limits=(-top, top))


def _grid(data: xr.DataArray, panel: str, titles: list[str], *, limits: tuple[float, float] | None = None) -> go.Figure:
    data = data.transpose("epoch", panel, "a", "b")
    low, high = limits or (min(0.0, float(data.min())), float(data.max()))
    high = high if high > low else low + 1.0
    in_bytes = data.sizes["epoch"] > 1
    columns = 4 if len(titles) > 4 else len(titles)
    fig = theme.panels(titles, columns=columns, horizontal_spacing=0.05, vertical_spacing=0.16)

    def colours(epoch: int, number: int) -> np.ndarray:
        values = data.values[epoch, number]
        if not in_bytes:
            return small(values)
        scaled = np.nan_to_num((values.astype(np.float64) - low) / (high - low))
        return np.rint(scaled.clip(0, 1) * LEVELS).astype(np.uint8)

    read = "a = %{y}, b = %{x}" + ("" if in_bytes else ": %{z:.3g}") + "<extra></extra>"
    for number, title in enumerate(titles):
        where = theme.place(number, columns)
        z = colours(-1, number)
        axes = {"x": data["b"].values.tolist(), "y": data["a"].values.tolist()}
        fig.add_heatmap(z=z, **axes, coloraxis="coloraxis", name=title, hovertemplate=read, **where)
        x_axis = theme.axes(fig, **where).xaxis.plotly_name.replace("axis", "")
        square = {
            "scaleanchor": x_axis,
            "constrain": "domain",
            "constraintoward": "top",
            "showgrid": False,
            "nticks": 5,
        }
        fig.update_yaxes(title_text="a" if where["col"] == 1 else None, **square, **where)
        is_lowest = number + columns >= len(titles)
        fig.update_xaxes(title_text="b" if is_lowest else None, constrain="domain", showgrid=False, nticks=5, **where)
    frames = [[{"z": colours(epoch, number)} for number in range(len(titles))] for epoch in range(data.sizes["epoch"])]
    slider.add(fig, data["epoch"].values.tolist(), frames)
    fig.update_layout(coloraxis=_scale(low, high, theme.title(data), in_bytes=in_bytes))
    return theme.apply(fig, height=theme.square_height(len(titles), columns) + (90 if in_bytes else 0))


def _scale(low: float, high: float, title: str, *, in_bytes: bool) -> dict[str, Any]:
    """The colours and their key, whose numbers are in the data's units also where the data are in bytes."""
    colours = theme.DIVERGING if low == -high else theme.SEQUENTIAL
    bar: dict[str, Any] = {"title": {"text": title, "side": "right", "font": {"size": 11}}, "len": 1.0}
    if not in_bytes:
        return {"colorscale": colours, "cmin": low, "cmax": high, "colorbar": bar}
    ticks = _round_numbers(low, high)
    at = [(tick - low) / (high - low) * LEVELS for tick in ticks]
    bar |= {"tickvals": at, "ticktext": [f"{tick:g}" for tick in ticks]}
    return {"colorscale": colours, "cmin": 0, "cmax": LEVELS, "colorbar": bar}


def _round_numbers(low: float, high: float) -> list[float]:
    """About five round numbers from low to high.

    Examples:
        >>> _round_numbers(-1.0, 1.0)
        [-1.0, -0.5, 0.0, 0.5, 1.0]
    """
    raw = (high - low) / 5
    magnitude = 10.0 ** np.floor(np.log10(raw))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= raw * 0.999)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [round(float(i * step), 12) for i in range(first, last + 1)]
