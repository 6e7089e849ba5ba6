"""Something over both inputs as a square of colours: neurons, attention, logits."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import levels, slider, theme
from grokinterp.plots.data import need, over_epochs, present, small


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
        return levels.as_bytes(values, low, high) if in_bytes else small(values)

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
    fig.update_layout(coloraxis=levels.coloraxis(low, high, theme.title(data), in_bytes=in_bytes))
    return theme.apply(fig, height=theme.square_height(len(titles), columns) + (90 if in_bytes else 0))
