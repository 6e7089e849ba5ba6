"""Curves of a run over the epochs, and published ones under them."""

from collections.abc import Iterable, Mapping

import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import theme
from grokinterp.plots.data import over_epochs, positive, present, small


def compared(ds: xr.Dataset, *, published: xr.Dataset | None = None, log_y: bool = True) -> go.Figure:
    """Each curve of a run and, dashed in its colour, the published one of the same name.

    A line is straight between the epochs at which its curve has numbers; at NaN it has no vertex.

    Args:
        ds: A trajectory, of which every variable over `epoch` alone is drawn; these have one unit.
        published: Curves over epochs of their own, by the names that they have in `ds`. Others are left out, so
            that one Dataset serves several figures.
        log_y: Whether curves are on a logarithmic axis, on which what is not above zero is a gap.

    Returns:
        A figure with a line for each curve of `ds`, and under it the published one where there is one.

    Raises:
        ValueError: If no variable of `ds` is over `epoch` alone, if they have several units, or if `published` has
            a curve for none of them.

    Examples:
        >>> ours = xr.Dataset({"loss": ("epoch", [4.0, 3.0, 1.0])}, coords={"epoch": [0, 1, 2]})
        >>> theirs = xr.Dataset({"loss": ("epoch", [4.0, float("nan"), 2.0])}, coords={"epoch": [0, 1, 3]})
        >>> compared(ours, published=theirs).data[0].x.tolist()
        [0, 3]
    """
    log_y = arguments.flag(log_y, "log_y")
    curves = _own(ds)
    theirs = {} if published is None else _published(published, curves)
    fig = go.Figure()
    colours = theme.curve_colours(curves)
    for name, curve in theirs.items():
        style = {"color": colours[name], "width": 1.2, "dash": "dash"}
        _add(fig, curve, f"{theme.name(curves[name])}, published", style, log_y=log_y, showlegend=False)
    for name, curve in curves.items():
        _add(fig, curve, theme.name(curve), {"color": colours[name], "width": 2.0}, log_y=log_y)
    if theirs:
        grey = {"color": theme.QUIET, "width": 1.2, "dash": "dash"}
        fig.add_scatter(x=[None], y=[None], mode="lines", line=grey, name="published (dashed)")
    drawn = list(curves.values())
    fig.update_xaxes(title_text=theme.title(drawn[0]["epoch"]))
    fig.update_yaxes(theme.log_axis() if log_y else {}, title_text=_title(drawn))
    fig.update_layout(hovermode="x unified", legend=theme.LEGEND_ABOVE | {"x": 1, "y": 1.01})
    return theme.apply(fig, height=400)


def _own(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    """The curves of a run, which can be drawn on one axis."""
    curves = _curves(ds)
    if not curves:
        msg = f"the plot needs a variable over epoch alone, got {_listed(ds.data_vars)}."
        raise ValueError(msg)
    units = {str(curve.attrs.get("units", "")) for curve in curves.values()}
    if len(units) > 1:
        msg = f"curves on one axis must have one unit, got {_listed(map(repr, sorted(units)))}; draw them apart."
        raise ValueError(msg)
    return curves


def _published(published: xr.Dataset, own: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """The published curves of the same names."""
    curves = {name: curve for name, curve in _curves(published).items() if name in own}
    if not curves:
        msg = f"published must have a curve of {_listed(own)}, got {_listed(published.data_vars)}."
        raise ValueError(msg)
    return curves


def _curves(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    """The variables over epochs alone, without the epochs at which they have no number, by name."""
    # In a snapshot, which has no epochs, they are the single numbers.
    alone = ("epoch",) if "epoch" in ds.dims else ()
    curves = {str(name): over_epochs(data) for name, data in ds.data_vars.items() if data.dims == alone}
    curves = {name: present(curve, "epoch") for name, curve in curves.items()}
    return {name: curve for name, curve in curves.items() if curve.size}


def _add(
    fig: go.Figure, curve: xr.DataArray, name: str, line: dict[str, object], *, log_y: bool, showlegend: bool = True
) -> None:
    fig.add_scatter(
        x=curve["epoch"].values,
        y=small(positive(curve.values) if log_y else curve.values),
        name=name,
        mode="lines" if curve.size > 1 else "markers",
        line=line,
        showlegend=showlegend,
        hovertemplate="%{y:.3g}",
    )


def _title(curves: list[xr.DataArray]) -> str:
    """What the names of all curves end in before a comma, such as `loss`, with units; else the units alone."""
    if len(curves) == 1:
        return theme.title(curves[0])
    kinds = {theme.name(curve).partition(",")[0].split(" ")[-1] for curve in curves}
    shared = curves[0].assign_attrs(long_name=kinds.pop())
    return theme.title(shared) if not kinds else str(shared.attrs.get("units", "")).replace("^2", "²")


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names)) or "none"
