"""The metrics of a run: one line of JSON per logged epoch."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grokinterp.runs.layout import RunError, check_is_file, from_json, write_atomically


def append_metrics(path: Path, entry: dict[str, Any]) -> None:
    """Add one entry, and make sure it is on disk.

    Raises:
        ValueError: If a number is not finite, which JSON cannot say.
    """
    line = json.dumps(entry, allow_nan=False) + "\n"
    check_is_file(path)
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All entries in order; a last line that was cut off by a crash is left out.

    Raises:
        RunError: If any other line is not an entry of a later epoch than the line before it.
    """
    entries: list[dict[str, Any]] = []
    for number, line in _lines(path):
        entry = _read_entry(path, number, line)
        if entries and entry["epoch"] <= entries[-1]["epoch"]:
            msg = (
                f"line {number} of {path} must be of a later epoch than the line before it ({entries[-1]['epoch']}), "
                f"got epoch {entry['epoch']}; restore it from a copy."
            )
            raise RunError(msg)
        entries.append(entry)
    return entries


def last_entry(path: Path) -> dict[str, Any] | None:
    """The last entry, without a look at the others; None if there is none.

    Raises:
        RunError: If the line is not an entry.
    """
    lines = _lines(path)
    return _read_entry(path, *lines[-1]) if lines else None


def _lines(path: Path) -> list[tuple[int, str]]:
    check_is_file(path)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        msg = f"{path} could not be read: {error}."
        raise RunError(msg) from None
    # What follows the last line break is empty, or the beginning of a line that was never finished.
    return list(enumerate(lines[:-1], 1))


def _read_entry(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        entry = from_json(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or not _is_epoch(entry.get("epoch")) or not all(map(_is_finite, entry.values())):
        msg = f"line {number} of {path} must be an epoch's JSON, got {line[:40]!r}; restore it from a copy."
        raise RunError(msg)
    return entry


def _is_epoch(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_finite(value: object) -> bool:
    """Whether a value is a finite number, or has one for each split."""
    if isinstance(value, dict):
        return not any(isinstance(part, dict) for part in value.values()) and all(map(_is_finite, value.values()))
    # An integer beyond float64 is none that was logged.
    return (isinstance(value, float) and math.isfinite(value)) or (type(value) is int and abs(value) < 2**53)


def write_metrics(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write these entries in place of all that are there: those before the epoch that a run is resumed at."""
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
