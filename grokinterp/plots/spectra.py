"""The weights and the attention's scores by frequency: at each epoch as bars, over all epochs as lines."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import slider, theme, waves
from grokinterp.plots.data import keys_of, named_keys, need, over_epochs, present, small
from grokinterp.plots.frequencies import add_frequencies


def spectrum(ds: xr.Dataset, *, keys: Iterable[int] | None = None) -> go.Figure:
    """The norm of each Fourier component of W_E and W_L, cosine and sine side by side.

    Args:
        ds: A snapshot or a trajectory with `components`.
        keys: Frequencies that are marked above their bars; default: those that the Dataset names, if any.

    Returns:
        A figure with a panel per matrix, and a slider where there are several epochs. The rows of a basis that
        has no cosines and sines, as of irreps, are bars one by one.

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
        where = theme.place(number, columns=1)
        fig.update_yaxes(title_text=theme.title(data), range=[0, (top or 1.0) * 1.18], **where)
        for k in sorted(marked):
            _mark(fig, k, (top or 1.0) * 1.12, where)
    fig.update_xaxes(title_text=_title_of(groups), row=len(matrices))
    return theme.apply(fig, height=620 if data.sizes["epoch"] > 1 else 540)


def score_components(ds: xr.Dataset) -> go.Figure:
    """What each head's attention score holds of each Fourier component, cosine and sine side by side.

    Args:
        ds: A snapshot or a trajectory with `score_components`.

    Returns:
        A figure with a panel per head, all on one scale, in which the frequency that is largest at the last epoch
        is marked, and a slider where there are several epochs. The rows of a basis that has no cosines and sines
        are bars one by one.

    Raises:
        KeyError: If `score_components` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, whose code has them as `W_attnf`.

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
    blocks = waves.rows_by_frequency(data["component"].values.tolist())
    for number, values in enumerate(data.values[-1] if blocks else ()):
        largest = max(blocks, key=lambda k: np.square(values[blocks[k]]).sum())
        _mark(fig, largest, high + room, theme.place(number, columns))
    fig.update_yaxes(range=[low - room / 2, high + 1.6 * room])
    fig.update_yaxes(title_text=theme.title(data), col=1)
    fig.update_xaxes(title_text=_title_of(groups), row=rows)
    return theme.apply(fig, height=250 * rows + 90 + (90 if fig.frames else 0))


def spectrum_over_time(ds: xr.Dataset, *, keys: Iterable[int] | None = None) -> go.Figure:
    """The norm of each frequency of W_E and W_L over the epochs, key frequencies coloured and the others grey.

    Args:
        ds: A trajectory with `spectrum`.
        keys: Default: those that the Dataset's measures were given, else the five largest at the last epoch.

    Returns:
        A figure with a panel per matrix.

    Raises:
        KeyError: If `spectrum` is missing.
    """
    data = present(over_epochs(need(ds, "spectrum")), "matrix")
    chosen = keys_of(ds, data, keys)
    matrices = [str(matrix) for matrix in data["matrix"].values]
    fig = theme.panels([f"Frequencies of {m}" for m in matrices], columns=2, shared_xaxes="all", horizontal_spacing=0.1)
    for column, matrix in enumerate(matrices, 1):
        add_frequencies(fig, data.sel(matrix=matrix), chosen, row=1, column=column, in_legend=column == 1)
    fig.update_xaxes(title_text=theme.title(data["epoch"]))
    fig.update_yaxes(title_text=theme.title(data), rangemode="tozero")
    return theme.apply(fig, height=400)


def _add_bars(fig: go.Figure, data: xr.DataArray, *, columns: int) -> dict[str, tuple[list[Any], list[int]]]:
    """Add the bars of data over (epoch, panel, component), with a slider where there are several epochs.

    Returns:
        For each group of bars, where they stand and which components they show.
    """
    names = [str(name) for name in data["component"].values]
    groups = waves.bars(names)
    for number, heights in enumerate(data.values[-1]):
        for group, (x, rows) in groups.items():
            fig.add_bar(
                x=x,
                y=small(heights[rows]),
                name=group,
                legendgroup=group,
                offsetgroup="sin" if group == "sin" else "cos",
                showlegend=number == 0 and len(groups) > 1,
                marker={"color": waves.COLOURS.get(group, theme.QUIET), "line": {"width": 0}},
                hovertext=[names[row] for row in rows],
                hovertemplate="%{hovertext}: %{y:.3g}<extra></extra>",
                **theme.place(number, columns),
            )
    frames = [
        [{"y": small(heights[rows])} for heights in panels for _, rows in groups.values()] for panels in data.values
    ]
    slider.add(fig, data["epoch"].values.tolist(), frames)
    fig.update_layout(barmode="group", bargap=0.25, bargroupgap=0)
    fig.update_layout(legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"})
    return groups


def _mark(fig: go.Figure, k: int, y: float, where: dict[str, Any]) -> None:
    """Write a frequency above its bars."""
    fig.add_annotation(x=k, y=y, text=f"<b>{k}</b>", showarrow=False, font_size=11, **where)
    fig.add_vline(x=k, line={"color": theme.OTHER, "width": 1, "dash": "dot"}, layer="below", **where)


def _title_of(groups: dict[str, tuple[list[Any], list[int]]]) -> str:
    return "frequency k (0: constant)" if "cos" in groups else "row of the basis"
