"""metrics.jsonl: one line of JSON per logged epoch."""

import json
from pathlib import Path

import pytest

from grokinterp.runs.layout import RunError
from grokinterp.runs.metrics import append_metrics, keep_metrics_before, read_metrics


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
    with pytest.raises(RunError, match=r"line 2 of .*metrics\.jsonl must be an epoch's JSON, got .*restore it"):
        read_metrics(path)


@pytest.mark.parametrize(("epoch", "kept"), [(0, []), (10, [0]), (11, [0, 10]), (99, [0, 10, 20])])
def test_entries_from_an_epoch_on_are_dropped(epoch: int, kept: list[int], path: Path) -> None:
    before = path.read_text().splitlines()
    keep_metrics_before(path, epoch)
    assert [entry["epoch"] for entry in read_metrics(path)] == kept
    assert path.read_text().splitlines() == before[: len(kept)]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_and_nothing_is_written(number: float, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_metrics(path, {"epoch": 30, "loss": {"train": number}})
    assert path.read_bytes() == before
