"""Heatmaps: their color scale, the compact values that a slider steps through, and grids over both inputs."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import theme
from grokinterp.plots.data import small


# The eye cannot tell more than 256 shades apart.
LEVELS: Final = 255


def input_grids(
    data: xr.DataArray, panel: str, titles: list[str], *, limits: tuple[float, float] | None = None
) -> go.Figure:
    """Draw data over (epoch, `panel`, a, b) as one square heatmap per panel, with a slider over epochs.

    Args:
        data: Values with these four dimensions.
        panel: Dimension with one panel per label.
        titles: Panel titles.
        limits: Values at the ends of the color scale; default: the range of the data, including zero.
    """
    data = data.transpose("epoch", panel, "a", "b")
    low, high = limits or (min(0.0, float(data.min())), float(data.max()))
    high = high if high > low else low + 1.0
    in_bytes = data.sizes["epoch"] > 1
    columns = 4 if len(titles) > 4 else len(titles)
    fig = theme.panels(titles, columns=columns, horizontal_spacing=0.05, vertical_spacing=0.16)
    frames = [[{"z": encode(z, low, high, in_bytes=in_bytes)} for z in epoch] for epoch in data.values]
    hover = "a = %{y}, b = %{x}" + ("" if in_bytes else ": %{z:.3g}") + "<extra></extra>"
    inputs = {"x": data["b"].values.tolist(), "y": data["a"].values.tolist()}
    for number, (title, shown) in enumerate(zip(titles, frames[-1], strict=True)):
        position = theme.row_col(number, columns)
        fig.add_heatmap(**shown, **inputs, coloraxis="coloraxis", name=title, hovertemplate=hover, **position)
        style = {"constrain": "domain", "showgrid": False, "nticks": 5, **position}
        theme.make_square(fig, **position)
        fig.update_yaxes(title_text="a" if position["col"] == 1 else None, **style)
        fig.update_xaxes(title_text="b" if number + columns >= len(titles) else None, **style)
    theme.add_slider(fig, data["epoch"].values.tolist(), frames)
    fig.update_layout(coloraxis=coloraxis(low, high, theme.title(data), in_bytes=in_bytes))
    return theme.apply(fig, height=theme.square_height(len(titles), columns) + (90 if in_bytes else 0))


def encode(values: np.ndarray, low: float, high: float, *, in_bytes: bool) -> np.ndarray:
    """Values for a heatmap: as float32, or with one byte each for a figure that stores many epochs."""
    return as_bytes(values, low, high) if in_bytes else small(values)


def as_bytes(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map the range from low to high to the integers from 0 to 255; NaN becomes 0.

    Examples:
        >>> as_bytes(np.array([0.0, 0.2, 1.0, 3.0, np.nan]), 0.0, 1.0).tolist()
        [0, 51, 255, 255, 0]
    """
    fractions = np.nan_to_num((values.astype(np.float64) - low) / (high - low))
    return np.rint(fractions.clip(0, 1) * LEVELS).astype(np.uint8)


def coloraxis(
    low: float, high: float, title: str, *, in_bytes: bool, ticks: Mapping[float, str] | None = None
) -> dict[str, Any]:
    """Color scale of a heatmap, with a colorbar labeled in the data's units even if the data are bytes.

    Args:
        low: Value of the first color. If it is -high, the scale diverges from white at zero.
        high: Value of the last color.
        title: Title of the colorbar.
        in_bytes: Whether the heatmap holds the result of `as_bytes`.
        ticks: Tick labels of the colorbar by value; default: round numbers.

    Returns:
        Settings for plotly's `coloraxis`.
    """
    bar = theme.colorbar(title)
    if in_bytes and ticks is None:
        ticks = {tick: f"{tick:g}" for tick in round_numbers(low, high)}
    if ticks is not None:
        positions = [(tick - low) / (high - low) * LEVELS if in_bytes else tick for tick in ticks]
        bar |= {"tickvals": positions, "ticktext": list(ticks.values())}
    scale = theme.DIVERGING if low == -high else theme.SEQUENTIAL
    low, high = (0, LEVELS) if in_bytes else (low, high)
    return {"colorscale": scale, "cmin": low, "cmax": high, "colorbar": bar}


def round_numbers(low: float, high: float) -> list[float]:
    """About five round numbers from low to high.

    Examples:
        >>> round_numbers(-1.0, 1.0)
        [-1.0, -0.5, 0.0, 0.5, 1.0]
    """
    raw = (high - low) / 5
    magnitude = 10.0 ** np.floor(np.log10(raw))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= raw * 0.999)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [round(float(i * step), 12) for i in range(first, last + 1)]
