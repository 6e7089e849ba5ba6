"""`gi.train(..., on_log=function)`: a user's function is called with every entry that is logged."""

import json
from pathlib import Path
from typing import Any

import pytest

import grokinterp as gi
from grokinterp.config import RunConfig
from grokinterp.runs.layout import Layout


Entries = list[tuple[int, dict[str, Any]]]


def entries(path: Path) -> Entries:
    """The entries of metrics.jsonl by epoch."""
    lines = [json.loads(line) for line in Layout(path).metrics.read_text().splitlines()]
    return [(line["epoch"], line) for line in lines]


def stopping_at(epoch: int, calls: Entries, error: Exception):
    def log(at: int, metrics: dict[str, Any]) -> None:
        calls.append((at, metrics))
        if at == epoch:
            raise error

    return log


@pytest.mark.slow
def test_it_is_called_with_every_entry_of_the_metrics(tiny: RunConfig, tmp_path: Path) -> None:
    calls: Entries = []
    gi.train(tiny, tmp_path, on_log=lambda epoch, metrics: calls.append((epoch, metrics)), progress=False)
    assert calls == entries(tmp_path)
    assert [epoch for epoch, _ in calls] == [0, 3, 6, 9, 12, 15, 18, 21, 24]
    assert {"train", "test"} == set(calls[0][1]["loss"])


@pytest.mark.slow
def test_the_entry_is_on_disk_when_it_is_called(tiny: RunConfig, tmp_path: Path) -> None:
    def log(epoch: int, metrics: dict[str, Any]) -> None:
        assert entries(tmp_path)[-1] == (epoch, metrics)
        assert epoch % tiny.checkpoint_every or Layout(tmp_path).checkpoint(epoch).exists()

    gi.train(tiny, tmp_path, on_log=log, progress=False)


@pytest.mark.slow
def test_what_it_does_to_its_metrics_changes_nothing(tiny: RunConfig, tmp_path: Path, contents) -> None:
    def spoil(_: int, metrics: dict[str, Any]) -> None:
        metrics["loss"].clear()
        metrics.clear()

    gi.train(tiny, tmp_path / "spoiled", on_log=spoil, progress=False)
    gi.train(tiny, tmp_path / "plain", progress=False)
    assert contents(tmp_path / "spoiled") == contents(tmp_path / "plain")


# An OSError of a tracker, such as a lost connection, is not reported as a fault of the run directory's disk.
@pytest.mark.slow
@pytest.mark.parametrize("error", [RuntimeError("quota"), ConnectionError("quota")])
def test_an_exception_stops_training_and_the_run_resumes(
    error: Exception, tiny: RunConfig, tmp_path: Path, contents
) -> None:
    first: Entries = []
    with pytest.raises(type(error), match="quota"):
        gi.train(tiny, tmp_path / "run", on_log=stopping_at(12, first, error), progress=False)
    assert entries(tmp_path / "run") == first
    run = gi.load_run(tmp_path / "run")
    assert run.checkpoint_epochs[-1] == 8
    assert not run.is_finished

    again: Entries = []
    gi.train(tiny, tmp_path / "run", on_log=lambda *entry: again.append(entry), progress=False)
    # Entries since the checkpoint of epoch 8 are logged again, with the same values.
    assert [epoch for epoch, _ in again] == [9, 12, 15, 18, 21, 24]
    assert entries(tmp_path / "run") == first[:3] + again
    gi.train(tiny, tmp_path / "plain", progress=False)
    assert contents(tmp_path / "run") == contents(tmp_path / "plain")


@pytest.mark.slow
def test_a_checkpoint_of_the_same_epoch_is_written_before_the_exception(tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="full"):
        gi.train(tiny, tmp_path, on_log=stopping_at(0, [], RuntimeError("full")), progress=False)
    assert gi.load_run(tmp_path).checkpoint_epochs == (0,)
    calls: Entries = []
    gi.train(tiny, tmp_path, on_log=lambda *entry: calls.append(entry), progress=False)
    assert calls == entries(tmp_path)


@pytest.mark.slow
def test_a_finished_run_is_returned_without_a_call(tiny: RunConfig, tmp_path: Path) -> None:
    gi.train(tiny, tmp_path, progress=False)
    calls: list[int] = []
    gi.train(tiny, tmp_path, on_log=lambda epoch, _: calls.append(epoch), progress=False)
    assert calls == []


@pytest.mark.usefixtures("unchecked")
def test_what_is_not_a_function_is_refused_before_anything_is_written(tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^on_log must be a function of the epoch and its metrics, or None, got 3\.$"):
        gi.train(tiny, tmp_path / "run", on_log=3, progress=False)
    assert not (tmp_path / "run").exists()
