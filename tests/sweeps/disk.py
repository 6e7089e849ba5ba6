"""What on a disk tells whether a run was trained again, or is under way."""

import time
from collections.abc import Callable
from pathlib import Path

from grokinterp.runs.layout import Layout
from grokinterp.runs.tensors import read_tensors


def written(root: Path) -> dict[Path, tuple[int, int]]:
    """What changes with a file of weights, or the one that says finished, when it is written again."""
    found = [path for path in root.rglob("*") if path.name == "FINISHED" or path.suffix == ".safetensors"]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def saved(root: Path) -> dict[Path, tuple[int, int]]:
    """Of that what nobody may write again: all of a finished run, the checkpoints before the one to go on from."""
    lasting: set[Path] = set()
    for layout in (Layout(path.parent) for path in root.glob("*/config.json")):
        if layout.finished.exists():
            lasting |= {layout.finished, layout.resume, *map(layout.checkpoint, layout.checkpoint_epochs())}
        else:
            lasting |= {layout.checkpoint(epoch) for epoch in layout.checkpoint_epochs() if epoch < _reached(layout)}
    return {path: marks for path, marks in written(root).items() if path in lasting}


def at_work(root: Path, *, beyond: int = 50) -> list[Layout]:
    """The runs below a root that can go on from this epoch or a later one, and are not finished."""
    layouts = [Layout(path.parent) for path in root.glob("*/config.json")]
    return [layout for layout in layouts if not layout.finished.exists() and _reached(layout) >= beyond]


def _reached(layout: Layout) -> int:
    """The epoch that a run goes on from."""
    return read_tensors(layout.resume)[1]["epoch"] if layout.resume.exists() else 0


def wait_for(what: str, is_so: Callable[[], object]) -> None:
    """Until something holds, or five minutes are over, which is no measurement but the end of a test that hangs."""
    deadline = time.monotonic() + 300
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)
