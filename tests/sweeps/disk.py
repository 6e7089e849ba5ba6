"""What the files of a sweep tell: which were rewritten, and which runs are unfinished."""

import time
from collections.abc import Callable
from pathlib import Path

from grokinterp.runs.layout import Layout
from grokinterp.runs.tensors import read_tensors


def written(root: Path) -> dict[Path, tuple[int, int]]:
    """Inode and modification time of each weight file and FINISHED marker; both change if the file is rewritten."""
    files = [path for path in root.rglob("*") if path.name == "FINISHED" or path.suffix == ".safetensors"]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def saved(root: Path) -> dict[Path, tuple[int, int]]:
    """The files that must never be rewritten: those of finished runs, and checkpoints before the resume point."""
    lasting: set[Path] = set()
    for layout in (Layout(path.parent) for path in root.glob("*/config.json")):
        if layout.finished.exists():
            lasting |= {layout.finished, layout.resume, *map(layout.checkpoint, layout.checkpoint_epochs())}
        else:
            lasting |= {layout.checkpoint(epoch) for epoch in layout.checkpoint_epochs() if epoch < _reached(layout)}
    return {path: marks for path, marks in written(root).items() if path in lasting}


def at_work(root: Path, *, beyond: int = 50) -> list[Layout]:
    """The unfinished runs below a root that can resume from this epoch or later."""
    layouts = [Layout(path.parent) for path in root.glob("*/config.json")]
    return [layout for layout in layouts if not layout.finished.exists() and _reached(layout) >= beyond]


def _reached(layout: Layout) -> int:
    """The epoch from which a run resumes."""
    return read_tensors(layout.resume)[1]["epoch"] if layout.resume.exists() else 0


def wait_for(what: str, is_so: Callable[[], object]) -> None:
    """Wait until a condition holds; five minutes end a test that hangs."""
    deadline = time.monotonic() + 300
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)
