"""What a sweep came to as files that need nothing to be read, and as a table for people."""

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
from grokinterp.sweeps.axes import axes_of, fields_of, word
from grokinterp.sweeps.directories import disk_errors, one_at_a_time
from grokinterp.sweeps.outcomes import SPLITS, outcomes, places_in


FORMAT: Final = 1
_STATUSES: Final = ("finished", "failed", "unfinished")
# Columns of the table for people, after the axes.
_SHOWN: Final = {
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "memorized_epoch": "memorized",
    "grokked_epoch": "grokked",
    "delay": "delay",
    "seconds": "seconds",
}


def write_summary(root: str | Path, failed: Mapping[Path, str] | None = None, *, tried: Collection[Path] = ()) -> Path:
    """Write a sweep's summary.json and summary.csv: a record for each run that its root knows.

    A record has the `run`'s directory, its `status` (finished, failed or unfinished), its values on the swept
    `axes`, and the numbers of `collect`, null (empty in the CSV) where there is none or it is infinite: train_loss,
    test_loss, train_accuracy, test_accuracy, memorized_epoch, grokked_epoch, delay, ratio, is_grokked, is_censored,
    time, last_epoch, squared_weight_norm and seconds; and the `error` of a run that failed. The error of an earlier
    summary stays until its run is finished or tried again.

    Args:
        root: The sweep's folder.
        failed: Why runs failed, by directory.
        tried: Directories of all runs of the sweep that has just ended, of which `failed` tells the whole.

    Returns:
        The path of summary.json.

    Raises:
        RunError: If there is no run, one cannot be read, or the files cannot be written.
    """
    root = Path(root).absolute()
    with disk_errors(root), one_at_a_time(root):
        errors = _earlier_errors(root, {path.name for path in tried})
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


def _earlier_errors(root: Path, tried: Collection[str]) -> dict[str, str]:
    """Why runs failed, by name, that have not been tried since, as the summary before this one has it."""
    try:
        runs = read_json(root / "summary.json")["runs"]
        return {run["run"]: str(run["error"]) for run in runs if run["status"] == "failed" and run["run"] not in tried}
    except (RunError, KeyError, TypeError):
        return {}  # There is none, or it is of another kind, and is written anew.


def _records(root: Path, errors: Mapping[str, str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    places = places_in(root)
    table = outcomes(places)
    axes = axes_of([place.config for place in places])
    records = []
    for i, place in enumerate(places):
        fields = fields_of(place.config)
        status = "finished" if place.run.is_finished else "failed" if place.name in errors else "unfinished"
        records.append(
            {
                "run": place.name,
                "status": status,
                "axes": {axis: fields.get(axis) for axis in axes},
                **_numbers(table.isel(run=i)),
                "error": errors.get(place.name) if status == "failed" else None,
            }
        )
    rules = {str(name): data.attrs["rule"] for name, data in table.items() if "rule" in data.attrs}
    return records, rules


def _numbers(row: xr.Dataset) -> dict[str, float | int | None]:
    """A run's numbers by name, with those of each part of the pairs under names of their own."""
    numbers: dict[str, xr.DataArray] = {}
    for name, data in row.items():
        if "split" in data.dims:
            numbers |= {f"{split}_{name}": data.sel(split=split) for split in SPLITS}
        else:
            numbers[str(name)] = data
    return {name: _written(data) for name, data in numbers.items()}


def _written(data: xr.DataArray) -> float | int | None:
    """A number as JSON has it, which knows no NaN and no infinity; epochs are whole."""
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
    """A summary as a table for a terminal: a line for each run, and one for each rule by which epochs were found.

    Args:
        summary: As summary.json has it.
    """
    axes = list(summary["runs"][0]["axes"])
    rows = [[*(axis.rpartition(".")[2] for axis in axes), *_SHOWN.values()]]
    rules = [f"{_SHOWN[name]}: {rule}" for name, rule in summary["rules"].items() if name in _SHOWN]
    for record in summary["runs"]:
        numbers = [_short(record[name]) for name in _SHOWN] if record["status"] == "finished" else [record["status"]]
        rows.append([*(word(record["axes"][axis]) for axis in axes), *numbers])
    widths = [max(map(len, column)) for column in itertools.zip_longest(*rows, fillvalue="")]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    return "\n".join([*lines, *rules])


def _short(number: float | int | None) -> str:
    return "-" if number is None else f"{number:.3g}" if isinstance(number, float) else str(number)
