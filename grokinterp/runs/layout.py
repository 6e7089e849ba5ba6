"""Where a run's files lie and how they are written: under a temporary name, flushed, then renamed."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class RunError(RuntimeError):
    """A run directory that is broken, foreign, in use or cannot be written."""


class RunBusyError(RunError):
    """A run directory that another trainer is at work in."""


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
    def start(self) -> Path:
        """Of a fork: the state of the optimizer and the generator that it began with."""
        return self.root / "start.safetensors"

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
        """The epochs that have a checkpoint, in order; files that are not named as one are passed over."""
        stems = {path.stem for path in self.checkpoints.glob("*.safetensors")}
        numbers = (int(stem) for stem in stems if stem.isdecimal())
        return tuple(sorted(number for number in numbers if self.checkpoint(number).stem in stems))

    def leftovers(self) -> list[Path]:
        """Temporary files of a trainer that was killed while it wrote."""
        written = (self.config, self.task, self.split, self.metrics, self.resume, self.start)
        in_root = (left for path in written for left in self.root.glob(f".{path.name}.*.tmp"))
        return [*in_root, *self.checkpoints.glob(".*.tmp")]


def is_held(lock: Path) -> bool:
    """Whether a trainer holds a lock. It is not taken, and never made; False on systems without `flock`."""
    try:
        import fcntl

        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        pass
    return False


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that it is there whole or not at all, also after a crash.

    Args:
        path: Where it shall be; an older file there is replaced.
        write: Writes the content to the path that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make a renaming last through a power cut; only POSIX systems can open a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, indented for people.

    Raises:
        ValueError: If a number is not finite, which JSON cannot say.
    """
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


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
