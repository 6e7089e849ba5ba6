"""What differs between configs: axes, made by `grid`, found again by `axes_of`, and told in a directory's name."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from grokinterp import arguments
from grokinterp.config import RunConfig, as_run_config, change, to_dict
from grokinterp.runs.manifest import flat


# Always an axis, and always the last one.
SEED: Final = "seed"
# Of a directory's name; file systems end at 255 bytes.
_LONGEST_NAME: Final = 120


def grid(config: RunConfig, axes: Mapping[str, Iterable[Any]]) -> list[RunConfig]:
    """Every combination of some fields' values, the last axis quickest.

    Args:
        config: What all of them have in common.
        axes: Values by dotted name of a field, as Python or as JSON has them; a whole part may be given as well.

    Returns:
        The configs, for `sweep`.

    Raises:
        ValueError: If the axes are not a mapping, a name is unknown (the nearest valid one is named), a value is of
            another type or out of its range, or an axis has no values.

    Examples:
        >>> import grokinterp as gi
        >>> configs = grid(gi.presets.quick(), {"optim.weight_decay": [0.3, 1.0], "seed": range(3)})
        >>> [(config.optim.weight_decay, config.seed) for config in configs]
        [(0.3, 0), (0.3, 1), (0.3, 2), (1.0, 0), (1.0, 1), (1.0, 2)]
    """
    named = arguments.mapping(axes, "axes", "{'optim.weight_decay': [0.3, 1.0]}")
    values = {name: _values_of(name, given) for name, given in named.items()}
    config = as_run_config(config)
    return [change(config, dict(zip(values, point, strict=True))) for point in itertools.product(*values.values())]


def _values_of(name: str, given: Iterable[Any]) -> list[Any]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        msg = f"axis {name!r} needs a list of values, got {given!r}; write [{given!r}]."
        raise ValueError(msg)
    # numpy's numbers, of np.arange and its like, as Python's.
    values = [value.item() if isinstance(value, np.generic) else value for value in given]
    if not values:
        msg = f"axis {name!r} needs at least one value, got none."
        raise ValueError(msg)
    return values


def fields_of(config: RunConfig) -> dict[str, Any]:
    """A config's fields by dotted name.

    Examples:
        >>> import grokinterp as gi
        >>> fields_of(gi.presets.quick())["optim.weight_decay"]
        2.0
    """
    return flat(to_dict(config))


def axes_of(configs: Sequence[RunConfig]) -> tuple[str, ...]:
    """The dotted names of the fields that differ, in the config's order; `seed` is always there, as the last.

    A field that changes together with those before it, as a model's sizes may with its kind, is no axis of its own.

    Examples:
        >>> import grokinterp as gi
        >>> axes_of(gi.grid(gi.presets.quick(), {"seed": [0, 1], "optim.lr": [1e-3, 2e-3]}))
        ('optim.lr', 'seed')
    """
    rows = [fields_of(config) for config in configs]
    axes: list[str] = []
    for name in dict.fromkeys(name for row in rows for name in row):
        if name != SEED and not is_told_by(name, axes, rows):
            axes.append(name)
    return (*axes, SEED)


def is_told_by(name: str, axes: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a field has one value for each combination of the axes' values."""
    seen: dict[tuple[str, ...], str] = {}
    return all(seen.setdefault(_point(row, axes), word(row.get(name))) == word(row.get(name)) for row in rows)


def _point(row: Mapping[str, Any], axes: Sequence[str]) -> tuple[str, ...]:
    return tuple(word(row.get(axis)) for axis in axes)


def word(value: Any) -> str:
    """A field's value as one word, other values by other words.

    Examples:
        >>> [word(value) for value in (1.0, 0.3, 5, None, True, "AdamW", [0.9, 0.98])]
        ['1.0', '0.3', '5', 'none', 'true', 'AdamW', '[0.9, 0.98]']
    """
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def name_of(config: RunConfig, axes: Sequence[str]) -> str:
    """A directory's name for a config: its value on each axis, or a hash of the whole config where that is too long.

    Examples:
        >>> import grokinterp as gi
        >>> name_of(gi.presets.quick(), ["optim.weight_decay", "seed"])
        'optim.weight_decay=2.0,seed=0'
    """
    fields = fields_of(config)
    words = (f"{axis}={re.sub('[^A-Za-z0-9._=+-]+', '_', word(fields.get(axis)))}" for axis in axes)
    name = ",".join(words)
    return name if len(name) <= _LONGEST_NAME else f"run,{hash_of(config)},seed={config.seed}"


def hash_of(config: RunConfig) -> str:
    """Twelve hexadecimal digits that are another config's in no sweep that fits on a disk."""
    text = json.dumps(to_dict(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def dimension_of(axis: str, names: Iterable[str]) -> str:
    """The name of an axis' dimension: the last part of the field's name, or all of it where another field ends so.

    Args:
        axis: Dotted name.
        names: Of all fields.

    Examples:
        >>> import grokinterp as gi
        >>> names = fields_of(gi.presets.quick())
        >>> [dimension_of(axis, names) for axis in ("optim.weight_decay", "optim.name", "split.seed", "seed")]
        ['weight_decay', 'optim_name', 'split_seed', 'seed']
    """
    last = axis.rpartition(".")[2]
    others = [name for name in names if name != axis and name.rpartition(".")[2] == last]
    return axis.replace(".", "_") if others else last
