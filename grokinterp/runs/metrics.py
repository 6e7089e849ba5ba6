"""The metrics of a run: one line of JSON per logged epoch."""

import json
import os
from pathlib import Path
from typing import Any

from grokinterp.runs.layout import RunError, write_atomically


def append_metrics(path: Path, entry: dict[str, Any]) -> None:
    """Add one entry, and make sure it is on disk.

    Raises:
        ValueError: If a number is not finite, which JSON cannot say.
    """
    line = json.dumps(entry, allow_nan=False) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All entries in order; a last line that was cut off by a crash is left out.

    Raises:
        RunError: If any other line is not an entry.
    """
    return [_read_entry(path, number, line) for number, line in _lines(path)]


def last_entry(path: Path) -> dict[str, Any] | None:
    """The last entry, without a look at the others; None if there is none.

    Raises:
        RunError: If the line is not an entry.
    """
    lines = _lines(path)
    return _read_entry(path, *lines[-1]) if lines else None


def _lines(path: Path) -> list[tuple[int, str]]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    # What follows the last line break is empty, or the beginning of a line that was never finished.
    return list(enumerate(lines[:-1], 1))


def _read_entry(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or "epoch" not in entry:
        msg = f"line {number} of {path} must be an epoch's JSON, got {line[:40]!r}; restore it from a copy."
        raise RunError(msg)
    return entry


def keep_metrics_before(path: Path, epoch: int) -> None:
    """Drop the entries from `epoch` on, which a resumed run will log again."""
    kept = [entry for entry in read_metrics(path) if entry["epoch"] < epoch]
    text = "".join(json.dumps(entry) + "\n" for entry in kept)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
