"""What single frequencies do to the loss: without each of them, and with it alone."""

from typing import Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import slider, theme
from grokinterp.plots.data import need, over_epochs, positive, present, small


# Their names, their colours, as of the excluded and of the restricted loss, and where they stand beside the frequency.
_KINDS: Final = {
    "loss_without": ("without the frequency", theme.MEASURE["excluded"], -0.1),
    "loss_alone": ("the frequency alone", theme.MEASURE["restricted"], 0.1),
}


def effects(ds: xr.Dataset) -> go.Figure:
    """The loss without each frequency, and with each frequency alone, on a logarithmic axis.

    Such an axis has no zero for bars to stand on. Losses are points, on stems that come from the loss of the whole
    model: the length of a stem is the factor by which the loss has changed.

    Args:
        ds: A snapshot or a trajectory with `loss_without` and `loss_alone`; `loss`, where it is there, is that of
            the whole model. Of several splits `all` is drawn, and `loss` of the same.

    Returns:
        A figure with two points per frequency, and a slider where there are several epochs. A loss of zero has no
        point.

    Raises:
        KeyError: If `loss_without` or `loss_alone` is missing.
        ValueError: If a loss has several splits, and none of them is `all`.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 6.

    Examples:
        >>> loss = xr.DataArray([0.1, 2.0], dims="frequency", coords={"frequency": [3, 14]})
        >>> figure = effects(xr.Dataset({"loss_without": loss, "loss_alone": 10 * loss}))
        >>> figure.data[1].y.tolist(), figure.layout.xaxis.ticktext
        ([1.0, 20.0], ('3', '14'))
    """
    found = [present(_of_one_split(need(ds, name)), "frequency") for name in _KINDS]
    losses = [data.transpose("epoch", "frequency") for data in xr.align(*found, join="outer")]
    whole = _of_whole_model(ds, losses[0])
    frequencies = [int(k) for k in losses[0]["frequency"].values]
    frames = [
        _heights([data.values[epoch] for data in losses], *(data.values[epoch] for data in whole))
        for epoch in range(losses[0].sizes["epoch"])
    ]
    fig = theme.panels(["Loss by frequency"], columns=1)
    for trace, change in zip(_traces(frequencies, with_stems=bool(whole)), frames[-1], strict=True):
        fig.add_trace(trace.update(change))
    step = -(-len(frequencies) // 30)
    ticks = {"tickvals": list(range(len(frequencies)))[::step], "ticktext": [str(k) for k in frequencies[::step]]}
    fig.update_xaxes(title_text="frequency k", range=[-0.6, len(frequencies) - 0.4], showgrid=False, **ticks)
    limits = _limits(np.concatenate([data.values.ravel() for data in [*losses, *whole]]))
    fig.update_yaxes(theme.log_axis(), title_text=theme.title(losses[0]), range=limits)
    fig.update_layout(legend=theme.LEGEND_ABOVE | {"x": 1, "y": 1})
    slider.add(fig, losses[0]["epoch"].values.tolist(), frames)
    return theme.apply(fig, height=520 if fig.frames else 430)


def _traces(frequencies: list[int], *, with_stems: bool) -> list[go.Scatter]:
    """The line of the whole model, then stems and points of each kind; without the line no stems either."""
    x = np.arange(len(frequencies))
    is_dense = len(x) > 20
    traces = []
    if with_stems:
        line = {"color": theme.QUIET, "width": 1.4, "dash": "dot"}
        read = "the whole model: %{y:.3g}<extra></extra>"
        ends = [-0.6, len(x) - 0.4]
        traces.append(go.Scatter(x=ends, mode="lines", line=line, name="the whole model", hovertemplate=read))
    for name, colour, beside in _KINDS.values():
        stem = {"color": colour, "width": 1.2 if is_dense else 2.4}
        if with_stems:
            quiet = {"opacity": 0.45, "hoverinfo": "skip", "showlegend": False}
            traces.append(go.Scatter(x=np.repeat(x + beside, 3), mode="lines", line=stem, **quiet))
        dot = {"color": colour, "size": 6 if is_dense else 11}
        read = f"k = %{{customdata}}, {name}: %{{y:.3g}}<extra></extra>"
        traces.append(
            go.Scatter(x=x + beside, mode="markers", marker=dot, name=name, customdata=frequencies, hovertemplate=read)
        )
    return traces


def _heights(losses: list[np.ndarray], whole: float | None = None) -> list[dict[str, np.ndarray]]:
    """What changes in the traces from epoch to epoch."""
    points = [positive(loss) for loss in losses]
    if whole is None:
        return [{"y": small(y)} for y in points]
    base = float(positive(whole))
    # From the loss of the whole model to the point; a gap parts it from the next.
    stems = [np.stack([np.full_like(y, base), y, np.full_like(y, np.nan)], axis=1).ravel() for y in points]
    pairs = [{"y": small(y)} for pair in zip(stems, points, strict=True) for y in pair]
    return [{"y": small([base, base])}, *pairs]


def _limits(losses: np.ndarray) -> list[float] | None:
    """A little more than all losses of all epochs, as powers of ten."""
    found = losses[losses > 0]
    if not found.size:
        return None
    low, high = np.log10(found.min()), np.log10(found.max())
    room = 0.05 * (high - low) + 0.1
    return [float(low - room), float(high + room)]


def _of_whole_model(ds: xr.Dataset, drawn: xr.DataArray) -> list[xr.DataArray]:
    """The loss of the whole model on the pairs of what is drawn, where the Dataset has it."""
    if "loss" not in ds:
        return []
    loss = over_epochs(ds["loss"])
    if "split" not in loss.dims:
        return [loss]
    split = str(drawn["split"].values) if "split" in drawn.coords else "all"
    return [loss.sel(split=split)] if split in loss["split"].values else []


def _of_one_split(data: xr.DataArray) -> xr.DataArray:
    """The loss of all pairs, or of the one split that there is, over epochs first."""
    data = over_epochs(data)
    if "split" not in data.dims:
        return data
    splits = [str(split) for split in data["split"].values]
    if "all" not in splits and len(splits) > 1:
        msg = f"{data.name} must have the split 'all', or one split, got {', '.join(splits)}."
        raise ValueError(msg)
    return data.sel(split="all" if "all" in splits else splits[0])
