"""Where a run's files lie and how they are written: under a temporary name, flushed, then renamed."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class RunError(RuntimeError):
    """A run directory that is broken, foreign, in use or cannot be written."""


@dataclass(frozen=True)
class Layout:
    """The paths of a run directory.

    Attributes:
        root: The directory itself.
    """

    root: Path

    @property
    def config(self) -> Path:
        """The RunConfig, and the versions and machine that made the run."""
        return self.root / "config.json"

    @property
    def task(self) -> Path:
        """The task's table, tokens and group."""
        return self.root / "task.safetensors"

    @property
    def split(self) -> Path:
        """is_train[a, b] as trained on."""
        return self.root / "split.safetensors"

    @property
    def metrics(self) -> Path:
        """One line of JSON per logged epoch."""
        return self.root / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of the parameters by epoch."""
        return self.root / "checkpoints"

    @property
    def resume(self) -> Path:
        """State of the optimizer and the generator at the last checkpoint."""
        return self.root / "resume.safetensors"

    @property
    def analysis(self) -> Path:
        """The folder of cached trajectories."""
        return self.root / "analysis"

    @property
    def report(self) -> Path:
        """The page that `grokinterp report` writes."""
        return self.root / "report.html"

    @property
    def finished(self) -> Path:
        """There when the run reached its last epoch."""
        return self.root / "FINISHED"

    @property
    def lock(self) -> Path:
        """Held by the one trainer at work."""
        return self.root / ".lock"

    def checkpoint(self, epoch: int) -> Path:
        """The parameters of one epoch."""
        return self.checkpoints / f"{epoch:07d}.safetensors"

    def epochs(self) -> tuple[int, ...]:
        """The epochs that have a checkpoint, in order."""
        return tuple(sorted(int(path.stem) for path in self.checkpoints.glob("[0-9]*.safetensors")))


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file so that it is there whole or not at all, also after a crash.

    Args:
        path: Where it shall be; an older file there is replaced.
        write: Writes the content to the path that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, indented for people."""
    text = json.dumps(data, indent=2) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8") and None)


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        RunError: If the file is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path.parent} is no run directory: it has no {path.name}."
        raise RunError(msg) from None
    except ValueError as error:
        msg = f"{path} must be JSON, got {error}."
        raise RunError(msg) from None
