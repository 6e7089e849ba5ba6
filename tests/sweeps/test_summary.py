import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import grokinterp as gi
from grokinterp.config import RunConfig
from grokinterp.runs.layout import RunError
from grokinterp.sweeps import format_summary, write_summary
from grokinterp.sweeps.directories import assign


@pytest.fixture
def summary(tiny: RunConfig, tmp_path: Path, made_up: Callable[..., None]) -> dict:
    """A summary of a run that grokked, one that did not, one that failed, and a missing one."""
    configs = gi.grid(tiny, {"optim.batch_size": [None, 8], "seed": [0, 1]})
    paths = [*assign(tmp_path, configs)]
    made_up(paths[0], configs[0], memorized=4, grokked=10)
    made_up(paths[1], configs[1], memorized=4, grokked=99)
    path = write_summary(tmp_path, {paths[2]: 'no space, "left"'})
    assert path == tmp_path / "summary.json"
    return json.loads(path.read_text())


def test_the_summary_has_a_record_for_each_run(summary: dict) -> None:
    assert summary["counts"] == {"finished": 2, "failed": 1, "unfinished": 1}
    assert summary["axes"] == ["optim.batch_size", "seed"]
    assert summary["rules"]["grokked_epoch"] == "test accuracy ≥ 0.99 for 5 entries in a row"
    first, second, third, fourth = summary["runs"]
    assert first == {
        "run": "optim.batch_size=none,seed=0",
        "status": "finished",
        "axes": {"optim.batch_size": None, "seed": 0},
        "train_loss": 1.0,
        "test_loss": 2.039,
        "train_accuracy": 1.0,
        "test_accuracy": 1.0,
        "memorized_epoch": 40,
        "grokked_epoch": 100,
        "delay": 60,
        "ratio": 2.5,
        "is_grokked": 1,
        "is_censored": 0,
        "time": 100,
        "last_epoch": 390,
        "squared_weight_norm": 61.0,
        "seconds": 19.5,
        "error": None,
    }
    assert (second["grokked_epoch"], second["delay"], second["is_grokked"]) == (None, None, 0)
    # The fifth entry from the end is the last at which five consecutive entries could start.
    assert (second["ratio"], second["is_censored"], second["time"]) == (None, 1, 350)
    assert (third["status"], third["error"], third["test_loss"]) == ("failed", 'no space, "left"', None)
    assert (fourth["status"], fourth["error"]) == ("unfinished", None)


def test_the_csv_has_the_same_numbers(summary: dict, tmp_path: Path) -> None:
    with (tmp_path / "summary.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [*rows[0]][:4] == ["run", "status", "optim.batch_size", "seed"]
    for row, record in zip(rows, summary["runs"], strict=True):
        axes = {name: "none" if value is None else str(value) for name, value in record.pop("axes").items()}
        assert row == axes | {name: "" if value is None else str(value) for name, value in record.items()}


def test_an_infinite_ratio_has_no_number(tiny: RunConfig, tmp_path: Path, made_up: Callable[..., None]) -> None:
    (path,) = assign(tmp_path, [tiny])
    made_up(path, tiny, memorized=0, grokked=10)
    assert gi.collect(tmp_path).ratio.item() == float("inf")
    (record,) = json.loads(write_summary(tmp_path).read_text())["runs"]
    assert (record["memorized_epoch"], record["delay"], record["ratio"]) == (0, 100, None)


def test_the_table_for_people(summary: dict) -> None:
    assert format_summary(summary).splitlines() == [
        "batch_size  seed   test loss  test accuracy  memorized  grokked  delay  seconds",
        "      none     0        2.04              1         40      100     60     19.5",
        "      none     1        3.04              0         40        -      -     19.5",
        "         8     0      failed",
        "         8     1  unfinished",
        "memorized: train accuracy ≥ 0.99 for 5 entries in a row",
        "grokked: test accuracy ≥ 0.99 for 5 entries in a row",
    ]


def test_an_earlier_failure_stays_until_its_run_is_finished_or_tried_again(
    tiny: RunConfig, tmp_path: Path, made_up: Callable[..., None]
) -> None:
    configs = gi.grid(tiny, {"seed": range(4)})
    paths = [*assign(tmp_path, configs)]
    write_summary(tmp_path, dict.fromkeys(paths, "no space"), attempted=paths)
    made_up(paths[0], configs[0], memorized=4, grokked=10)
    # A second sweep on this root: run 1 fails with a different error, and run 2 is stopped before it starts.
    write_summary(tmp_path, {paths[1]: "no memory"}, attempted=paths[1:3])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [(run["status"], run["error"]) for run in summary["runs"]] == [
        ("finished", None),
        ("failed", "no memory"),
        ("unfinished", None),
        ("failed", "no space"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "[" * 100_000, "{}", '{"runs": 3}', '{"runs": [{}]}', '{"runs": [3]}'),
        '{"runs": [{"run": [], "status": "failed", "error": ""}]}',
    ],
)
def test_a_broken_summary_is_written_anew(tiny: RunConfig, tmp_path: Path, text: str) -> None:
    assign(tmp_path, [tiny])
    (tmp_path / "summary.json").write_text(text)
    assert json.loads(write_summary(tmp_path).read_text())["counts"]["unfinished"] == 1


def test_an_earlier_error_that_is_no_text_is_written_as_text(tiny: RunConfig, tmp_path: Path) -> None:
    assign(tmp_path, [tiny])
    (tmp_path / "summary.json").write_text('{"runs": [{"run": "seed=0", "status": "failed", "error": 5}]}')
    assert json.loads(write_summary(tmp_path).read_text())["runs"][0]["error"] == "5"


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run in"):
        write_summary(tmp_path)
