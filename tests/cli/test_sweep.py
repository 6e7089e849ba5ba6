"""The command `grokinterp sweep`."""

import json
from pathlib import Path

import pytest

import grokinterp as gi
from grokinterp.cli import main
from grokinterp.config import to_dict
from grokinterp.runs.layout import Layout
from grokinterp.runs.manifest import flat


SMALL = ["--task.p", "7", "--model.d-model", "8", "--model.d_mlp=16", "--epochs", "2", "--quiet"]


def run(*args: str) -> int:
    """The exit code, also if tyro exits the process."""
    try:
        return main(["sweep", *args])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.slow
def test_any_field_may_have_several_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--optim.weight-decay", "0.5", "1.0", "--seed", "0..1", "--optim.name=SGD"]
    assert run("quick", *flags, *SMALL, "--out", str(tmp_path)) == 0
    ds = gi.collect(tmp_path)
    assert ds.weight_decay.values.tolist() == [0.5, 1.0]
    assert ds.seed.values.tolist() == [0, 1]
    assert ds.last_epoch.values.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    config = gi.load_run(tmp_path / ds.run.values[0, 0]).config
    assert (config.optim.name, config.task.p, config.model.d_mlp, config.epochs) == ("SGD", 7, 16, 2)
    assert config.optim.betas == gi.presets.quick().optim.betas
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].split()[:2] == ["weight_decay", "seed"]
    assert lines[5].startswith("memorized: train accuracy")
    assert len(lines) == 8
    assert lines[-1] == str(tmp_path / "summary.json")
    assert said.err == ""


@pytest.mark.slow
def test_a_file_and_flags_that_change_it(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('preset = "quick"\nchange.epochs = 3\naxes.seed = [0, 1]\naxes.optim.lr = [0.1, 0.2]\n')
    assert run(str(plan), "--seed", "4", *SMALL, "--out", str(tmp_path / "out")) == 0
    listed = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert listed["axes"] == {"optim.lr": [0.1, 0.2], "seed": [4]}
    assert {config["epochs"] for config in listed["runs"].values()} == {2}


@pytest.mark.slow
def test_switches_have_no_value(tmp_path: Path) -> None:
    flags = ["--model.equals-in-output", "--no-compile", "--seed", "0", "1"]
    assert run("quick", *SMALL, *flags, "--out", str(tmp_path)) == 0
    assert gi.load_run(tmp_path / "seed=1").config.model.equals_in_output


@pytest.mark.slow
def test_a_choice_of_none_is_swept(tmp_path: Path) -> None:
    assert run("quick", *SMALL, "--regularization.grokfast", "none", "ema", "--out", str(tmp_path)) == 0
    assert gi.collect(tmp_path).grokfast.values.tolist() == ["none", "ema"]
    assert gi.load_run(tmp_path / "regularization.grokfast=none,seed=0").config.regularization.grokfast == "none"


def test_a_failed_run_is_named_and_the_exit_code_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--task.operation", "division", "addition", "--task.p", "8"]
    assert run("quick", *SMALL, *flags, "--out", str(tmp_path)) == 1
    said = capsys.readouterr()
    assert f"{tmp_path / 'task.operation=division,seed=0'}: p must be prime for division, got p=8" in said.out
    assert "failed" in said.out.splitlines()[1]
    assert said.err == "grokinterp: 1 of 2 runs failed; fix this, then rerun the command.\n"
    assert Layout(tmp_path / "task.operation=addition,seed=0").finished.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            [],
            "the first argument of sweep must be a FILE.toml or a preset (mlp_decay, mlp_width, mlp_operation",
        ),
        (["fast"], "transformer_lens_demo), got 'fast'. `grokinterp sweep --help` says more."),
        (["quick"], "--out"),
        (["quick", "--out", "x", "--eposch", "5"], "there is no flag --eposch; did you mean --epochs?"),
        (["quick", "--out", "x", "--optim.lr", "fast"], "config.optim.lr must be a number above 0, got 'fast'"),
        (["quick", "--out", "x", "--optim.lr", "0.1", "-1"], "config.optim.lr must be a number above 0"),
        (["quick", "--out", "x", "--seed"], "--seed needs at least one value, got none"),
        (["quick", "--seed", "--out", "x"], "--seed needs at least one value, got none"),
        (["quick", "--out", "x", "--optim.weight-decay"], "--optim.weight-decay needs at least one value, got none"),
        (["quick", "--out", "x", "--split"], "--split needs at least one value, got none"),
        (["quick", "--out", "x", "--no-seed"], "--no-seed needs"),
        (["quick", "--out", "x", "--eposch"], "there is no flag --eposch; did you mean --epochs?"),
        (["quick", "--out", "x", "--seed", "4..0"], "a range must be increasing"),
        (["quick", "--out", "x", "--workers", "two"], "two"),
        (["quick", "--out", "x", "--workers", "0"], "--workers must be an integer of at least 1, got 0"),
        (["quick", "3", "--out", "x"], "3"),
        (["quick", "--out", "x", "--workers", "2", "--scheduler", "tcp://a:1"], "omit one of them"),
    ],
)
def test_wrong_command_lines_are_refused(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*args) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("grokinterp: ")
    assert said.count("\n") == 1


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("no.toml", "--out", "x") == 1
    assert capsys.readouterr().err == "grokinterp: there is no file no.toml.\n"


@pytest.mark.parametrize("args", [["--help"], ["quick", "--help"]])
def test_help_lists_every_field_of_the_config(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*args) == 0
    said = capsys.readouterr().out
    for name in [*flat(to_dict(gi.presets.quick())), "out", "workers", "scheduler", "quiet"]:
        assert f"--{name.replace('_', '-')}" in said
