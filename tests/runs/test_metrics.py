"""metrics.jsonl: one line of JSON per logged epoch."""

import json
from pathlib import Path

import pytest

from grokinterp.runs.layout import RunError
from grokinterp.runs.metrics import append_metrics, read_metrics, write_metrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Entries of epochs 0, 10 and 20."""
    for epoch in (0, 10, 20):
        append_metrics(tmp_path / "metrics.jsonl", {"epoch": epoch, "loss": {"train": 0.1 + epoch}})
    return tmp_path / "metrics.jsonl"


def test_entries_go_there_and_back_by_the_line(path: Path) -> None:
    entries = read_metrics(path)
    assert entries == [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["epoch"] for entry in entries] == [0, 10, 20]
    assert entries[1]["loss"] == {"train": 10.1}


def test_there_are_none_before_the_first(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("half", ['{"epoch": 30, "lo', '{"epoch": 30}', "\x00\x00"])
def test_a_last_line_without_its_end_is_left_out(half: str, path: Path) -> None:
    with path.open("a") as file:
        file.write(half)
    assert [entry["epoch"] for entry in read_metrics(path)] == [0, 10, 20]


@pytest.mark.parametrize("line", [b"", b"{broken", b"[1, 2]", b'{"loss": 1}', b"\xff\xff"])
def test_any_other_broken_line_is_named(line: bytes, path: Path) -> None:
    lines = path.read_bytes().splitlines()
    lines[1] = line
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(RunError, match=r"line 2 of .*metrics\.jsonl must be the JSON of an epoch, got .*restore it"):
        read_metrics(path)


def test_entries_are_written_in_place_of_all_that_are_there(path: Path) -> None:
    before = path.read_text().splitlines()
    write_metrics(path, read_metrics(path)[:2])
    assert path.read_text().splitlines() == before[:2]


@pytest.mark.parametrize("epoch", [20, 10, 0])
def test_epochs_that_do_not_ascend_are_named(epoch: int, path: Path) -> None:
    append_metrics(path, {"epoch": epoch})
    with pytest.raises(RunError, match=rf"line 4 .* later epoch than the line before it \(20\), got epoch {epoch};"):
        read_metrics(path)


@pytest.mark.parametrize(
    "line",
    [
        '{"epoch": -1}',
        '{"epoch": 30.0}',
        '{"epoch": true}',
        '{"epoch": "30"}',
        '{"epoch": 30, "seconds": NaN}',
        '{"epoch": 30, "seconds": 1e999}',
        '{"epoch": 30, "loss": {"train": Infinity}}',
        '{"epoch": 30, "loss": {"train": {"train": 1}}}',
        '{"epoch": 30, "seconds": "long"}',
        '{"epoch": 30, "seconds": 1' + "0" * 400 + "}",
        "[" * 100_000,
    ],
    ids=lambda line: line[:30],
)
def test_what_is_no_epoch_or_no_finite_number_is_named(line: str, path: Path) -> None:
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match=r"line 4 of .*metrics\.jsonl must be the JSON of an epoch") as raised:
        read_metrics(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_and_nothing_is_written(number: float, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_metrics(path, {"epoch": 30, "loss": {"train": number}})
    assert path.read_bytes() == before
