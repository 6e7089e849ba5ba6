"""The rows of a basis by their names: which of them are waves, where their bars stand, what an axis says of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np


COLOURS: Final[Mapping[str, str]] = {"cos": "#1F4E79", "sin": "#7FB3D9"}
# An axis stays readable with so many labels.
_MOST_TICKS: Final = 14


def frequency_of(name: str) -> int | None:
    """The frequency of the wave of this name; None for a row that is no wave.

    Examples:
        >>> frequency_of("sin 14"), frequency_of("const")
        (14, None)
    """
    wave, _, k = name.partition(" ")
    return int(k) if wave in COLOURS and k.isdigit() else None


def distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered where several rows share one, as those of an irrep do.

    Examples:
        >>> distinct(["1a", "2a", "2a"])
        ['1a', '2a 1', '2a 2']
    """
    return [name if names.count(name) == 1 else f"{name} {names[: i + 1].count(name)}" for i, name in enumerate(names)]


def rows_by_block(names: Sequence[str]) -> dict[int | str, list[int]]:
    """The rows of each frequency, and of each other name.

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


def axis(names: Sequence[str]) -> dict[str, Any]:
    """Settings of an axis that has a row of the basis at each of 0, 1, ...: frequencies, one in 1, 2, 5 or 10 of them.

    Examples:
        >>> axis(["const", "cos 1", "sin 1", "cos 2", "sin 2"])
        {'tickvals': [0.0, 1.5, 3.5], 'ticktext': ['const', '1', '2']}
    """
    blocks = rows_by_block(names)
    step = next(step for step in (1, 2, 5, 10, 20, 50, len(blocks)) if len(blocks) <= step * _MOST_TICKS)
    shown = [block for i, block in enumerate(blocks) if (block if isinstance(block, int) else i) % step == 0]
    return {"tickvals": [float(np.mean(blocks[block])) for block in shown], "ticktext": [str(b) for b in shown]}


def bars(names: Sequence[str]) -> dict[str, tuple[list[Any], list[int]]]:
    """For each group of bars, where they stand and which rows they show.

    Waves stand at their frequency, the constant at 0, and what else is no wave to the left of it. Rows of a basis
    without waves stand at their names.

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
    return {group: groups[group] for group in ("constant", *COLOURS) if group in groups}
