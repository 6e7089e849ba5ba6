"""Quantities by frequency: bars of Fourier components, and a line per frequency over training."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import theme
from grokinterp.plots.curves import add_curve
from grokinterp.plots.data import (
    COLORS,
    bars,
    keys_of,
    named_keys,
    need,
    over_epochs,
    present,
    rows_by_frequency,
    small,
)


def spectrum(ds: xr.Dataset, *, keys: Iterable[int] | None = None) -> go.Figure:
    """Plot the norm of each Fourier component of W_E and W_L, with cosine and sine side by side.

    Args:
        ds: A snapshot or a trajectory with `components`.
        keys: Frequencies to label above their bars; default: the key frequencies stored in the Dataset, if any.

    Returns:
        A figure with one panel per matrix, and a slider if there are several epochs. In a basis without cosines and
        sines, e.g. of irreps, each row has its own bar.

    Raises:
        KeyError: If `components` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 3.
    """
    data = present(over_epochs(need(ds, "components")), "matrix").transpose("epoch", "matrix", "component")
    matrices = [str(matrix) for matrix in data["matrix"].values]
    fig = theme.panels([f"Components of {m}" for m in matrices], columns=1, vertical_spacing=0.2)
    groups = _add_bars(fig, data, columns=1)
    chosen = (named_keys(ds) or ()) if keys is None else keys
    marked = {*arguments.integers(chosen, "keys", minimum=1, may_be_empty=True)} & set(groups.get("cos", ([], []))[0])
    for number, top in enumerate(data.max(["epoch", "component"]).values.tolist()):
        panel = theme.row_col(number, columns=1)
        fig.update_yaxes(title_text=theme.title(data), range=[0, (top or 1.0) * 1.18], **panel)
        for k in sorted(marked):
            _mark(fig, k, (top or 1.0) * 1.12, panel)
    fig.update_xaxes(title_text=_axis_title(groups), row=len(matrices))
    return theme.apply(fig, height=620 if data.sizes["epoch"] > 1 else 540)


def score_components(ds: xr.Dataset) -> go.Figure:
    """Plot the Fourier components of each head's attention scores, with cosine and sine side by side.

    Args:
        ds: A snapshot or a trajectory with `score_components`.

    Returns:
        A figure with one panel per head, all on one scale, and a slider if there are several epochs. The frequency
        that is largest at the last epoch is labeled. In a basis without cosines and sines, each row has its own bar.

    Raises:
        KeyError: If `score_components` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217; called `W_attnf` in their code.

    Examples:
        >>> names = ["const", "cos 1", "sin 1", "cos 2", "sin 2"]
        >>> scores = xr.DataArray(
        ...     [[9.0, 3.0, -4.0, 1.0, 0.0]], dims=("head", "component"), coords={"component": names}
        ... )
        >>> [note.text for note in score_components(xr.Dataset({"score_components": scores})).layout.annotations]
        ['<b>Head 0</b>', '<b>1</b>']
    """
    data = present(over_epochs(need(ds, "score_components")), "head").transpose("epoch", "head", "component")
    heads = data["head"].values.tolist()
    columns = min(len(heads), 2)
    rows = -(-len(heads) // columns)
    fig = theme.panels(
        [f"Head {head}" for head in heads],
        columns=columns,
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.04,
        vertical_spacing=0.12,
    )
    groups = _add_bars(fig, data, columns=columns)
    low, high = min(float(data.min()), 0.0), max(float(data.max()), 0.0)
    room = 0.1 * (high - low) or 1.0
    blocks = rows_by_frequency(data["component"].values.tolist())
    for number, values in enumerate(data.values[-1] if blocks else ()):
        largest = max(blocks, key=lambda k: np.square(values[blocks[k]]).sum())
        _mark(fig, largest, high + room, theme.row_col(number, columns))
    fig.update_yaxes(range=[low - room / 2, high + 1.6 * room])
    fig.update_yaxes(title_text=theme.title(data), col=1)
    fig.update_xaxes(title_text=_axis_title(groups), row=rows)
    return theme.apply(fig, height=250 * rows + 90 + (90 if fig.frames else 0))


def spectrum_over_time(ds: xr.Dataset, *, keys: Iterable[int] | None = None) -> go.Figure:
    """Plot the norm of each frequency of W_E and W_L over training, with key frequencies in color, the others in gray.

    Args:
        ds: A trajectory with `spectrum`.
        keys: Key frequencies; default: those used to compute the Dataset, or the five largest at the last epoch.

    Returns:
        A figure with one panel per matrix.

    Raises:
        KeyError: If `spectrum` is missing.
    """
    data = present(over_epochs(need(ds, "spectrum")), "matrix")
    chosen = keys_of(ds, data, keys)
    matrices = [str(matrix) for matrix in data["matrix"].values]
    fig = theme.panels([f"Frequencies of {m}" for m in matrices], columns=2, shared_xaxes="all", horizontal_spacing=0.1)
    for column, matrix in enumerate(matrices, 1):
        _add_frequencies(fig, data.sel(matrix=matrix), chosen, column=column, in_legend=column == 1)
    fig.update_xaxes(title_text=theme.title(data["epoch"]))
    fig.update_yaxes(title_text=theme.title(data), rangemode="tozero")
    return theme.apply(fig, height=400)


def logit_fve(ds: xr.Dataset, *, keys: Iterable[int] | None = None) -> go.Figure:
    """Plot the fraction of logit variance explained by cos(w_k(a+b-c)) for each frequency over training.

    Args:
        ds: A trajectory with `logit_fve`.
        keys: Key frequencies; default: those used to compute the Dataset, or the five largest at the last epoch.

    Returns:
        A figure with one line per frequency, and one for the sum over the keys.

    Raises:
        KeyError: If `logit_fve` is missing.

    Examples:
        >>> fve = xr.DataArray([[0.7, 0.2]], dims=("epoch", "frequency"), coords={"frequency": [1, 2]})
        >>> [line.name for line in logit_fve(xr.Dataset({"logit_fve": fve}), keys=[1]).data]
        ['others', 'k = 1', 'all keys']
    """
    data = present(over_epochs(need(ds, "logit_fve")), "frequency")
    chosen = [k for k in keys_of(ds, data, keys) if k in data["frequency"].values]
    total = "all keys" if keys is not None or named_keys(ds) is not None else "all in color"
    fig = theme.panels(["Fraction of logit variance explained by each frequency"], columns=1)
    _add_frequencies(fig, data, chosen)
    line = {"color": theme.INK, "width": 1.8, "dash": "dash"}
    hover = f"{total}, epoch %{{x}}: %{{y:.3g}}<extra></extra>"
    of_keys = data.sel(frequency=chosen).sum("frequency")
    add_curve(fig, of_keys, name=total, line=line, legendrank=9_999, hovertemplate=hover)
    fig.update_xaxes(title_text=theme.title(data["epoch"]))
    fig.update_yaxes(title_text=theme.title(data), range=[-0.02, 1.03])
    return theme.apply(fig, height=400)


def excluded_by_frequency(ds: xr.Dataset, *, keys: Iterable[int] | None = None) -> go.Figure:
    """Plot the loss with one frequency ablated at a time over training: how much the model relies on each.

    Args:
        ds: A trajectory with `excluded_loss_by_frequency`. If `loss` is present, it is drawn for comparison.
        keys: Key frequencies; default: those used to compute the Dataset, or the five largest at the last epoch.

    Returns:
        A figure with one line per frequency on a logarithmic axis. A loss of zero is a gap.

    Raises:
        KeyError: If `excluded_loss_by_frequency` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 15.
    """
    data = present(over_epochs(need(ds, "excluded_loss_by_frequency")), "frequency")
    chosen = [k for k in keys_of(ds, data, keys) if k in data["frequency"].values]
    fig = theme.panels(["Loss without one frequency"], columns=1)
    _add_frequencies(fig, data, chosen, log_y=True)
    for split in ("train", "test") if "loss" in ds else ():
        line = {"color": theme.SPLIT[split], "width": 1.6, "dash": "dot"}
        hover = f"{split} loss, epoch %{{x}}: %{{y:.3g}}<extra></extra>"
        trace = {"name": f"{split} loss", "line": line, "legendrank": 20_000, "hovertemplate": hover}
        add_curve(fig, over_epochs(ds["loss"]).sel(split=split), log_y=True, **trace)
    fig.update_xaxes(title_text=theme.title(data["epoch"]))
    fig.update_yaxes(title_text=theme.title(data), **theme.log_axis())
    return theme.apply(fig, height=420)


def _add_frequencies(
    fig: go.Figure,
    data: xr.DataArray,
    keys: Sequence[int],
    *,
    column: int = 1,
    in_legend: bool = True,
    log_y: bool = False,
) -> None:
    """Add one line per frequency to a panel: keys in color, in front of the others in gray."""
    colors = theme.frequency_colors(keys)
    frequencies = [int(k) for k in data["frequency"].values]
    others = [k for k in frequencies if k not in colors]
    for k in others + [k for k in frequencies if k in colors]:
        is_key = k in colors
        add_curve(
            fig,
            data.sel(frequency=k),
            log_y=log_y,
            name=f"k = {k}" if is_key else "others",
            line={"color": colors.get(k, theme.OTHER), "width": 2.0 if is_key else 0.8},
            legendgroup=str(k) if is_key else "others",
            legendrank=k if is_key else 10_000,
            showlegend=in_legend and (is_key or k == others[0]),
            hovertemplate=f"k = {k}, epoch %{{x}}: %{{y:.3g}}<extra></extra>",
            row=1,
            col=column,
        )


def _add_bars(fig: go.Figure, data: xr.DataArray, *, columns: int) -> dict[str, tuple[list[Any], list[int]]]:
    """Add bars for data over (epoch, panel, component), with a slider if there are several epochs.

    Returns:
        The positions and the rows of the basis of each group of bars.
    """
    names = [str(name) for name in data["component"].values]
    groups = bars(names)
    for number, heights in enumerate(data.values[-1]):
        for group, (x, rows) in groups.items():
            fig.add_bar(
                x=x,
                y=small(heights[rows]),
                name=group,
                legendgroup=group,
                offsetgroup="sin" if group == "sin" else "cos",
                showlegend=number == 0 and len(groups) > 1,
                marker={"color": COLORS.get(group, theme.QUIET), "line": {"width": 0}},
                hovertext=[names[row] for row in rows],
                hovertemplate="%{hovertext}: %{y:.3g}<extra></extra>",
                **theme.row_col(number, columns),
            )
    frames = [
        [{"y": small(heights[rows])} for heights in panels for _, rows in groups.values()] for panels in data.values
    ]
    theme.add_slider(fig, data["epoch"].values.tolist(), frames)
    fig.update_layout(barmode="group", bargap=0.25, bargroupgap=0)
    fig.update_layout(legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"})
    return groups


def _mark(fig: go.Figure, k: int, y: float, panel: dict[str, Any]) -> None:
    """Label a frequency above its bars."""
    fig.add_annotation(x=k, y=y, text=f"<b>{k}</b>", showarrow=False, font_size=11, **panel)
    fig.add_vline(x=k, line={"color": theme.OTHER, "width": 1, "dash": "dot"}, layer="below", **panel)


def _axis_title(groups: dict[str, tuple[list[Any], list[int]]]) -> str:
    return "frequency k (0: constant)" if "cos" in groups else "row of the basis"
