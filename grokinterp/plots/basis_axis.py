"""Axes over the rows of a basis: their frequencies by name, tick labels, and bar positions."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np


COLORS: Final[Mapping[str, str]] = {"cos": "#1F4E79", "sin": "#7FB3D9"}
# More labels than this make an axis hard to read.
_MOST_TICKS: Final = 14


def frequency_of(name: str) -> int | None:
    """The frequency of a row with this name; None for a row that is neither a cosine nor a sine.

    Examples:
        >>> frequency_of("sin 14"), frequency_of("const")
        (14, None)
    """
    wave, _, k = name.partition(" ")
    return int(k) if wave in COLORS and k.isdigit() else None


def distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered if several rows share one, as the rows of an irrep do.

    Examples:
        >>> distinct(["1a", "2a", "2a"])
        ['1a', '2a 1', '2a 2']
    """
    return [name if names.count(name) == 1 else f"{name} {names[: i + 1].count(name)}" for i, name in enumerate(names)]


def rows_by_block(names: Sequence[str]) -> dict[int | str, list[int]]:
    """The rows of each frequency, and of each name that is not a frequency.

    Examples:
        >>> rows_by_block(["const", "cos 1", "sin 1", "cos 2"])
        {'const': [0], 1: [1, 2], 2: [3]}
    """
    blocks: dict[int | str, list[int]] = {}
    for row, name in enumerate(names):
        blocks.setdefault(frequency_of(name) or name, []).append(row)
    return blocks


def rows_by_frequency(names: Sequence[str]) -> dict[int, list[int]]:
    """The rows of each frequency.

    Examples:
        >>> rows_by_frequency(["const", "cos 1", "sin 1", "cos 2"])
        {1: [1, 2], 2: [3]}
    """
    return {block: rows for block, rows in rows_by_block(names).items() if isinstance(block, int)}


def ticks(names: Sequence[str]) -> dict[str, Any]:
    """Ticks of an axis with the rows of a basis at 0, 1, ...: every frequency, or every 2nd, 5th, 10th and so on.

    Examples:
        >>> ticks(["const", "cos 1", "sin 1", "cos 2", "sin 2"])
        {'tickvals': [0.0, 1.5, 3.5], 'ticktext': ['const', '1', '2']}
    """
    blocks = rows_by_block(names)
    step = next(step for step in (1, 2, 5, 10, 20, 50, len(blocks)) if len(blocks) <= step * _MOST_TICKS)
    shown = [block for i, block in enumerate(blocks) if (block if isinstance(block, int) else i) % step == 0]
    return {"tickvals": [float(np.mean(blocks[block])) for block in shown], "ticktext": [str(b) for b in shown]}


def bars(names: Sequence[str]) -> dict[str, tuple[list[Any], list[int]]]:
    """The positions and the rows of each group of bars.

    Cosines and sines are at their frequency, the constant is at 0, and other rows are left of it. If the basis has no
    cosines and sines, rows are at their names.

    Examples:
        >>> bars(["const", "cos 1", "sin 1"])
        {'constant': ([0], [0]), 'cos': ([1], [1]), 'sin': ([1], [2])}
    """
    frequencies = [frequency_of(name) for name in names]
    if not any(frequencies):
        return {"component": (distinct(names), list(range(len(names))))}
    groups: dict[str, tuple[list[Any], list[int]]] = {}
    for row, (name, k) in enumerate(zip(names, frequencies, strict=True)):
        x, rows = groups.setdefault(name.partition(" ")[0] if k else "constant", ([], []))
        x.append(k or -len(x))
        rows.append(row)
    return {group: groups[group] for group in ("constant", *COLORS) if group in groups}
