"""The metrics of a run: one line of JSON per logged epoch."""

import json
import os
from pathlib import Path
from typing import Any

from grokinterp.runs.layout import RunError, write_atomically


def append_metrics(path: Path, entry: dict[str, Any]) -> None:
    """Add one entry, and make sure it is on disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All entries in order; a last line that was cut off by a crash is left out.

    Raises:
        RunError: If any other line is not JSON.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    entries = []
    # What follows the last line break is empty, or the beginning of a line that was never finished.
    for number, line in enumerate(lines[:-1], 1):
        try:
            entries.append(json.loads(line))
        except ValueError:
            msg = f"line {number} of {path} must be JSON, got {line[:40]!r}; restore the file from a copy."
            raise RunError(msg) from None
    return entries


def keep_metrics_before(path: Path, epoch: int) -> None:
    """Drop the entries from `epoch` on, which a resumed run will log again."""
    kept = [entry for entry in read_metrics(path) if entry["epoch"] < epoch]
    text = "".join(json.dumps(entry) + "\n" for entry in kept)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8") and None)
