"""Numbers as colours: the scale and its key, and the single byte that a figure with a slider keeps of each number."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from grokinterp.plots import theme


# 256 colours are more than the eye sees.
LEVELS: Final = 255


def as_bytes(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Where numbers lie between the ends of their scale, in one byte each; NaN is at the lower end.

    Examples:
        >>> as_bytes(np.array([0.0, 0.2, 1.0, 3.0, np.nan]), 0.0, 1.0).tolist()
        [0, 51, 255, 255, 0]
    """
    shares = np.nan_to_num((values.astype(np.float64) - low) / (high - low))
    return np.rint(shares.clip(0, 1) * LEVELS).astype(np.uint8)


def coloraxis(
    low: float, high: float, title: str, *, in_bytes: bool, ticks: Mapping[float, str] | None = None
) -> dict[str, Any]:
    """The colours of a heat map and their key, whose labels are in the data's units also where the data are in bytes.

    Args:
        low: The number of the first colour; where it is -high, colours go from blue over white to red.
        high: The number of the last colour.
        title: Beside the key.
        in_bytes: Whether the heat map holds what `as_bytes` gives.
        ticks: The key's labels by number; default: round numbers.

    Returns:
        Settings of plotly's `coloraxis`.
    """
    colours = theme.DIVERGING if low == -high else theme.SEQUENTIAL
    bar: dict[str, Any] = {"title": {"text": title, "side": "right", "font": {"size": 11}}, "len": 1.0}
    if in_bytes and ticks is None:
        ticks = {tick: f"{tick:g}" for tick in round_numbers(low, high)}
    if ticks is not None:
        at = [(tick - low) / (high - low) * LEVELS if in_bytes else tick for tick in ticks]
        bar |= {"tickvals": at, "ticktext": list(ticks.values())}
    low, high = (0, LEVELS) if in_bytes else (low, high)
    return {"colorscale": colours, "cmin": low, "cmax": high, "colorbar": bar}


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
