"""Which run directory below a sweep's root belongs to which config."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from grokinterp.arguments import shown
from grokinterp.config import RunConfig, from_dict, to_dict
from grokinterp.runs.layout import Layout, RunError, read_json, write_json
from grokinterp.runs.manifest import read_identity
from grokinterp.sweeps.axes import axes_of, fields_of, hash_of, name_of


FORMAT: Final = 1
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
