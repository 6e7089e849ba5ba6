"""Which directory of a sweep's root is which config's: a config finds its own again, and two never share one."""

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
# Seconds for which another sweep may be busy with the list of runs, which it writes in a few milliseconds.
LOCK_TIMEOUT: Final = 60.0


def assign(root: Path, configs: Sequence[RunConfig]) -> dict[Path, RunConfig]:
    """A directory for each config, remembered in the root's sweep.json.

    A config that has one already, from this sweep or an earlier one with other values, keeps it.

    Args:
        root: Made if it is not there.
        configs: Equal ones count once.

    Returns:
        The configs by directory, in their order.

    Raises:
        RunError: If the root cannot be written, or its sweep.json is broken.
    """
    # As JSON gives them back, so that 1 and 1.0, or a list and a tuple, are one value.
    wanted = list(dict.fromkeys(from_dict(RunConfig, to_dict(config)) for config in configs))
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(root):
            known = known_configs(root)
            axes = axes_of([*known.values(), *wanted])
            place = {config: name for name, config in known.items()}
            for config in wanted:
                if config not in place:
                    place[config] = _free_name(root, config, axes, taken=set(place.values()))
            _write(root, {name: config for config, name in place.items()})
    return {root / place[config]: config for config in wanted}


def known_configs(root: Path) -> dict[str, RunConfig]:
    """The configs of a root by name of their directory: those of sweep.json, and of runs that are there without it.

    Raises:
        RunError: If sweep.json is broken or of another format.
    """
    path = root / "sweep.json"
    listed = _read(path) if path.exists() else {}
    found = {folder.parent.name: _config_in(folder.parent) for folder in sorted(root.glob("*/config.json"))}
    return listed | {name: config for name, config in found.items() if config is not None}


def _config_in(folder: Path) -> RunConfig | None:
    """A run's config; none if it cannot be read, of which training into it will tell."""
    try:
        return read_identity(Layout(folder).config)[0]
    except RunError:
        return None


def _free_name(root: Path, config: RunConfig, axes: Sequence[str], *, taken: set[str]) -> str:
    """The name that the axes give; with a hash if another config, or a folder of another kind, has that one."""
    name = name_of(config, axes)
    return f"{name},{hash_of(config)}" if name in taken or (root / name).exists() else name


def _read(path: Path) -> dict[str, RunConfig]:
    data = read_json(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("runs"), dict):
        msg = f"{path} must be a sweep's list of runs, of format {FORMAT}; choose another root."
        raise RunError(msg)
    for name in data["runs"]:
        # A path such as ../other or /other would train outside the root.
        if name in ("", "..") or name != Path(name).name or "\0" in name:
            msg = (
                f"{path} must name folders inside {path.parent}, got {shown(name)}; correct it, or choose another root."
            )
            raise RunError(msg)
    try:
        return {name: from_dict(RunConfig, config, is_older=True) for name, config in data["runs"].items()}
    except (TypeError, ValueError) as error:
        msg = f"{path} holds a config of another version: {error}"
        raise RunError(msg) from None


def _write(root: Path, runs: dict[str, RunConfig]) -> None:
    axes = axes_of([*runs.values()])
    rows = [fields_of(config) for config in runs.values()]
    values: dict[str, list[Any]] = {axis: [] for axis in axes}
    for row in rows:
        for axis in axes:
            if row.get(axis) not in values[axis]:
                values[axis].append(row.get(axis))
    listed = {name: to_dict(config) for name, config in runs.items()}
    write_json(root / "sweep.json", {"format": FORMAT, "axes": values, "runs": listed})


@contextmanager
def one_at_a_time(root: Path) -> Iterator[None]:
    """Hold the root while directories are given out, so that two sweeps give the same ones."""
    try:
        with FileLock(root / ".sweep.lock", timeout=LOCK_TIMEOUT):
            yield
    except Timeout:
        msg = f"another sweep has held {root / '.sweep.lock'} for {LOCK_TIMEOUT:.0f} s; stop it or choose another root."
        raise RunError(msg) from None


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn an error of the disk into a RunError."""
    try:
        yield
    except OSError as error:
        msg = f"{root} could not be written: {error}. Fix that, then sweep into it again to go on."
        raise RunError(msg) from error
