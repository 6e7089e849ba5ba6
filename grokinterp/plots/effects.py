"""Effects of single frequencies on the loss: each one ablated, and each frequency on its own."""

from typing import Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import theme
from grokinterp.plots.data import need, over_epochs, positive, present, small


# Legend names, the colors of the excluded and the restricted loss, and horizontal offsets.
_KINDS: Final = {
    "loss_without": ("frequency ablated", theme.MEASURE["excluded"], -0.1),
    "loss_alone": ("frequency alone", theme.MEASURE["restricted"], 0.1),
}


def effects(ds: xr.Dataset) -> go.Figure:
    """Plot the loss with each frequency ablated, and with each frequency alone, on a logarithmic axis.

    A logarithmic axis has no zero for bars to start at, so losses are points, with stems from the full model's loss:
    the length of a stem is the factor by which the loss changed.

    Args:
        ds: A snapshot or a trajectory with `loss_without` and `loss_alone`. If `loss` is present, it is the full
            model's loss. If there are several splits, `all` is drawn.

    Returns:
        A figure with two points per frequency, and a slider if there are several epochs. A loss of zero has no point.

    Raises:
        KeyError: If `loss_without` or `loss_alone` is missing.
        ValueError: If a loss has several splits, none of which is `all`.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 6.

    Examples:
        >>> loss = xr.DataArray([0.1, 2.0], dims="frequency", coords={"frequency": [3, 14]})
        >>> figure = effects(xr.Dataset({"loss_without": loss, "loss_alone": 10 * loss}))
        >>> figure.data[1].y.tolist(), figure.layout.xaxis.ticktext
        ([1.0, 20.0], ('3', '14'))
    """
    measured = [present(_of_one_split(need(ds, name)), "frequency") for name in _KINDS]
    losses = [data.transpose("epoch", "frequency") for data in xr.align(*measured, join="outer")]
    full = _full_model(ds, losses[0])
    frequencies = [int(k) for k in losses[0]["frequency"].values]
    frames = [
        _heights([data.values[epoch] for data in losses], *(data.values[epoch] for data in full))
        for epoch in range(losses[0].sizes["epoch"])
    ]
    fig = theme.panels(["Loss by frequency"], columns=1)
    for trace, change in zip(_traces(frequencies, with_stems=bool(full)), frames[-1], strict=True):
        fig.add_trace(trace.update(change))
    step = -(-len(frequencies) // 30)
    ticks = {"tickvals": list(range(len(frequencies)))[::step], "ticktext": [str(k) for k in frequencies[::step]]}
    fig.update_xaxes(title_text="frequency k", range=[-0.6, len(frequencies) - 0.4], showgrid=False, **ticks)
    limits = _limits(np.concatenate([data.values.ravel() for data in [*losses, *full]]))
    fig.update_yaxes(theme.log_axis(), title_text=theme.title(losses[0]), range=limits)
    fig.update_layout(legend=theme.LEGEND_ABOVE | {"x": 1, "y": 1})
    theme.add_slider(fig, losses[0]["epoch"].values.tolist(), frames)
    return theme.apply(fig, height=520 if fig.frames else 430)


def _traces(frequencies: list[int], *, with_stems: bool) -> list[go.Scatter]:
    """The full model's line, and the points of each kind on their stems; without that line, only the points."""
    x = np.arange(len(frequencies))
    is_dense = len(x) > 20
    traces = []
    if with_stems:
        line = {"color": theme.QUIET, "width": 1.4, "dash": "dot"}
        hover = "full model: %{y:.3g}<extra></extra>"
        ends = [-0.6, len(x) - 0.4]
        traces.append(go.Scatter(x=ends, mode="lines", line=line, name="full model", hovertemplate=hover))
    for name, color, offset in _KINDS.values():
        stem = {"color": color, "width": 1.2 if is_dense else 2.4}
        if with_stems:
            style = {"opacity": 0.45, "hoverinfo": "skip", "showlegend": False}
            traces.append(go.Scatter(x=np.repeat(x + offset, 3), mode="lines", line=stem, **style))
        dot = {"color": color, "size": 6 if is_dense else 11}
        hover = f"k = %{{customdata}}, {name}: %{{y:.3g}}<extra></extra>"
        traces.append(
            go.Scatter(x=x + offset, mode="markers", marker=dot, name=name, customdata=frequencies, hovertemplate=hover)
        )
    return traces


def _heights(losses: list[np.ndarray], full: float | None = None) -> list[dict[str, np.ndarray]]:
    """The properties of each trace that change between epochs."""
    points = [positive(loss) for loss in losses]
    if full is None:
        return [{"y": small(y)} for y in points]
    base = float(positive(full))
    # From the full model's loss to the point, followed by a gap.
    stems = [np.stack([np.full_like(y, base), y, np.full_like(y, np.nan)], axis=1).ravel() for y in points]
    pairs = [{"y": small(y)} for pair in zip(stems, points, strict=True) for y in pair]
    return [{"y": small([base, base])}, *pairs]


def _limits(losses: np.ndarray) -> list[float] | None:
    """Axis limits, as powers of ten, that fit the losses of all epochs."""
    losses = losses[losses > 0]
    if not losses.size:
        return None
    low, high = np.log10(losses.min()), np.log10(losses.max())
    room = 0.05 * (high - low) + 0.1
    return [float(low - room), float(high + room)]


def _full_model(ds: xr.Dataset, drawn: xr.DataArray) -> list[xr.DataArray]:
    """The full model's loss on the split that is drawn, if the Dataset has it."""
    if "loss" not in ds:
        return []
    loss = over_epochs(ds["loss"])
    if "split" not in loss.dims:
        return [loss]
    split = str(drawn["split"].values) if "split" in drawn.coords else "all"
    return [loss.sel(split=split)] if split in loss["split"].values else []


def _of_one_split(data: xr.DataArray) -> xr.DataArray:
    """The loss on all pairs, or on the only split, with epoch as the first dimension."""
    data = over_epochs(data)
    if "split" not in data.dims:
        return data
    splits = [str(split) for split in data["split"].values]
    if "all" not in splits and len(splits) > 1:
        msg = f"{data.name} must have the split 'all' or a single split, got {', '.join(splits)}."
        raise ValueError(msg)
    return data.sel(split="all" if "all" in splits else splits[0])
