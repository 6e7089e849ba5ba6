"""The command line: what it does, what it says, and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import grokinterp as gi
from grokinterp.cli import main


SMALL = ["--task.p", "7", "--model.d-model", "8", "--model.d-mlp", "16", "--epochs", "12", "--quiet"]


def _train(out: Path, *flags: str) -> int:
    return main(["train", "quick", "--out", str(out), *SMALL, *flags])


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])


def _refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a refused command line says: one line on stderr, exit code 2 (of `main` or of tyro)."""
    try:
        code = main(args)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    said = capsys.readouterr().err
    assert said.startswith("grokinterp: ")
    assert said.count("\n") == 1
    return said


def test_train_makes_a_run_of_the_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(tmp_path / "run", "--optim.weight-decay", "0.5", "--seed", "3") == 0
    run = gi.load_run(tmp_path / "run")
    assert run.config.optim.weight_decay == 0.5
    assert (run.config.seed, run.config.task.p, run.config.epochs) == (3, 7, 12)
    # What no flag names is the preset's.
    assert run.config.optim.betas == gi.presets.quick().optim.betas
    assert "epoch 12, test loss" in capsys.readouterr().out


def test_train_goes_on_to_more_epochs(tmp_path: Path) -> None:
    assert _train(tmp_path / "run") == 0
    assert main(["train", "quick", "--out", str(tmp_path / "run"), *SMALL, "--epochs", "15"]) == 0
    assert gi.load_run(tmp_path / "run").epochs[-1] == 15


def test_another_config_in_the_folder_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _train(tmp_path / "run")
    assert _train(tmp_path / "run", "--seed", "1") == 1
    assert "holds a run with another config: seed is 0 there, 1 here" in capsys.readouterr().err


def test_config_prints_what_train_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "quick"]) == 0
    path = tmp_path / "config.json"
    path.write_text(capsys.readouterr().out)
    assert main(["train", "--config", str(path), "--out", str(tmp_path / "run"), *SMALL]) == 0
    assert main(["train", "--config", str(tmp_path / "run" / "config.json"), "--out", str(tmp_path / "b"), *SMALL]) == 0
    assert gi.load_run(tmp_path / "run").config == gi.load_run(tmp_path / "b").config


def test_an_unknown_key_names_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", "quick"])
    data = json.loads(capsys.readouterr().out)
    data["optim"]["weight_decays"] = data["optim"].pop("weight_decay")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(data))
    said = _refused(["train", "--config", str(path), "--out", str(tmp_path / "run")], capsys)
    assert "unknown key 'weight_decays'; did you mean 'weight_decay'?" in said


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["train", "fast", "--out", "x"],
            "train needs a preset (nanda2023, quick, power2022, mlp_onehot, transformer_lens_demo)",
        ),
        (["train", "quick"], "--out"),
        (["train", "quick", "--out", "x", "--eposch", "5"], "--eposch"),
        (["train", "quick", "--out", "x", "--optim.lr", "-1"], "OptimConfig.lr must be a number above 0"),
        (
            ["train", "quick", "--out", "x", "--split.fraction", "1.5"],
            "SplitConfig.fraction must be a number above 0 and below 1",
        ),
        (["train", "quick", "--out", "x", "--task.operation", "division", "--task.p", "60"], "p must be prime"),
        (["train", "--config"], "--config needs a file"),
        (["train", "--config", "README.md", "--out", "x"], "README.md must be JSON"),
        (["train", "quick", "--out", "x", "--optim.lr", "inf"], "OptimConfig.lr must be a number above 0, got inf"),
        (["fly"], "fly"),
        ([], "train, sweep, analyz"),
        (["keys", "nanda2023", "--rule", "phase"], "phase"),
    ],
)
def test_wrong_command_lines_are_refused(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in _refused(args, capsys)


def test_choices_are_listed_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    said = _refused(["train", "quick", "--task.operation", "sum", "--out", "x"], capsys)
    assert ", ".join(map(repr, [*gi.tasks.OPERATIONS, "custom"])) in said


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["keys", "no/such/run"], "is no run directory and no bundled run (nanda2023)"),
        (["report", "no/such/run"], "is no run directory"),
        (["train", "--config", "no.json", "--out", "x"], "there is no config file no.json"),
        (["train", "--config=no.json", "--out", "x"], "there is no config file no.json"),
        (["runs", "no/such/folder"], "there is no folder no/such/folder"),
    ],
)
def test_failures_are_one_line(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "no/such/run", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_keys_of_a_run_and_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "nanda2023"]) == 0
    assert capsys.readouterr().out == "14 35 41 42 52\n"
    run = gi.load_run("nanda2023")
    assert main(["keys", str(run.layout.checkpoint(run.epochs[-1])), "--rule", "W_E"]) == 0
    assert capsys.readouterr().out == "14 31 35 41 42 52\n"


