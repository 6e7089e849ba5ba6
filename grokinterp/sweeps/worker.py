"""What a worker does: it gets a config and a path, trains, and gives the path back. Sent by name to any executor."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from grokinterp.config import RunConfig, from_dict
from grokinterp.runs.layout import Layout, RunError
from grokinterp.training.loop import train
from grokinterp.training.runtime import stopping_when


# Seconds between two looks at whether to stop, which training asks at every epoch.
_LOOK_EVERY: Final = 0.5


class StoppedError(RunError):
    """A run that wrote a checkpoint and stopped because its sweep was told to."""


def train_one(config: dict[str, Any], path: str, stop: str) -> str:
    """Train one run of a sweep to its end, from its last checkpoint if it has one.

    Args:
        config: As `to_dict` makes it.
        path: The run directory.
        stop: A file; once it is there the run writes a checkpoint and stops.

    Returns:
        The path.

    Raises:
        StoppedError: If it stopped.
        RunError: As `train` does; and ValueError.
    """
    is_asked = _appears(Path(stop))
    if not is_asked():
        with stopping_when(is_asked):
            try:
                train(from_dict(RunConfig, config), path, progress=False)
            except KeyboardInterrupt:
                # One's own Ctrl-C, in the process that sweeps, is none of ours.
                if not Path(stop).exists():
                    raise
    if not Layout(Path(path)).is_finished(config["epochs"]):
        msg = f"{path} was stopped."
        raise StoppedError(msg)
    return path


def _appears(file: Path) -> Callable[[], bool]:
    """Whether a file is there, looked at now and then."""
    looked, is_there = -math.inf, False

    def is_asked() -> bool:
        nonlocal looked, is_there
        if not is_there and time.monotonic() - looked > _LOOK_EVERY:
            is_there, looked = file.exists(), time.monotonic()
        return is_there

    return is_asked


def one_line(error: BaseException) -> str:
    """An error for people: its message, with its kind where it is not written by us."""
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    if isinstance(error, (RunError, ValueError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
