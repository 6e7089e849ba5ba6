"""The axes of a sweep, which are the fields that differ between its configs, and the names made from them."""

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
# Characters of a directory name; file systems allow 255 bytes.
_LONGEST_NAME: Final = 120


def grid(config: RunConfig, axes: Mapping[str, Iterable[Any]]) -> list[RunConfig]:
    """Every combination of the given field values, with the last axis varying fastest.

    Args:
        config: The base config.
        axes: Values by dotted field name, as in Python or JSON; a whole section of the config may be an axis.

    Returns:
        The configs, for `sweep`.

    Raises:
        ValueError: If axes is not a mapping, a name is unknown (the message suggests the nearest one), a value has the
            wrong type or is out of range, or an axis has no values.

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
    # numpy's numbers, e.g. from np.arange, as Python's.
    values = [value.item() if isinstance(value, np.generic) else value for value in given]
    if not values:
        msg = f"axis {name!r} needs at least one value, got none."
        raise ValueError(msg)
    return values


def fields_of(config: RunConfig) -> dict[str, Any]:
    """A config's fields by dotted name."""
    return flat(to_dict(config))


def axes_of(configs: Sequence[RunConfig]) -> tuple[str, ...]:
    """The dotted names of the fields that differ, in the config's order; `seed` is always the last.

    A field determined by the axes before it, as a model's sizes may be by its kind, is not an axis.

    Examples:
        >>> import grokinterp as gi
        >>> axes_of(gi.grid(gi.presets.quick(), {"seed": [0, 1], "optim.lr": [1e-3, 2e-3]}))
        ('optim.lr', 'seed')
    """
    rows = [fields_of(config) for config in configs]
    axes: list[str] = []
    for name in dict.fromkeys(name for row in rows for name in row):
        if name != SEED and not is_determined_by(name, axes, rows):
            axes.append(name)
    return (*axes, SEED)


def is_determined_by(name: str, axes: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a field has a single value for each combination of the axes' values."""
    values: dict[tuple[str, ...], str] = {}
    for row in rows:
        value = word(row.get(name))
        if values.setdefault(tuple(word(row.get(axis)) for axis in axes), value) != value:
            return False
    return True


def word(value: Any) -> str:
    """A field's value as one word; different values give different words.

    Examples:
        >>> [word(value) for value in (1.0, 0.3, 5, None, True, "AdamW", [0.9, 0.98])]
        ['1.0', '0.3', '5', 'none', 'true', 'AdamW', '[0.9, 0.98]']
    """
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def name_of(config: RunConfig, axes: Sequence[str]) -> str:
    """Directory name for a config: its value on each axis, or a hash of the config if that is too long.

    Examples:
        >>> import grokinterp as gi
        >>> name_of(gi.presets.quick(), ["optim.weight_decay", "seed"])
        'optim.weight_decay=2.0,seed=0'
    """
    fields = fields_of(config)
    name = ",".join(f"{axis}={re.sub('[^A-Za-z0-9._=+-]+', '_', word(fields.get(axis)))}" for axis in axes)
    return name if len(name) <= _LONGEST_NAME else f"run,{hash_of(config)},seed={config.seed}"


def hash_of(config: RunConfig) -> str:
    """The first twelve hexadecimal digits of a config's SHA-256."""
    text = json.dumps(to_dict(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def dimension_of(axis: str, names: Iterable[str]) -> str:
    """Dimension name for an axis: the last part of the field's name, or all of it if a different field ends the same.

    Args:
        axis: Dotted name.
        names: The names of all fields.

    Examples:
        >>> import grokinterp as gi
        >>> names = fields_of(gi.presets.quick())
        >>> [dimension_of(axis, names) for axis in ("optim.weight_decay", "optim.name", "split.seed", "seed")]
        ['weight_decay', 'optim_name', 'split_seed', 'seed']
    """
    last = axis.rpartition(".")[2]
    is_ambiguous = any(name != axis and name.rpartition(".")[2] == last for name in names)
    return axis.replace(".", "_") if is_ambiguous else last