def test_runs_lists_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _train(tmp_path / "a")
    capsys.readouterr()
    assert main(["runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'a'}: addition mod 7, seed 0, epoch 12 finished" in said
    assert "nanda2023: addition mod 113, seed 0, epoch 40000 finished" in said


def test_report_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _train(tmp_path / "run")
    capsys.readouterr()
    assert main(["report", str(tmp_path / "run"), "--quiet"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8").startswith("<!")


def test_analyze_says_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _train(tmp_path / "run")
    capsys.readouterr()
    assert main(["analyze", str(tmp_path / "run"), "--quiet"]) == 0
    assert "addition mod 7" in capsys.readouterr().out
    assert list((tmp_path / "run" / "analysis").glob("loss*.nc"))


@pytest.mark.parametrize("inputs", ["onehot", "summed"])
def test_analyze_and_report_take_an_mlp(inputs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, layers = str(tmp_path / "run"), "2" if inputs == "onehot" else "1"
    flags = ["--model.inputs", inputs, "--model.n-layers", layers]
    assert main(["train", "mlp_onehot", "--out", run, *SMALL, *flags]) == 0
    capsys.readouterr()
    assert main(["analyze", run, "--quiet"]) == 0
    assert "An MLP has no attention" in capsys.readouterr().out
    assert main(["report", run, "--quiet"]) == 0
    assert "An MLP has no attention" in Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")


def test_every_field_of_the_config_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    from grokinterp.config import to_dict
    from grokinterp.runs.identity import flat

    with pytest.raises(SystemExit) as stop:
        main(["train", "quick", "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for name in flat(to_dict(gi.presets.quick())):
        assert f"--{name.replace('_', '-')}" in said


def test_module_runs_as_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "grokinterp", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "train" in done.stdout


def test_an_error_of_torch_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        msg = "No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1 for more"
        raise RuntimeError(msg)

    monkeypatch.setattr("grokinterp.training.loop.train", fail)
    assert _train(tmp_path / "run") == 1
    assert capsys.readouterr().err == (
        "grokinterp: RuntimeError: No working C++ compiler found (`--debug` shows where)\n"
    )


def test_reproduce_says_what_does_not_hold_and_writes_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "dossier.html"
    assert main(["reproduce", "nanda2023", "--out", str(page)]) == 0
    said = capsys.readouterr().out
    assert "neurons.polynomials: differs, published 2.48e-7 nats" in said
    assert "not established: 7" in said
    assert page.stat().st_size > 1_000_000


def test_reproduce_of_another_run_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(tmp_path / "run") == 0
    assert main(["reproduce", "nanda2023", "--run", str(tmp_path / "run")]) == 0
    assert "firm claims that hold: 0 of 0" in capsys.readouterr().out


def test_reproduce_fails_with_a_firm_claim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A claim about the split, asked of a run that was told to have another."""
    import dataclasses

    from grokinterp.claims import claim

    wrong = dataclasses.replace(gi.claims.by_id("recipe.pairs.train"), value=3831.0)
    monkeypatch.setattr("grokinterp.claims.verdicts.claims", lambda: (wrong, *claim.claims()[:2]))
    assert main(["reproduce", "nanda2023"]) == 1
    said = capsys.readouterr()
    assert "recipe.pairs.train: fails, published 3,831, ours 3,830" in said.out
    assert said.err == "grokinterp: 1 firm claims fail: recipe.pairs.train.\n"


def test_reproduce_knows_one_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nanda2023" in _refused(["reproduce", "power2022"], capsys)


def test_a_smoke_run_of_two_hundred_epochs_modulo_11(tmp_path: Path) -> None:
    flags = ["--task.p", "11", "--epochs", "200", "--quiet", "--out", str(tmp_path / "smoke")]
    assert main(["train", "quick", *flags]) == 0
    loss = gi.load_run(tmp_path / "smoke").metrics.loss.sel(split="train")
    assert loss.sel(epoch=200) < 0.01 * loss.sel(epoch=0)


def test_no_command_deletes_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert "clean" in _refused(["clean"], capsys)
