"""Where a run's files lie and how they are written: under a temporary name, flushed, then renamed."""

import json
import os
import re
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn


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

    def checkpoint_epochs(self) -> tuple[int, ...]:
        """The epochs that have a checkpoint, in order; files that are not named as one are passed over."""
        stems = {path.stem for path in self.checkpoints.glob("*.safetensors")}
        numbers = (int(stem) for stem in stems if stem.isdecimal())
        return tuple(sorted(number for number in numbers if self.checkpoint(number).stem in stems))

    def is_finished(self, epochs: int) -> bool:
        """Whether training reached the last of its epochs, and the checkpoint of that epoch is there."""
        return self.finished.exists() and self.checkpoint(epochs).exists()

    def check_finished(self, epochs: int) -> None:
        """Refuse a run that is marked as finished and lacks the checkpoint of its last epoch.

        Raises:
            RunError: If it does.
        """
        if self.finished.exists() and not self.is_finished(epochs):
            msg = (
                f"{self.root} is marked as finished, but lacks the checkpoint of its last epoch {epochs}; restore "
                f"{self.checkpoint(epochs).name} from a copy, read an earlier epoch, or train in a new directory."
            )
            raise RunError(msg)

    def leftovers(self) -> list[Path]:
        """Temporary files of a trainer that was killed while it wrote."""
        written = (self.config, self.task, self.split, self.metrics, self.resume, self.start)
        names = "|".join(re.escape(path.name) for path in written)
        ours = re.compile(rf"\.({names}|\d{{7,}}\.safetensors)\.[0-9a-f]{{16}}\.tmp")
        found = [*self.root.glob(".*.tmp"), *self.checkpoints.glob(".*.tmp")]
        return [path for path in found if ours.fullmatch(path.name) and path.is_file()]


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
        path: The file, in an existing folder. An older file is replaced and its permissions are kept; if the path is a
            symlink to a file, the file that it points to is replaced.
        write: Writes the content to the path that it is given.

    Raises:
        RunError: If something that is not a regular file is there.
        OSError: If the disk is full, or the folder is missing or cannot be written.
    """
    check_is_file(path)
    path = path.resolve() if path.is_symlink() else path
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    # Exclusively: a file or symlink that someone else put there is never written to.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        write(temporary)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(path.parent)


def check_is_file(path: Path) -> None:
    """Refuse a path that is neither free nor a regular file, which reading might wait for and writing might destroy.

    Raises:
        RunError: If it is a directory, a device, a pipe or a symlink to nothing.
    """
    is_there = path.exists()
    if (is_there and not path.is_file()) or (path.is_symlink() and not is_there):
        found = "a directory" if path.is_dir() else "a device or pipe" if is_there else "a symlink to nothing"
        msg = f"{path} must be a regular file, got {found}; choose another path, or move it away."
        raise RunError(msg)


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
        RunError: If the file is missing or is not JSON.
    """
    check_is_file(path)
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path.parent} is no run directory: it has no {path.name}."
        raise RunError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{path} must be JSON, got {error}."
        raise RunError(msg) from None


def from_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: If it is not JSON, is nested too deeply, or has NaN or infinity, which JSON does not have.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        msg = "JSON that is nested too deeply"
        raise ValueError(msg) from None


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name}, which is not JSON"
    raise ValueError(msg)
