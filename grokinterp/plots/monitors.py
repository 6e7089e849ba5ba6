"""Quantities monitored during training, one panel each."""

from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import theme
from grokinterp.plots.curves import add_curve
from grokinterp.plots.data import as_dataset, over_epochs, present


# Dimensions with one line per label in a panel.
_OF_LINES: Final = ("parameter", "hook")
_DASHES: Final = ("solid", "dash", "dot", "dashdot")


def monitors(ds: xr.Dataset) -> go.Figure:
    """Plot every quantity in a Dataset over training, with one line per parameter or hook point.

    Args:
        ds: A trajectory, or the monitors logged in training. Variables over `epoch` alone, over (epoch, parameter)
            and over (epoch, hook) are drawn.

    Returns:
        A figure with one panel per variable, and one legend for parameters and hook points. Losses, gradients and
        sums of squares have logarithmic axes, on which values that are not positive are gaps.

    Raises:
        ValueError: If there is no such variable.

    Examples:
        >>> rank = xr.DataArray([[2.0, 1.0]], dims=("epoch", "parameter"), coords={"parameter": ["W_E", "W_U"]})
        >>> [line.name for line in monitors(xr.Dataset({"stable_rank": rank})).data]
        ['W_E', 'W_U']
    """
    drawn = [data for data in as_dataset(ds).data_vars.values() if "epoch" in data.dims and _lines_of(data) is not None]
    if not drawn:
        msg = (
            "the plot needs a variable over epoch alone, (epoch, parameter) or (epoch, hook), "
            f"got {', '.join(map(str, ds.data_vars)) or 'none'}."
        )
        raise ValueError(msg)
    columns = min(2, len(drawn))
    titles = [str(data.name).replace("_", " ").capitalize() for data in drawn]
    rows = -(-len(drawn) // columns)
    fig = theme.panels(
        titles, columns=columns, shared_xaxes="all", horizontal_spacing=0.1, vertical_spacing=min(0.16, 0.32 / rows)
    )
    seen: set[str] = set()
    for number, data in enumerate(drawn):
        panel = theme.row_col(number, columns)
        log_y = _is_logarithmic(data)
        _add(fig, data, seen, log_y=log_y, **panel)
        fig.update_yaxes(theme.log_axis() if log_y else {}, title_text=_wrapped(theme.title(data)), **panel)
    for number in range(len(drawn))[-columns:]:
        panel = theme.row_col(number, columns)
        fig.update_xaxes(title_text=theme.title(drawn[number]["epoch"]), showticklabels=True, **panel)
    fig.update_layout(legend={"y": 1.0, "tracegroupgap": 12, "groupclick": "toggleitem"})
    return theme.apply(fig, height=250 * rows + 110)


def _lines_of(data: xr.DataArray) -> str | None:
    """The dimension with one line per label, "" for a single line, None for a variable that is not drawn."""
    others = [str(dim) for dim in data.dims if dim != "epoch"]
    if not others:
        return ""
    return others[0] if len(others) == 1 and others[0] in _OF_LINES else None


def _is_logarithmic(data: xr.DataArray) -> bool:
    """Whether values span orders of magnitude; losses do, but entropies, which are also in nats, do not."""
    units = data.attrs.get("units")
    return units in {"weight^2", "nats/weight"} or (units == "nats" and "loss" in str(data.name))


def _add(fig: go.Figure, data: xr.DataArray, seen: set[str], *, log_y: bool, **panel: int) -> None:
    """Add the lines of one panel; each label appears in the legend once."""
    dim = _lines_of(data)
    curves = over_epochs(data)
    if not dim:
        lines = {"": (curves, {"color": theme.INK, "width": 1.8})}
    else:
        curves = present(curves, dim)
        styles = _styles(dim, [str(label) for label in curves[dim].values])
        lines = {name: (curves.sel({dim: name}), style) for name, style in styles.items()}
    for name, (curve, style) in lines.items():
        add_curve(
            fig,
            curve,
            log_y=log_y,
            name=name,
            line=style,
            legendgroup=dim or "",
            legendgrouptitle_text=theme.title(curves[dim]) if dim else None,
            showlegend=bool(name) and name not in seen,
            hovertemplate=f"{name or data.name}, epoch %{{x}}: %{{y:.3g}}<extra></extra>",
            **panel,
        )
        seen.add(name)


def _styles(dim: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The line style of each label: for parameters, the color shows the matrix, and the dash its layer or a bias."""
    if dim == "parameter":
        layers = {name: name.split(".")[1] if name.startswith("blocks.") else "0" for name in names}
        numbers = {layer: number for number, layer in enumerate(sorted(set(layers.values())))}
        dashes = {
            name: "dot" if "b_" in name or "W_pos" in name else _DASHES[numbers[layers[name]] % 2] for name in names
        }
        return {name: {"color": theme.matrix_color(name), "width": 1.8, "dash": dashes[name]} for name in names}
    count = len(theme.FREQUENCY)
    return {
        name: {"color": theme.FREQUENCY[i % count], "width": 1.8, "dash": _DASHES[i // count % len(_DASHES)]}
        for i, name in enumerate(names)
    }


def _wrapped(title: str) -> str:
    """Break a title in two if it would be longer than its axis."""
    words = title.split(" ")
    half = (len(words) + 1) // 2
    return title if len(title) <= 30 else " ".join(words[:half]) + "<br>" + " ".join(words[half:])
