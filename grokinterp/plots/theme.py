"""The look of all figures: consistent colors, the plotly template, panels, legends and the epoch slider."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from grokinterp import labels


# From the palettes of Okabe and Ito and of Paul Tol: distinguishable with common color blindness, dark enough on white.
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
FRAME: Final = "#AFB8C1"

# From white to dark blue; and from blue (negative) through white to red (positive).
SEQUENTIAL: Final = ["#FFFFFF", "#D5E5F3", "#93C0DF", "#3F8AC2", "#125699", "#08254F"]
DIVERGING: Final = ["#053061", "#2F79B5", "#92C5DE", "#F7F7F7", "#F4A582", "#CA4842", "#67001F"]
RESIDUE: Final = "Viridis"

_AXIS: Final = {
    "gridcolor": GRID,
    "linecolor": FRAME,
    "showline": True,
    "zeroline": False,
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": FRAME,
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
        "hoverlabel": {"bgcolor": "white", "bordercolor": FRAME, "font": {"size": 12, "color": INK}},
        "bargap": 0.15,
        "coloraxis": {"colorbar": {"thickness": 12, "outlinewidth": 0, "tickfont": {"size": 11, "color": QUIET}}},
    }
)


def apply(fig: go.Figure, *, height: int = 420) -> go.Figure:
    """Apply the package's template to a figure, without changing plotly's default templates.

    Args:
        fig: Figure to modify.
        height: Height in pixels.

    Returns:
        The same figure.

    Examples:
        >>> apply(go.Figure(), height=300).layout.height
        300
    """
    return fig.update_layout(template=TEMPLATE, height=height)


def panels(titles: Sequence[str], *, columns: int, **layout: Any) -> go.Figure:
    """Create an empty grid of panels, with left-aligned titles.

    Args:
        titles: Panel titles, row by row.
        columns: Number of columns.
        **layout: Passed to plotly's `make_subplots`.

    Examples:
        >>> len(panels(["loss", "accuracy"], columns=2).layout.annotations)
        2
    """
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    fig = make_subplots(rows=rows, cols=columns, subplot_titles=list(titles), **layout)
    positions = [(row, column) for row in range(1, rows + 1) for column in range(1, columns + 1)]
    for (row, column), title in zip(positions, cast("Any", fig.layout).annotations, strict=False):
        left = axes(fig, row, column).xaxis.domain[0]
        title.update(x=left, xanchor="left", font={"size": 13, "color": INK}, text=f"<b>{title.text}</b>", yshift=4)
    for row, column in positions[len(titles) :]:
        fig.update_xaxes(visible=False, row=row, col=column)
        fig.update_yaxes(visible=False, row=row, col=column)
    return fig


def row_col(number: int, columns: int) -> dict[str, Any]:
    """Row and column of a panel, counted from 1, given its number, counted from 0.

    Examples:
        >>> row_col(3, columns=2)
        {'row': 2, 'col': 2}
    """
    return {"row": number // columns + 1, "col": number % columns + 1}


def axes(fig: go.Figure, row: int, col: int) -> Any:
    """The axes of a panel, as `xaxis` and `yaxis`."""
    return fig.get_subplot(row, col)


def make_square(fig: go.Figure, row: int, col: int) -> None:
    """Give both axes of a panel the same scale."""
    x_axis = axes(fig, row, col).xaxis.plotly_name.replace("axis", "")
    fig.update_yaxes(scaleanchor=x_axis, constraintoward="top", row=row, col=col)


def legend_of_panel(fig: go.Figure, number: int, columns: int) -> str:
    """Add a separate legend for one panel, level with its title, and return the name by which traces refer to it."""
    panel = axes(fig, **row_col(number, columns))
    name = "legend" if number == 0 else f"legend{number + 1}"
    fig.update_layout({name: LEGEND_ABOVE | {"x": panel.xaxis.domain[1], "y": panel.yaxis.domain[1]}})
    return name


def legend_on_top(fig: go.Figure, height: int) -> go.Figure:
    """Move the legend above the panel titles, which it would otherwise overlap; `height` is the figure's, in pixels.

    Examples:
        >>> legend_on_top(go.Figure(), 400).layout.legend.yref
        'container'
    """
    above = LEGEND_ABOVE | {"x": 1, "y": 1 - 34 / height, "yref": "container", "yanchor": "top"}
    return fig.update_layout(legend=above, margin={"t": 90})


def add_slider(fig: go.Figure, epochs: Sequence[int], frames: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """Add a slider over epochs, with one frame per epoch; a single epoch needs none.

    Args:
        fig: Figure to modify, drawn at the last epoch.
        epochs: Epoch of each frame.
        frames: For each epoch, the properties to change in each trace of the figure.

    Examples:
        >>> fig = go.Figure(go.Bar(y=[2]))
        >>> add_slider(fig, [0, 10], [[{"y": [1]}], [{"y": [2]}]])
        >>> len(fig.frames)
        2
    """
    if len(epochs) < 2:
        return
    fig.frames = [
        go.Frame(
            name=str(epoch),
            data=[{"type": trace.type, **change} for trace, change in zip(traces(fig), changes, strict=True)],
            traces=list(range(len(traces(fig)))),
        )
        for epoch, changes in zip(epochs, frames, strict=True)
    ]
    instant = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [{"method": "animate", "label": f"{epoch:,}", "args": [[str(epoch)], instant]} for epoch in epochs]
    fig.update_layout(
        sliders=[
            {
                "active": len(epochs) - 1,
                "steps": steps,
                "currentvalue": {"prefix": "epoch ", "font": {"size": 13}, "xanchor": "left"},
                "font": {"size": 10, "color": QUIET},
                "pad": {"t": 44, "b": 8},
                "len": 1.0,
                "x": 0,
                "bgcolor": "#DDE2E7",
                "activebgcolor": SPLIT["train"],
                "bordercolor": FRAME,
                "borderwidth": 1,
                "ticklen": 4,
                "tickcolor": FRAME,
                "minorticklen": 0,
            }
        ]
    )


def traces(fig: go.Figure) -> tuple[Any, ...]:
    """The traces of a figure, without plotly's type of `data`, which is too wide to use."""
    return tuple(cast("Any", fig).data)


