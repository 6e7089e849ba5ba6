"""The paths of a run directory, and atomic writing: to a temporary file that is flushed, then renamed."""

import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn


class RunError(RuntimeError):
    """The run directory is damaged, belongs to a different run, is in use, or cannot be written."""


class RunBusyError(RunError):
    """A second process is training in the run directory."""


@dataclass(frozen=True)
class Layout:
    """The paths in the run directory `root`."""

    root: Path

    @property
    def config(self) -> Path:
        """The RunConfig, and the versions and machine of the run."""
        return self.root / "config.json"

    @property
    def task(self) -> Path:
        """The task's table, tokens and group."""
        return self.root / "task.safetensors"

    @property
    def split(self) -> Path:
        """The training mask, with answers and difficulties if the run has its own."""
        return self.root / "split.safetensors"

    @property
    def metrics(self) -> Path:
        """One line of JSON per logged epoch."""
        return self.root / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The directory of the parameters, one file per checkpoint."""
        return self.root / "checkpoints"

    @property
    def resume(self) -> Path:
        """The states of the optimizer and the generator at the last checkpoint."""
        return self.root / "resume.safetensors"

    @property
    def start(self) -> Path:
        """The states of the optimizer and the generator that a fork started from."""
        return self.root / "start.safetensors"

    @property
    def analysis(self) -> Path:
        """The directory of cached measures."""
        return self.root / "analysis"

    @property
    def report(self) -> Path:
        """The page that `grokinterp report` writes."""
        return self.root / "report.html"

    @property
    def finished(self) -> Path:
        """An empty file that exists once the run has reached its last epoch."""
        return self.root / "FINISHED"

    @property
    def lock(self) -> Path:
        """The lock file that a trainer holds."""
        return self.root / ".lock"

    def checkpoint(self, epoch: int) -> Path:
        """The checkpoint file of an epoch."""
        return self.checkpoints / f"{epoch:07d}.safetensors"

    def checkpoint_epochs(self) -> tuple[int, ...]:
        """The epochs with a checkpoint, in ascending order; files with other names are ignored."""
        stems = {path.stem for path in self.checkpoints.glob("*.safetensors")}
        numbers = (int(stem) for stem in stems if stem.isdecimal())
        return tuple(sorted(number for number in numbers if self.checkpoint(number).stem in stems))

    def is_finished(self, epochs: int) -> bool:
        """Whether training reached its last epoch and the checkpoint of that epoch exists."""
        return self.finished.exists() and self.checkpoint(epochs).exists()

    def check_finished(self, epochs: int) -> None:
        """Raise a RunError if the run is marked as finished but lacks the checkpoint of its last epoch."""
        if self.finished.exists() and not self.is_finished(epochs):
            msg = (
                f"{self.root} is marked as finished, but lacks the checkpoint of its last epoch {epochs}; restore "
                f"{self.checkpoint(epochs).name} from a backup, read an earlier epoch, or train in a new directory."
            )
            raise RunError(msg)

    def leftovers(self) -> list[Path]:
        """Temporary files of a trainer that was killed while writing."""
        written = (self.config, self.task, self.split, self.metrics, self.resume, self.start)
        names = "|".join(re.escape(path.name) for path in written)
        ours = re.compile(rf"\.({names}|\d{{7,}}\.safetensors)\.[0-9a-f]{{16}}\.tmp")
        temporary = [*self.root.glob(".*.tmp"), *self.checkpoints.glob(".*.tmp")]
        return [path for path in temporary if ours.fullmatch(path.name) and path.is_file()]


def is_held(lock: Path) -> bool:
    """Whether a trainer holds a lock, without acquiring or creating it; False on systems without `flock`."""
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
    """Write a file completely or not at all, even if the process crashes.

    Args:
        path: A file in an existing directory. An existing file is replaced and keeps its permissions; a symlink stays,
            and the file it points to is replaced.
        write: Function that writes the content to a given path.

    Raises:
        RunError: If the path exists and is not a regular file.
        OSError: If the disk is full, or the directory is missing or cannot be written.
    """
    check_is_file(path)
    path = path.resolve() if path.is_symlink() else path
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    # Created exclusively, so that no existing file or symlink is ever written to.
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
    _flush_directory(path.parent)


def check_is_file(path: Path) -> None:
    """Raise a RunError if the path is a directory, a device, a pipe or a dangling symlink."""
    exists = path.exists()  # reading a pipe could block, and writing to a device could destroy data
    if (exists and not path.is_file()) or (path.is_symlink() and not exists):
        kind = "a directory" if path.is_dir() else "a device or pipe" if exists else "a dangling symlink"
        msg = f"{path} must be a regular file, got {kind}; choose a different path, or move it away."
        raise RunError(msg)


@contextmanager
def valid_content(path: Path, what: str) -> Generator[None, None, None]:
    """Turn errors in interpreting the content of a file into a RunError: `PATH must hold WHAT: ...`."""
    try:
        yield
    except RunError:
        raise
    except KeyError as error:
        msg = f"{path} must hold {what}: {error} is missing. Restore it from a backup."
        raise RunError(msg) from None
    except (ValueError, TypeError, RuntimeError, IndexError, OverflowError) as error:
        text = " ".join(str(error).split())
        msg = f"{path} must hold {what}: {text}{'' if text.endswith(('.', '?')) else '.'} Restore it from a backup."
        raise RunError(msg) from None


def _flush_directory(directory: Path) -> None:
    """Make a renaming survive a power failure; only POSIX systems can open a directory."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically; a number that is not finite raises a ValueError."""
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read JSON; a missing or invalid file raises a RunError."""
    check_is_file(path)
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path.parent} is not a run directory: it has no {path.name}."
        raise RunError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{path} must be JSON, got {error}."
        raise RunError(msg) from None


def from_json(text: str) -> Any:
    """Parse JSON; invalid or too deeply nested text, NaN and infinity raise a ValueError."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        msg = "JSON that is nested too deeply"
        raise ValueError(msg) from None


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name}, which is not JSON"
    raise ValueError(msg)
