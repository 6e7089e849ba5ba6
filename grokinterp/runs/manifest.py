"""config.json: the config of a run, and the versions and machine that it was trained with."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from grokinterp.arguments import integer
from grokinterp.config import RunConfig, from_dict, to_dict
from grokinterp.runs.layout import RunError, read_json, valid_content, write_json


FORMAT = 1


def environment(config: RunConfig) -> dict[str, str | int]:
    """Everything besides the config that can change rounding: versions, processor, device, threads, engine."""
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
    """The checkpoint that a fork started from.

    Attributes:
        run: Directory of the parent run.
        epoch: Epoch of the parent's checkpoint; the fork's epochs continue from it.
        initial_seed: Seed of the initial parameters of the parent, or of its first ancestor if it is a fork itself.
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
    optional = {"forked_from": forked_from and asdict(forked_from), "monitors": monitors}
    data = {"format": FORMAT, "config": to_dict(config), "made_by": made_by}
    write_json(path, data | {key: x for key, x in optional.items() if x})


def check_monitors(path: Path, monitors: Sequence[dict[str, Any]]) -> None:
    """Check that training resumes with every monitor that the run was trained with.

    Raises:
        RunError: If one is missing, or has a different version or code, or the file does not list them.
    """
    known = _read(path).get("monitors", [])
    if not isinstance(known, list):
        msg = f"{path} must contain a list of the run's monitors, got {known!r}; restore it from a backup."
        raise RunError(msg)
    for recorded in known:
        if recorded not in monitors:
            msg = (
                f"{path.parent} was trained with the monitor {recorded}, which must be in monitors again, got "
                f"{list(monitors)}; pass it unchanged, or fork the run to continue without it."
            )
            raise RunError(msg)


def read_fork(path: Path) -> Fork | None:
    """The checkpoint that a run was forked from; None if it is not a fork. A damaged file raises a RunError."""
    data = _read(path).get("forked_from")
    if data is None:
        return None
    with valid_content(path, "the run and the epoch that it was forked from"):
        return Fork(
            run=str(data["run"]),
            epoch=integer(data["epoch"], "epoch", minimum=0),
            initial_seed=integer(data["initial_seed"], "initial_seed"),
        )


def read_identity(path: Path) -> tuple[RunConfig, dict[str, Any]]:
    """The config, and the environment of the run.

    Raises:
        RunError: If the file is missing, damaged or has a different format, or its config has unknown keys.
    """
    data = _read(path)
    with valid_content(path, "a config of this version"):
        return from_dict(RunConfig, data["config"], is_older=True), dict(data["made_by"])


def _read(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        got = data.get("format") if isinstance(data, dict) else data
        msg = f"{path} must have run format {FORMAT}, got {got!r}; use the grokinterp version that wrote it."
        raise RunError(msg)
    return data


def differences(left: RunConfig, right: RunConfig, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """The fields in which two configs differ, with both values.

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
    """Flatten nested dictionaries, joining keys with dots.

    Examples:
        >>> flat({"optim": {"lr": 0.1}, "seed": 0})
        {'optim.lr': 0.1, 'seed': 0}
    """
    result: dict[str, Any] = {}
    for key, value in data.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return result
