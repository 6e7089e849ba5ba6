"""How the pictures look: one colour for each thing wherever it is drawn, and a quiet frame around it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from grokinterp import labels


# Of Okabe and Ito, and of Paul Tol: told apart under every common colour blindness, and dark enough on white.
SPLIT: Final[Mapping[str, str]] = {"train": "#0072B2", "test": "#D55E00", "all": "#595959"}
MEASURE: Final[Mapping[str, str]] = {"excluded": "#AA3377", "restricted": "#228833", "trig": "#CC9900"}
MATRIX: Final[Mapping[str, str]] = {
    "W_E": "#332288",
    "W_pos": "#88CCEE",
    "W_Q": "#117733",
    "W_K": "#44AA99",
    "W_V": "#999933",
    "W_O": "#661100",
    "W_in": "#CC6677",
    "W_out": "#882255",
    "W_U": "#DDAA33",
    "W_L": "#CC6677",
}
FREQUENCY: Final[Sequence[str]] = (
    "#4477AA",
    "#EE6677",
    "#228833",
    "#CCBB44",
    "#AA3377",
    "#66CCEE",
    "#EE7733",
    "#332288",
    "#999933",
    "#882255",
)
OTHER: Final = "#C9CDD2"
PHASE: Final[Mapping[str, str]] = {"memorization": "#E8ECF1", "circuit formation": "#FCEFD2", "cleanup": "#DDF0E0"}

INK: Final = "#24292F"
QUIET: Final = "#6E7781"
GRID: Final = "#EAEDF0"

# From nothing (white) to much; and from below zero (blue) over white to above (red).
SEQUENTIAL: Final = ["#FFFFFF", "#D5E5F3", "#93C0DF", "#3F8AC2", "#125699", "#08254F"]
DIVERGING: Final = ["#053061", "#2F79B5", "#92C5DE", "#F7F7F7", "#F4A582", "#CA4842", "#67001F"]
RESIDUE: Final = "Viridis"

_AXIS: Final = {
    "gridcolor": GRID,
    "linecolor": "#AFB8C1",
    "showline": True,
    "zeroline": False,
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": "#AFB8C1",
    "tickfont": {"size": 11, "color": QUIET},
    "title": {"font": {"size": 12}, "standoff": 8},
    "automargin": True,
}
LEGEND_ABOVE: Final = {
    "orientation": "h",
    "xanchor": "right",
    "yanchor": "bottom",
    "font": {"size": 11},
    "bgcolor": "rgba(255,255,255,0)",
}
TEMPLATE: Final = go.layout.Template(
    layout={
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif", "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": list(FREQUENCY),
        "margin": {"l": 64, "r": 24, "t": 64, "b": 52},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"font": {"size": 11}, "bgcolor": "rgba(255,255,255,0.75)"},
        "hoverlabel": {"bgcolor": "white", "bordercolor": "#AFB8C1", "font": {"size": 12, "color": INK}},
        "bargap": 0.15,
        "coloraxis": {"colorbar": {"thickness": 12, "outlinewidth": 0, "tickfont": {"size": 11, "color": QUIET}}},
    }
)


def apply(fig: go.Figure, *, height: int = 420) -> go.Figure:
    """Give a figure the look of this package; plotly's own templates stay as they are.

    Args:
        fig: Is changed.
        height: In pixels.

    Returns:
        The same figure.

    Examples:
        >>> apply(go.Figure(), height=300).layout.height
        300
    """
    return fig.update_layout(template=TEMPLATE, height=height)


def panels(titles: Sequence[str], *, columns: int, **layout: Any) -> go.Figure:
    """An empty figure of panels, each with its title above its left corner.

    Args:
        titles: Of the panels, row by row.
        columns: Panels in a row.
        **layout: Goes to plotly's `make_subplots`.

    Returns:
        The figure.

    Examples:
        >>> len(panels(["loss", "accuracy"], columns=2).layout.annotations)
        2
    """
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    fig = make_subplots(rows=rows, cols=columns, subplot_titles=list(titles), **layout)
    places = [(row, column) for row in range(1, rows + 1) for column in range(1, columns + 1)]
    for (row, column), title in zip(places, fig.layout.annotations, strict=False):
        left = axes(fig, row, column).xaxis.domain[0]
        title.update(x=left, xanchor="left", font={"size": 13, "color": INK}, text=f"<b>{title.text}</b>", yshift=4)
    for row, column in places[len(titles) :]:
        fig.update_xaxes(visible=False, row=row, col=column)
        fig.update_yaxes(visible=False, row=row, col=column)
    return fig


def place(number: int, columns: int) -> dict[str, Any]:
    """Row and column of a panel, both counted from 1, by its number, counted from 0.

    Examples:
        >>> place(3, columns=2)
        {'row': 2, 'col': 2}
    """
    return {"row": number // columns + 1, "col": number % columns + 1}


def axes(fig: go.Figure, row: int, col: int) -> Any:
    """The axes of a panel, as `xaxis` and `yaxis`."""
    return fig.get_subplot(row, col)


def legend_of_panel(fig: go.Figure, number: int, columns: int) -> str:
    """A legend of its own for one panel, in the line of its title.

    Returns:
        The name by which traces refer to it.
    """
    panel = axes(fig, **place(number, columns))
    name = "legend" if number == 0 else f"legend{number + 1}"
    fig.update_layout({name: LEGEND_ABOVE | {"x": panel.xaxis.domain[1], "y": panel.yaxis.domain[1]}})
    return name


def legend_on_top(fig: go.Figure, height: int) -> go.Figure:
    """Put the legend of a figure of this height above the panels' titles, which it would run into.

    Examples:
        >>> legend_on_top(go.Figure(), 400).layout.legend.yref
        'container'
    """
    above = LEGEND_ABOVE | {"x": 1, "y": 1 - 34 / height, "yref": "container", "yanchor": "top"}
    return fig.update_layout(legend=above, margin={"t": 90})


def title(data: xr.DataArray) -> str:
    """The title of an axis that shows this variable, from its attributes.

    Examples:
        >>> norm = labels.array(1.0, name="norm", units="weight^2", long_name="sum of squared weights")
        >>> title(norm)
        'sum of squared weights (weight²)'
    """
    if data.attrs.get("long_name") == data.attrs.get("units"):
        return name(data)
    return labels.axis_title(data).replace("^2", "²")


def name(data: xr.DataArray) -> str:
    """What a legend calls this variable: its long name, without units.

    Examples:
        >>> name(labels.array(1.0, name="norm", units="weight^2", long_name="sum of squared weights"))
        'sum of squared weights'
    """
    return str(data.attrs.get("long_name", data.name))


def square_height(number: int, columns: int) -> int:
    """A height, in pixels, at which square panels fill a page's width."""
    side = {1: 460, 2: 420, 3: 290, 4: 215}.get(columns, 185)
    return side * -(-number // columns) + 90


def log_axis() -> dict[str, Any]:
    """Settings of a logarithmic axis, with powers of ten as its labels."""
    minor = {"ticks": "outside", "ticklen": 2, "tickcolor": "#AFB8C1", "showgrid": False}
    # Plotly writes powers a quarter larger than the other labels.
    return {"type": "log", "exponentformat": "power", "minor": minor, "tickfont": {"size": 9}}


def frequency_colours(keys: Iterable[int]) -> dict[int, str]:
    """The colour of each key frequency, in their order; what is not key is drawn in `OTHER`.

    Examples:
        >>> frequency_colours([35, 14])
        {14: '#4477AA', 35: '#EE6677'}
    """
    return {k: FREQUENCY[i % len(FREQUENCY)] for i, k in enumerate(sorted(set(keys)))}


def curve_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour of its own for each curve: of the measure, split or matrix that its name says, else one that is left.

    Examples:
        >>> curve_colours(["loss_test", "excluded_loss", "loss_train", "trained"])
        {'loss_test': '#D55E00', 'excluded_loss': '#AA3377', 'loss_train': '#0072B2', 'trained': '#4477AA'}
    """
    known = {**MEASURE, **SPLIT, **MATRIX}
    others = [colour for colour in FREQUENCY if colour not in {*MEASURE.values(), *SPLIT.values()}]
    colours: dict[str, str] = {}
    for name in names:
        words = [name, *name.split("_")]
        wanted = [*(colour for word, colour in known.items() if word in words), *others]
        colours[name] = next((colour for colour in wanted if colour not in colours.values()), QUIET)
    return colours


def seed_colours(count: int) -> list[str]:
    """A colour for each of several runs.

    Examples:
        >>> seed_colours(2)
        ['#4477AA', '#EE6677']
    """
    return [FREQUENCY[i % len(FREQUENCY)] for i in range(count)]


def matrix_colour(name: str) -> str:
    """The colour of a weight matrix; a bias has that of its matrix.

    Examples:
        >>> matrix_colour("blocks.0.mlp.b_in") == matrix_colour("W_in")
        True
    """
    return MATRIX.get(name.rsplit(".", 1)[-1].replace("b_", "W_"), QUIET)
