"""The curves of a sweep, a small panel for each setting."""

from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import theme
from grokinterp.plots.data import need, positive, small
from grokinterp.plots.grokking import texts


_NO_AXES: Final = ("seed", "epoch", "split")


def sweep_curves(ds: xr.Dataset, *, name: str = "accuracy", log_x: bool = False) -> go.Figure:
    """The train and test curves of every run of a sweep, with a panel for each value of its axes.

    Args:
        ds: Curves over the swept axes, `seed`, `epoch` and `split`, as `gi.sweeps.curves` gives them. NaN is no
            vertex, so that runs may be of different length and logged at different epochs.
        name: The variable that is drawn: `accuracy` or `loss`.
        log_x: Whether epochs are on a logarithmic axis; epoch 0 has no place on it.

    Returns:
        A figure with a panel per value, or, where two axes were swept, a grid: the second of them downwards. A value
        without a run has an empty panel.

    Raises:
        KeyError: If the variable is missing.
        ValueError: If more than two axes were swept, or the variable has no epochs.

    Examples:
        >>> dims, coords = ("weight_decay", "seed", "epoch", "split"), {"split": ["train", "test"]}
        >>> runs = xr.DataArray(np.ones((3, 2, 5, 2)), dims=dims, coords=coords)
        >>> len(sweep_curves(xr.Dataset({"accuracy": runs})).data)
        12
    """
    log_x = arguments.flag(log_x, "log_x")
    data = need(ds, name)
    axes = [str(dim) for dim in data.dims if dim not in _NO_AXES]
    if len(axes) > 2 or "epoch" not in data.dims:
        found = ", ".join(map(str, data.dims))
        msg = f"curves need epochs and at most two swept axes, got {found}; select values of the others."
        raise ValueError(msg)
    data = data if "seed" in data.dims else data.expand_dims("seed")
    data = data if "split" in data.dims else data.expand_dims(split=["test"])
    # The first axis goes along rows, so that its values are beside each other.
    by_row = axes[::-1]
    cells = [dict(zip(by_row, at, strict=True)) for at in np.ndindex(*(data.sizes[dim] for dim in by_row))]
    columns = data.sizes[axes[0]] if len(axes) == 2 else min(4, len(cells))
    # In a grid the first line says what its columns are, and the axes on the left what its rows are.
    titles = [_value(data, axes[0], cell) if axes else "All runs" for cell in cells]
    titles = [title if number < columns or len(axes) == 1 else "" for number, title in enumerate(titles)]
    rows = -(-len(cells) // columns)
    fig = theme.panels(
        titles,
        columns=columns,
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.12 / columns,
        vertical_spacing=0.1 / rows if len(axes) == 2 else min(0.14, 0.3 / rows),
    )
    log_y = data.attrs.get("units") == "nats"
    for number, cell in enumerate(cells):
        _add(fig, data.isel(cell), log_y=log_y, **theme.place(number, columns))
    named: set[str] = set()
    for trace in fig.data:
        trace.showlegend = trace.name not in named
        named.add(str(trace.name))
    fig.update_yaxes(theme.log_axis() if log_y else {"range": [-0.03, 1.03]})
    for number in range(0, len(cells), columns):
        row = _value(data, axes[1], cells[number]) + "<br>" if len(axes) == 2 else ""
        fig.update_yaxes(title_text=row + theme.title(data), row=number // columns + 1, col=1)
    fig.update_xaxes({**theme.log_axis()} if log_x else {"nticks": 4})
    fig.update_xaxes(title_text=theme.title(data["epoch"]), row=rows)
    height = 200 * rows + 140
    return theme.apply(theme.legend_on_top(fig, height), height=height)


def _value(data: xr.DataArray, axis: str, cell: dict[str, int]) -> str:
    """The name of an axis with its value in a cell."""
    said = f"{theme.name(data[axis])} {texts(data[axis].values)[cell[axis]]}"
    return said[:1].upper() + said[1:]


def _add(fig: go.Figure, data: xr.DataArray, *, log_y: bool, **where: int) -> None:
    """Add a thin line for each run and split."""
    data = data.transpose("seed", "split", "epoch")
    epochs = data["epoch"].values
    for split in [split for split in ("train", "test") if split in data["split"].values]:
        for curve in data.sel(split=split):
            is_vertex = ~np.isnan(curve.values)
            values: Any = curve.values[is_vertex]
            seed = curve["seed"].values if "seed" in curve.coords else ""
            fig.add_scatter(
                x=epochs[is_vertex],
                y=small(positive(values) if log_y else values),
                name=split,
                mode="lines" if is_vertex.sum() > 1 else "markers",
                line={"color": theme.SPLIT[split], "width": 1.2},
                opacity=0.8,
                legendgroup=split,
                hovertemplate=f"seed {seed}, {split}, epoch %{{x}}: %{{y:.3g}}<extra></extra>",
                **where,
            )
