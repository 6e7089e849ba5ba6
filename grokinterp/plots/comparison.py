"""Curves of several runs: of a run and a publication, of seeds, and of the runs of a sweep."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import theme
from grokinterp.plots.curves import add_curve
from grokinterp.plots.data import as_dataset, need, over_epochs, present


_LINE: Final = {"train": {"dash": "dot", "width": 1.4}, "test": {"dash": "solid", "width": 1.6}}


def compared(ds: xr.Dataset, *, published: xr.Dataset | None = None, log_y: bool = True) -> go.Figure:
    """Plot each curve of a run and, dashed in the same color, the published curve of the same name.

    Each line connects the epochs at which its curve has values, and skips NaN.

    Args:
        ds: A trajectory. Every variable over `epoch` alone is drawn, and all must share one unit.
        published: Published curves with their own epochs, named as in `ds`. Curves with other names are ignored, so
            one Dataset can serve several figures.
        log_y: Use a logarithmic vertical axis, on which values that are not positive are gaps.

    Returns:
        A figure with one panel.

    Raises:
        ValueError: If no variable of `ds` is over `epoch` alone, if units differ, or if `published` has no curve with
            the name of one in `ds`.

    Examples:
        >>> ours = xr.Dataset({"loss": ("epoch", [4.0, 3.0, 1.0])}, coords={"epoch": [0, 1, 2]})
        >>> paper = xr.Dataset({"loss": ("epoch", [4.0, float("nan"), 2.0])}, coords={"epoch": [0, 1, 3]})
        >>> compared(ours, published=paper).data[0].x.tolist()
        [0, 3]
    """
    log_y = arguments.flag(log_y, "log_y")
    curves = _curves(ds)
    if not curves:
        msg = f"the plot needs a variable over epoch alone, got {_listed(ds.data_vars)}."
        raise ValueError(msg)
    units = {str(curve.attrs.get("units", "")) for curve in curves.values()}
    if len(units) > 1:
        msg = f"curves on one axis must have one unit, got {_listed(map(repr, sorted(units)))}; plot them separately."
        raise ValueError(msg)
    reference = {} if published is None else _published(published, curves)
    fig = go.Figure()
    colors = theme.curve_colors(curves)
    for name, curve in reference.items():
        trace = {"name": f"{theme.name(curves[name])}, published", "hovertemplate": "%{y:.3g}", "showlegend": False}
        line = {"color": colors[name], "width": 1.2, "dash": "dash"}
        add_curve(fig, curve, log_y=log_y, line=line, **trace)
    for name, curve in curves.items():
        trace = {"name": theme.name(curve), "hovertemplate": "%{y:.3g}", "showlegend": True}
        add_curve(fig, curve, log_y=log_y, line={"color": colors[name], "width": 2.0}, **trace)
    if reference:
        line = {"color": theme.QUIET, "width": 1.2, "dash": "dash"}
        fig.add_scatter(x=[None], y=[None], mode="lines", line=line, name="published (dashed)")
    drawn = list(curves.values())
    fig.update_xaxes(title_text=theme.title(drawn[0]["epoch"]))
    fig.update_yaxes(theme.log_axis() if log_y else {}, title_text=_shared_title(drawn))
    fig.update_layout(hovermode="x unified", legend=theme.LEGEND_ABOVE | {"x": 1, "y": 1.01})
    return theme.apply(fig, height=400)


def over_seeds(ds: xr.Dataset) -> go.Figure:
    """Plot curves over training with one line per seed.

    Args:
        ds: Every variable over (seed, epoch) is drawn; if it also has `split`, train and test are. NaN is skipped, so
            runs may differ in length.

    Returns:
        A figure with one panel per variable and one legend for the seeds. Train is dotted. An axis in nats is
        logarithmic, and values on it that are not positive are gaps.

    Raises:
        ValueError: If no variable is over (seed, epoch).

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figures 2 and 18.

    Examples:
        >>> runs = xr.DataArray([[1.0, 0.1]] * 2, dims=("seed", "epoch"), coords={"seed": ["0", "0, perturbed"]})
        >>> [line.name for line in over_seeds(xr.Dataset({"loss": runs})).data]
        ['0', '0, perturbed']
    """
    drawn = [data for data in as_dataset(ds).data_vars.values() if {*data.dims} - {"split"} == {"seed", "epoch"}]
    if not drawn:
        msg = f"the plot needs a variable over (seed, epoch), got {_listed(ds.data_vars)}."
        raise ValueError(msg)
    columns = len(drawn) if len(drawn) <= 3 else 2
    titles = [name[:1].upper() + name[1:] for name in map(theme.name, drawn)]
    fig = theme.panels(titles, columns=columns, shared_xaxes="all", horizontal_spacing=0.09, vertical_spacing=0.14)
    for number, data in enumerate(drawn):
        panel = theme.row_col(number, columns)
        log_y = data.attrs.get("units") == "nats"
        for split in _splits(data):
            curves = (data if split is None else data.sel(split=split)).transpose("seed", "epoch")
            line = _LINE.get(split or "test", _LINE["test"])
            for curve, color in zip(curves, theme.seed_colors(curves.sizes["seed"]), strict=True):
                seed = str(curve["seed"].values)
                hover = f"seed {seed}" + (f", {split}" if split else "") + ", epoch %{x}: %{y:.3g}<extra></extra>"
                trace = {"name": seed, "legendgroup": seed, "line": {"color": color, **line}, "hovertemplate": hover}
                add_curve(fig, present(curve, "epoch"), log_y=log_y, **trace, **panel)
        fig.update_yaxes(theme.log_axis() if log_y else {}, title_text=theme.title(data), **panel)
    rows = -(-len(drawn) // columns)
    fig.update_xaxes(title_text=theme.title(drawn[0]["epoch"]), row=rows)
    # A seed's last line stands for all its lines in the legend, and a gray line for each split.
    last = {line.name: line for line in theme.traces(fig) if len(line.x)}
    for line in theme.traces(fig):
        line.showlegend = line is last.get(line.name)
    for split, line in _LINE.items() if any("split" in data.dims for data in drawn) else ():
        fig.add_scatter(x=[None], y=[None], mode="lines", name=split, line={"color": theme.QUIET, **line})
    legend = {"title": {"text": theme.title(drawn[0]["seed"]), "font": {"size": 11}}, "y": 1.0, "tracegroupgap": 0}
    return theme.apply(fig.update_layout(legend=legend), height=300 * rows + 90)


def sweep_curves(ds: xr.Dataset, *, name: str = "accuracy", log_x: bool = False) -> go.Figure:
    """Plot the train and test curves of every run of a sweep, with one panel per setting.

    Args:
        ds: Curves over the swept axes, `seed`, `epoch` and `split`, from `gi.sweeps.curves`. NaN is skipped, so runs
            may differ in length and in the epochs logged.
        name: Variable to draw: `accuracy` or `loss`.
        log_x: Use a logarithmic epoch axis, which omits epoch 0.

    Returns:
        A figure with one panel per value or, for two swept axes, a grid whose rows are the values of the second axis.
        A setting without a run has an empty panel.

    Raises:
        KeyError: If the variable is missing.
        ValueError: If there are more than two swept axes, or the variable has no epochs.

    Examples:
        >>> dims, coords = ("weight_decay", "seed", "epoch", "split"), {"split": ["train", "test"]}
        >>> runs = xr.DataArray(np.ones((3, 2, 5, 2)), dims=dims, coords=coords)
        >>> len(sweep_curves(xr.Dataset({"accuracy": runs})).data)
        12
    """
    log_x = arguments.flag(log_x, "log_x")
    data = need(ds, name)
    axes = [str(dim) for dim in data.dims if dim not in {"seed", "epoch", "split"}]
    if len(axes) > 2 or "epoch" not in data.dims:
        msg = f"curves need epochs and at most two swept axes, got {_listed(data.dims)}; select values of the others."
        raise ValueError(msg)
    data = data if "seed" in data.dims else data.expand_dims("seed")
    data = data if "split" in data.dims else data.expand_dims(split=["test"])
    # The first axis runs along rows, so that its values are next to each other.
    by_row = axes[::-1]
    cells = [dict(zip(by_row, index, strict=True)) for index in np.ndindex(*(data.sizes[dim] for dim in by_row))]
    columns = data.sizes[axes[0]] if len(axes) == 2 else min(4, len(cells))
    # In a grid, titles name the columns in the first row, and the vertical axes on the left name the rows.
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
        _add_runs(fig, data.isel(cell), log_y=log_y, **theme.row_col(number, columns))
    named: set[str] = set()
    for trace in theme.traces(fig):
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


def _published(published: xr.Dataset, own: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """The published curves that share a name with a curve of the run."""
    curves = {name: curve for name, curve in _curves(published).items() if name in own}
    if not curves:
        msg = f"published must have a curve named {' or '.join(own)}, got {_listed(published.data_vars)}."
        raise ValueError(msg)
    return curves


def _curves(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    """The variables over epoch alone, by name, without NaN."""
    # A snapshot has no epochs; its scalars are the curves.
    alone = ("epoch",) if "epoch" in as_dataset(ds).dims else ()
    curves = {str(name): over_epochs(data) for name, data in ds.data_vars.items() if data.dims == alone}
    curves = {name: present(curve, "epoch") for name, curve in curves.items()}
    return {name: curve for name, curve in curves.items() if curve.size}


def _shared_title(curves: list[xr.DataArray]) -> str:
    """The last word, e.g. `loss`, that all names share before a comma, with units; otherwise only the units."""
    if len(curves) == 1:
        return theme.title(curves[0])
    kinds = {theme.name(curve).partition(",")[0].split(" ")[-1] for curve in curves}
    shared = curves[0].assign_attrs(long_name=kinds.pop())
    return theme.title(shared) if not kinds else str(shared.attrs.get("units", "")).replace("^2", "²")


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names)) or "none"


def _splits(data: xr.DataArray) -> list[str | None]:
    """The splits to draw, train before test; None for data without splits."""
    if "split" not in data.dims:
        return [None]
    given = [str(split) for split in data["split"].values]
    return [split for split in _LINE if split in given] or [*given]


def _value(data: xr.DataArray, axis: str, cell: dict[str, int]) -> str:
    """An axis name with its value in a cell of the grid, capitalized."""
    label = f"{theme.name(data[axis])} {theme.tick_labels(data[axis].values)[cell[axis]]}"
    return label[:1].upper() + label[1:]


def _add_runs(fig: go.Figure, data: xr.DataArray, *, log_y: bool, **panel: Any) -> None:
    """Add a thin line for each run and split."""
    data = data.transpose("seed", "split", "epoch")
    for split in [split for split in ("train", "test") if split in data["split"].values]:
        for curve in data.sel(split=split):
            seed = curve["seed"].values if "seed" in curve.coords else ""
            hover = f"seed {seed}, {split}, epoch %{{x}}: %{{y:.3g}}<extra></extra>"
            trace = {"name": split, "legendgroup": split, "opacity": 0.8, "hovertemplate": hover}
            line = {"color": theme.SPLIT[split], "width": 1.2}
            add_curve(fig, present(curve, "epoch"), log_y=log_y, line=line, **trace, **panel)
