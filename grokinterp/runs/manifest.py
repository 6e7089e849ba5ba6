"""config.json: which config a directory holds, and what made it."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from grokinterp.arguments import integer
from grokinterp.config import RunConfig, from_dict, to_dict
from grokinterp.runs.layout import RunError, read_json, write_json


FORMAT = 1


def environment(config: RunConfig) -> dict[str, str | int]:
    """What the bits of a run depend on besides its config: versions, processor, device, threads, engine."""
    on_gpu = config.device.startswith("cuda") and torch.cuda.is_available()
    return {
        "grokinterp": version("grokinterp"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(config.device) if on_gpu else config.device,
        "threads": torch.get_num_threads(),
        "engine": config.training_engine,
    }


@dataclass(frozen=True, kw_only=True)
class Fork:
    """Where a run was begun from that is not its own initial parameters.

    Attributes:
        run: The parent's directory.
        epoch: Of the parent's checkpoint that it begins with; epochs are counted on from there.
        initial_seed: Of the initial parameters that the first run of the line began with.
    """

    run: str
    epoch: int
    initial_seed: int


def write_identity(
    path: Path,
    config: RunConfig,
    made_by: dict[str, str | int],
    forked_from: Fork | None = None,
    monitors: Sequence[dict[str, Any]] = (),
) -> None:
    """Write config.json."""
    others = {"forked_from": forked_from and asdict(forked_from), "monitors": monitors}
    known = {key: x for key, x in others.items() if x}
    write_json(path, {"format": FORMAT, "config": to_dict(config), "made_by": made_by, **known})


def check_monitors(path: Path, monitors: Sequence[dict[str, Any]]) -> None:
    """Check that training resumes with every monitor that the run was trained with.

    Raises:
        RunError: If one is missing, or has a different version or code, or the file does not list them.
    """
    known = _read(path).get("monitors", [])
    if not isinstance(known, list):
        msg = f"{path} must list the run's monitors, got {known!r}; restore it from a copy."
        raise RunError(msg)
    for recorded in known:
        if recorded not in monitors:
            msg = (
                f"{path.parent} was trained with the monitor {recorded}, which must be in monitors again, got "
                f"{list(monitors)}; pass it unchanged, or fork the run to go on without it."
            )
            raise RunError(msg)


def read_fork(path: Path) -> Fork | None:
    """Where the run was forked from, if it was.

    Raises:
        RunError: If the file is missing or broken.
    """
    data = _read(path).get("forked_from")
    if data is None:
        return None
    try:
        return Fork(
            run=str(data["run"]),
            epoch=integer(data["epoch"], "epoch", minimum=0),
            initial_seed=integer(data["initial_seed"], "initial_seed"),
        )
    except (KeyError, TypeError, ValueError):
        msg = f"{path} must say of what run and epoch it is a fork, got {data!r}; restore it from a copy."
        raise RunError(msg) from None


def read_identity(path: Path) -> tuple[RunConfig, dict[str, Any]]:
    """The config, and what made the run.

    Raises:
        RunError: If the file is missing, broken, of another format, or its config has other keys than ours.
    """
    data = _read(path)
    try:
        return from_dict(RunConfig, data["config"], is_older=True), dict(data["made_by"])
    except KeyError as error:
        msg = f"{path} lacks {error}; restore it from a copy."
        raise RunError(msg) from None
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{path} holds no config of this version: {error}"
        raise RunError(msg) from None


def _read(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else data
        msg = f"{path} must be of run format {FORMAT}, got {found!r}; read it with the grokinterp that made it."
        raise RunError(msg)
    return data


def differences(left: RunConfig, right: RunConfig, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """Each field that two configs differ in, with both values.

    Examples:
        >>> differences(RunConfig(seed=0), RunConfig(seed=1))
        ['seed is 0 there, 1 here']
    """
    there, here = flat(to_dict(left)), flat(to_dict(right))
    return [
        f"{key} is {there.get(key)} there, {here.get(key)} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key) and key not in ignore
    ]


def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots.

    Examples:
        >>> flat({"optim": {"lr": 0.1}, "seed": 0})
        {'optim.lr': 0.1, 'seed': 0}
    """
    result: dict[str, Any] = {}
    for key, value in data.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return result
