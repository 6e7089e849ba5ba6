"""The same curves of several runs that differ by their seed."""

from typing import Final

import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import theme
from grokinterp.plots.data import positive, present, small


_LINE: Final = {"train": {"dash": "dot", "width": 1.4}, "test": {"dash": "solid", "width": 1.6}}


def over_seeds(ds: xr.Dataset) -> go.Figure:
    """Each curve of several runs over the epochs, with a line for each seed.

    Args:
        ds: Every variable over (`seed`, `epoch`) is drawn, and of one that is also over `split` train and test. NaN
            is no vertex, so that a run may be shorter than others.

    Returns:
        A figure with a panel per variable, and one legend of the seeds; where there are splits train is dotted. An
        axis in nats is logarithmic, and what is not above zero is a gap.

    Raises:
        ValueError: If no variable is over (seed, epoch).

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figures 2 and 18.

    Examples:
        >>> runs = xr.DataArray([[1.0, 0.1]] * 2, dims=("seed", "epoch"), coords={"seed": ["0", "0, perturbed"]})
        >>> [line.name for line in over_seeds(xr.Dataset({"loss": runs})).data]
        ['0', '0, perturbed']
    """
    drawn = [data for data in ds.data_vars.values() if {*data.dims} - {"split"} == {"seed", "epoch"}]
    if not drawn:
        msg = f"the plot needs a variable over (seed, epoch), got {', '.join(map(str, ds.data_vars)) or 'none'}."
        raise ValueError(msg)
    columns = len(drawn) if len(drawn) <= 3 else 2
    names = [theme.name(data) for data in drawn]
    titles = [name[:1].upper() + name[1:] for name in names]
    fig = theme.panels(titles, columns=columns, shared_xaxes="all", horizontal_spacing=0.09, vertical_spacing=0.14)
    for number, data in enumerate(drawn):
        where = theme.place(number, columns)
        log_y = data.attrs.get("units") == "nats"
        for split in _splits(data):
            curves = (data if split is None else data.sel(split=split)).transpose("seed", "epoch")
            for curve, colour in zip(curves, theme.seed_colours(curves.sizes["seed"]), strict=True):
                _add(fig, curve, split, colour, log_y=log_y, **where)
        fig.update_yaxes(theme.log_axis() if log_y else {}, title_text=theme.title(data), **where)
    rows = -(-len(drawn) // columns)
    fig.update_xaxes(title_text=theme.title(drawn[0]["epoch"]), row=rows)
    has_splits = any("split" in data.dims for data in drawn)
    _make_legend(fig, theme.title(drawn[0]["seed"]), has_splits=has_splits)
    return theme.apply(fig, height=300 * rows + 90)


def _splits(data: xr.DataArray) -> list[str | None]:
    """The splits that are drawn, train before test; None is the data without any."""
    if "split" not in data.dims:
        return [None]
    given = [str(split) for split in data["split"].values]
    return [split for split in _LINE if split in given] or [*given]


def _add(fig: go.Figure, data: xr.DataArray, split: str | None, colour: str, *, log_y: bool, **where: int) -> None:
    """Add the line of one run."""
    curve, seed = present(data, "epoch"), str(data["seed"].values)
    what = f"seed {seed}" if split is None else f"seed {seed}, {split}"
    fig.add_scatter(
        x=curve["epoch"].values,
        y=small(positive(curve.values) if log_y else curve.values),
        name=seed,
        legendgroup=seed,
        mode="lines" if curve.size > 1 else "markers",
        line={"color": colour, **_LINE.get(split or "test", _LINE["test"])},
        hovertemplate=f"{what}, epoch %{{x}}: %{{y:.3g}}<extra></extra>",
        **where,
    )


def _make_legend(fig: go.Figure, title: str, *, has_splits: bool) -> None:
    """Let the last line of each seed stand for all of them, and a grey one for each split."""
    last = {line.name: line for line in fig.data if len(line.x)}
    for line in fig.data:
        line.showlegend = line is last.get(line.name)
    for split, line in _LINE.items() if has_splits else ():
        fig.add_scatter(x=[None], y=[None], mode="lines", name=split, line={"color": theme.QUIET, **line})
    fig.update_layout(legend={"title": {"text": title, "font": {"size": 11}}, "y": 1.0, "tracegroupgap": 0})