def title(data: xr.DataArray) -> str:
    """Axis title for a variable, from its attributes.

    Examples:
        >>> norm = labels.array(1.0, name="norm", units="weight^2", long_name="sum of squared weights")
        >>> title(norm)
        'sum of squared weights (weight²)'
    """
    if data.attrs.get("long_name") == data.attrs.get("units"):
        return name(data)
    return labels.axis_title(data).replace("^2", "²")


def name(data: xr.DataArray) -> str:
    """Legend name for a variable: its long name, without units.

    Examples:
        >>> name(labels.array(1.0, name="norm", units="weight^2", long_name="sum of squared weights"))
        'sum of squared weights'
    """
    return str(data.attrs.get("long_name", data.name))


def tick_labels(values: np.ndarray) -> list[str]:
    """Tick labels for the values of a setting.

    Examples:
        >>> tick_labels(np.array([1e-3, 2.0])), tick_labels(np.array(["AdamW"]))
        (['0.001', '2'], ['AdamW'])
    """
    return [f"{value:g}" if values.dtype.kind == "f" else str(value) for value in values]


def colorbar(title: str) -> dict[str, Any]:
    """Settings for a colorbar with its title on the right."""
    return {"title": {"text": title, "side": "right", "font": {"size": 11}}, "len": 1.0}


def square_height(number: int, columns: int) -> int:
    """Figure height, in pixels, at which square panels fill a page's width."""
    side = {1: 460, 2: 420, 3: 290, 4: 215}.get(columns, 185)
    return side * -(-number // columns) + 90


def log_axis() -> dict[str, Any]:
    """Settings for a logarithmic axis labeled with powers of ten."""
    minor = {"ticks": "outside", "ticklen": 2, "tickcolor": FRAME, "showgrid": False}
    # Plotly draws powers a quarter larger than other labels.
    return {"type": "log", "exponentformat": "power", "minor": minor, "tickfont": {"size": 9}}


def frequency_colors(keys: Iterable[int]) -> dict[int, str]:
    """The color of each key frequency, in ascending order; other frequencies are drawn in `OTHER`.

    Examples:
        >>> frequency_colors([35, 14])
        {14: '#4477AA', 35: '#EE6677'}
    """
    return {k: FREQUENCY[i % len(FREQUENCY)] for i, k in enumerate(sorted(set(keys)))}


def curve_colors(names: Iterable[str]) -> dict[str, str]:
    """A distinct color for each curve: the color of the measure, split or matrix in its name, or an unused one.

    Examples:
        >>> curve_colors(["loss_test", "excluded_loss", "loss_train", "trained"])
        {'loss_test': '#D55E00', 'excluded_loss': '#AA3377', 'loss_train': '#0072B2', 'trained': '#4477AA'}
    """
    known = {**MEASURE, **SPLIT, **MATRIX}
    unused = [color for color in FREQUENCY if color not in {*MEASURE.values(), *SPLIT.values()}]
    colors: dict[str, str] = {}
    for name in names:
        words = [name, *name.split("_")]
        wanted = [*(color for word, color in known.items() if word in words), *unused]
        colors[name] = next((color for color in wanted if color not in colors.values()), QUIET)
    return colors


def seed_colors(count: int) -> list[str]:
    """A color for each of several runs.

    Examples:
        >>> seed_colors(2)
        ['#4477AA', '#EE6677']
    """
    return [FREQUENCY[i % len(FREQUENCY)] for i in range(count)]


def matrix_color(name: str) -> str:
    """The color of a weight matrix; a bias has the color of its matrix.

    Examples:
        >>> matrix_color("blocks.0.mlp.b_in") == matrix_color("W_in")
        True
    """
    return MATRIX.get(name.rsplit(".", 1)[-1].replace("b_", "W_"), QUIET)
