"""The metrics of a run: one line of JSON per logged epoch."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from grokinterp.runs.layout import RunError, check_is_file, from_json, write_atomically


_MAX_EPOCH: Final = 2**53


def append_metrics(path: Path, entry: dict[str, Any]) -> None:
    """Append one entry and flush it to disk; a number that is not finite raises a ValueError."""
    line = json.dumps(entry, allow_nan=False) + "\n"
    check_is_file(path)
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All entries in order, without a last line that a crash cut off.

    Raises:
        RunError: If any other line is not a valid entry, or the epochs do not increase.
    """
    entries: list[dict[str, Any]] = []
    for number, line in _lines(path):
        entry = _read_entry(path, number, line)
        if entries and entry["epoch"] <= entries[-1]["epoch"]:
            msg = (
                f"line {number} of {path} must have a later epoch than the line before it ({entries[-1]['epoch']}), "
                f"got epoch {entry['epoch']}; restore the file from a backup."
            )
            raise RunError(msg)
        entries.append(entry)
    return entries


def last_entry(path: Path) -> dict[str, Any] | None:
    """The last entry, without checking the others; None if there is none. An invalid line raises a RunError."""
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
    # The text after the last line break is empty or an unfinished line.
    return list(enumerate(lines[:-1], 1))


def _read_entry(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        entry = from_json(line)
        is_valid = type(entry["epoch"]) is int and 0 <= entry["epoch"] < _MAX_EPOCH
        values = [x for value in entry.values() for x in (value.values() if isinstance(value, dict) else [value])]
    except (AttributeError, KeyError, TypeError, ValueError):
        is_valid, entry, values = False, {}, []
    # Compared with the largest float64 because JSON has longer integers, and reads 1e999 as infinity.
    if not is_valid or not all(type(x) in (int, float) and abs(x) <= sys.float_info.max for x in values):
        msg = f"line {number} of {path} must be the JSON of an epoch, got {line[:40]!r}; restore it from a backup."
        raise RunError(msg)
    return entry


def write_metrics(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Replace all entries, e.g. by those before the epoch at which training resumes."""
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
