"""The summary files of a sweep, which need no library to read, and their table for a terminal."""

import csv
import io
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import xarray as xr

from grokinterp.runs.layout import RunError, read_json, write_atomically, write_json
from grokinterp.sweeps.directories import axes_of, fields_of, locked, word
from grokinterp.sweeps.results import SPLITS, entries_of, outcomes


FORMAT: Final = 1
_STATUSES: Final = ("finished", "failed", "unfinished")
# Columns of the terminal's table after the axes.
_COLUMNS: Final = {
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "memorized_epoch": "memorized",
    "grokked_epoch": "grokked",
    "delay": "delay",
    "seconds": "seconds",
}


def write_summary(
    root: str | Path, failed: Mapping[Path, str] | None = None, *, attempted: Collection[Path] = ()
) -> Path:
    """Write a sweep's summary.json and summary.csv, with one record per run below its root.

    A record has the `run`'s directory, its `status` (finished, failed or unfinished), its values on the swept
    `axes`, and the results of `collect`, null (empty in the CSV) if missing or infinite: train_loss, test_loss,
    train_accuracy, test_accuracy, memorized_epoch, grokked_epoch, delay, ratio, is_grokked, is_censored, time,
    last_epoch, squared_weight_norm and seconds; and the `error` of a failed run. An error from an earlier summary is
    kept until its run is finished or attempted again.

    Args:
        root: The sweep directory.
        failed: Why runs failed, by run directory.
        attempted: Directories of all runs of the sweep that has just ended; earlier errors of these are dropped.

    Returns:
        The path of summary.json.

    Raises:
        RunError: If there is no run, a run cannot be read, or the files cannot be written.
    """
    root = Path(root).absolute()
    with locked(root):
        errors = _earlier_errors(root, {path.name for path in attempted})
        errors |= {path.name: error for path, error in (failed or {}).items()}
        records, rules = _records(root, errors)
        summary = {
            "format": FORMAT,
            "grokinterp": version("grokinterp"),
            "axes": list(records[0]["axes"]),
            "rules": rules,
            "counts": {status: sum(r["status"] == status for r in records) for status in _STATUSES},
            "runs": records,
        }
        write_json(root / "summary.json", summary)
        text = _csv(records)
        write_atomically(root / "summary.csv", lambda file: file.write_text(text, encoding="utf-8", newline=""))
    return root / "summary.json"


def _earlier_errors(root: Path, attempted: Collection[str]) -> dict[str, str]:
    """The errors in the previous summary, by run, without the runs attempted since."""
    try:
        failed = [run for run in read_json(root / "summary.json")["runs"] if run["status"] == "failed"]
        return {run["run"]: str(run["error"]) for run in failed if run["run"] not in attempted}
    except (RunError, KeyError, TypeError):
        return {}  # missing or invalid, and about to be rewritten


def _records(root: Path, errors: Mapping[str, str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    entries = entries_of(root)
    table = outcomes(entries)
    axes = axes_of([entry.config for entry in entries])
    records = []
    for i, entry in enumerate(entries):
        fields = fields_of(entry.config)
        status = "finished" if entry.run.is_finished else "failed" if entry.name in errors else "unfinished"
        records.append(
            {
                "run": entry.name,
                "status": status,
                "axes": {axis: fields.get(axis) for axis in axes},
                **_numbers(table.isel(run=i)),
                "error": errors.get(entry.name) if status == "failed" else None,
            }
        )
    rules = {str(name): data.attrs["rule"] for name, data in table.items() if "rule" in data.attrs}
    return records, rules


def _numbers(row: xr.Dataset) -> dict[str, float | int | None]:
    """A run's results by name, with one entry per split."""
    numbers: dict[str, float | int | None] = {}
    for name, data in row.items():
        if "split" in data.dims:
            numbers |= {f"{split}_{name}": _json_number(data.sel(split=split)) for split in SPLITS}
        else:
            numbers[str(name)] = _json_number(data)
    return numbers


def _json_number(data: xr.DataArray) -> float | int | None:
    """A number for JSON, which has no NaN and no infinity; epochs and flags are integers."""
    number = data.item()
    if not math.isfinite(number):
        return None
    return int(number) if data.attrs["units"] == "epoch" or data.name in ("is_grokked", "is_censored") else number


def _csv(records: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO(newline="")
    rows = [{**record} | {axis: word(value) for axis, value in record["axes"].items()} for record in records]
    first = ["run", "status", *records[0]["axes"]]
    rest = [name for name in records[0] if name not in (*first, "axes")]
    writer = csv.DictWriter(text, [*first, *rest], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def format_summary(summary: Mapping[str, Any]) -> str:
    """A summary as a table for a terminal: one line per run, then one per rule that defines an epoch.

    Args:
        summary: The content of summary.json.
    """
    axes = list(summary["runs"][0]["axes"])
    rows = [[*(axis.rpartition(".")[2] for axis in axes), *_COLUMNS.values()]]
    rules = [f"{_COLUMNS[name]}: {rule}" for name, rule in summary["rules"].items() if name in _COLUMNS]
    for record in summary["runs"]:
        numbers = [_short(record[name]) for name in _COLUMNS] if record["status"] == "finished" else [record["status"]]
        rows.append([*(word(record["axes"][axis]) for axis in axes), *numbers])
    widths = [max(map(len, column)) for column in itertools.zip_longest(*rows, fillvalue="")]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    return "\n".join([*lines, *rules])


def _short(number: float | int | None) -> str:
    return "-" if number is None else f"{number:.3g}" if isinstance(number, float) else str(number)
