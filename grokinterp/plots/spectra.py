"""The weights by frequency: at each epoch as bars, over all epochs as lines."""

from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import slider, theme
from grokinterp.plots.data import keys_of, named_keys, need, over_epochs, present, small
from grokinterp.plots.frequencies import add_frequencies


WAVES: Final = {"cos": "#1F4E79", "sin": "#7FB3D9"}


def spectrum(ds: xr.Dataset, *, keys: Sequence[int] | None = None) -> go.Figure:
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
    data = present(over_epochs(need(ds, "components")), "matrix")
    matrices = [str(matrix) for matrix in data["matrix"].values]
    names = [str(name) for name in data["component"].values]
    groups = _groups(names)
    marked = set(keys if keys is not None else named_keys(ds) or ())
    fig = theme.panels([f"Components of {m}" for m in matrices], columns=1, vertical_spacing=0.2)
    for row, matrix in enumerate(matrices, 1):
        where = theme.place(row - 1, columns=1)
        for wave, (x, columns) in groups.items():
            heights = data.sel(matrix=matrix).values[-1][columns]
            fig.add_bar(
                x=x,
                y=small(heights),
                name=wave,
                legendgroup=wave,
                offsetgroup="sin" if wave == "sin" else "cos",
                showlegend=row == 1 and len(groups) > 1,
                marker={"color": WAVES.get(wave, theme.QUIET), "line": {"width": 0}},
                hovertext=[names[i] for i in columns],
                hovertemplate="%{hovertext}: %{y:.3g}<extra></extra>",
                **where,
            )
        top = float(data.sel(matrix=matrix).max()) or 1.0
        fig.update_yaxes(title_text=theme.title(data), range=[0, top * 1.18], **where)
        for k in sorted(marked & set(groups.get("cos", ([], []))[0])):
            fig.add_annotation(x=k, y=top * 1.12, text=f"<b>{k}</b>", showarrow=False, font_size=11, **where)
            fig.add_vline(x=k, line={"color": theme.OTHER, "width": 1, "dash": "dot"}, layer="below", **where)
    fig.update_xaxes(
        title_text="frequency k (0: constant)" if "cos" in groups else "row of the basis", row=len(matrices)
    )
    frames = [
        [{"y": small(data.sel(matrix=matrix).values[i][at])} for matrix in matrices for _, at in groups.values()]
        for i in range(data.sizes["epoch"])
    ]
    slider.add(fig, data["epoch"].values.tolist(), frames)
    fig.update_layout(barmode="group", bargap=0.25, bargroupgap=0)
    fig.update_layout(legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"})
    return theme.apply(fig, height=620 if data.sizes["epoch"] > 1 else 540)


def spectrum_over_time(ds: xr.Dataset, *, keys: Sequence[int] | None = None) -> go.Figure:
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


def _groups(names: Sequence[str]) -> dict[str, tuple[list, list[int]]]:
    """For each group of bars, where they stand and which components they show."""
    words = [name.split(" ") for name in names]
    if not any(len(word) == 2 and word[0] in WAVES for word in words):
        # The rows of an irrep share its name; a bar of its own for each.
        numbered = [
            name if names.count(name) == 1 else f"{name} {names[:i].count(name) + 1}" for i, name in enumerate(names)
        ]
        return {"component": (numbered, list(range(len(names))))}
    groups: dict[str, tuple[list, list[int]]] = {}
    for index, word in enumerate(words):
        is_wave = len(word) == 2 and word[0] in WAVES
        x, columns = groups.setdefault(word[0] if is_wave else "constant", ([], []))
        # The constant at 0, and what else is no wave (the zero of multiplication) to the left of it.
        x.append(int(word[1]) if is_wave else -len(x))
        columns.append(index)
    return {wave: groups[wave] for wave in ("constant", "cos", "sin") if wave in groups}
