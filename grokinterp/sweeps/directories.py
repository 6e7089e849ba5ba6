"""The run directories of a sweep: its axes (fields that differ between configs), their names, and which is whose."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock, Timeout

from grokinterp import arguments
from grokinterp.arguments import shown
from grokinterp.config import RunConfig, as_run_config, change, from_dict, to_dict
from grokinterp.runs.layout import Layout, RunError, read_json, write_json
from grokinterp.runs.manifest import flat, read_identity


FORMAT: Final = 1
# Always an axis, and always the last one.
SEED: Final = "seed"
# Characters of a directory name; file systems allow 255 bytes.
_LONGEST_NAME: Final = 120
# Seconds to wait for a second sweep to write sweep.json, which takes a few milliseconds.
LOCK_TIMEOUT: Final = 60.0


def assign(root: Path, configs: Sequence[RunConfig]) -> dict[Path, RunConfig]:
    """A directory for each config, recorded in the root's sweep.json.

    A config keeps the directory it has, from this sweep or an earlier one over different values.

    Args:
        root: The sweep directory, created if missing.
        configs: The configs; duplicates are dropped.

    Returns:
        The configs by directory, in the given order.

    Raises:
        RunError: If the root cannot be written, or its sweep.json is broken.
    """
    # Read back from JSON, so that 1 and 1.0, or a list and a tuple, are the same value.
    wanted = list(dict.fromkeys(from_dict(RunConfig, to_dict(config)) for config in configs))
    with locked(root):
        known = known_configs(root)
        axes = axes_of([*known.values(), *wanted])
        names = {config: name for name, config in known.items()}
        for config in wanted:
            if config not in names:
                name = name_of(config, axes)
                # The hash tells it from a different config, or a foreign directory, of the same name.
                is_taken = name in names.values() or (root / name).exists()
                names[config] = f"{name},{hash_of(config)}" if is_taken else name
        _write(root, {name: config for config, name in names.items()})
    return {root / names[config]: config for config in wanted}


def known_configs(root: Path) -> dict[str, RunConfig]:
    """The configs below a root by directory name, from sweep.json and from runs that it does not list.

    Raises:
        RunError: If sweep.json is broken or has a different format.
    """
    path = root / "sweep.json"
    configs = _read(path) if path.exists() else {}
    for file in sorted(root.glob("*/config.json")):
        try:
            configs[file.parent.name] = read_identity(Layout(file.parent).config)[0]
        except RunError:
            continue  # Training into it will report the error.
    return configs


def _read(path: Path) -> dict[str, RunConfig]:
    data = read_json(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("runs"), dict):
        msg = f"{path} must be a sweep's list of runs with format {FORMAT}; choose a different root."
        raise RunError(msg)
    for name in data["runs"]:
        # A path such as ../other or /other would train outside the root.
        if name in ("", "..") or name != Path(name).name or "\0" in name:
            msg = f"{path} must name directories inside {path.parent}, got {shown(name)}; correct the name, or choose"
            msg += " a different root."
            raise RunError(msg)
    try:
        return {name: from_dict(RunConfig, config, is_older=True) for name, config in data["runs"].items()}
    except (TypeError, ValueError) as error:
        msg = f"{path} has a config from a different version: {error}"
        raise RunError(msg) from None


def _write(root: Path, runs: dict[str, RunConfig]) -> None:
    rows = [fields_of(config) for config in runs.values()]
    values: dict[str, list[Any]] = {axis: [] for axis in axes_of([*runs.values()])}
    for row in rows:
        for axis, known in values.items():
            if row.get(axis) not in known:
                known.append(row.get(axis))
    listed = {name: to_dict(config) for name, config in runs.items()}
    write_json(root / "sweep.json", {"format": FORMAT, "axes": values, "runs": listed})


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Create a root and hold its lock, so that two sweeps agree on its files.

    Raises:
        RunError: If a second sweep holds the lock for too long, or the root cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".sweep.lock", timeout=LOCK_TIMEOUT):
            yield
    except Timeout:
        msg = f"another sweep has held {root / '.sweep.lock'} for {LOCK_TIMEOUT:.0f} s; stop it or choose another root."
        raise RunError(msg) from None
    except OSError as error:
        msg = f"{root} could not be written: {error}. Fix this, then sweep the same configs into it to resume."
        raise RunError(msg) from error


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
