"""The command line: results, messages and exit codes."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import grokinterp as gi
from cli.commands import SMALL, refused, train
from grokinterp.cli import app, main
from grokinterp.config import to_dict


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])


@pytest.mark.slow
def test_train_makes_a_run_of_the_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", "--optim.weight-decay", "0.5", "--seed", "3") == 0
    run = gi.load_run(tmp_path / "run")
    assert run.config.optim.weight_decay == 0.5
    assert (run.config.seed, run.config.task.p, run.config.epochs) == (3, 7, 12)
    # Fields without a flag keep the preset's value.
    assert run.config.optim.betas == gi.presets.quick().optim.betas
    assert "epoch 12, test loss" in capsys.readouterr().out


@pytest.mark.slow
def test_train_goes_on_to_more_epochs(tmp_path: Path) -> None:
    assert train(tmp_path / "run") == 0
    assert main(["train", "quick", "--out", str(tmp_path / "run"), *SMALL, "--epochs", "15"]) == 0
    assert gi.load_run(tmp_path / "run").checkpoint_epochs[-1] == 15


def test_another_config_in_the_folder_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "run")
    assert train(tmp_path / "run", "--seed", "1") == 1
    assert "holds a run with a different config: seed is 0 there, 1 here" in capsys.readouterr().err


@pytest.mark.slow
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
    said = refused(["train", "--config", str(path), "--out", str(tmp_path / "run")], capsys)
    assert "unknown key 'weight_decays'; did you mean 'weight_decay'?" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["train", "fast", "--out", "x"],
            "or a preset (nanda2023, quick, power2022, mlp_onehot, transformer_lens_demo), got 'fast'",
        ),
        (["train", "quick"], "--out"),
        (["train", "quick", "--out", "x", "--eposch", "5"], "--eposch"),
        (["train", "quick", "--out", "x", "--optim.lr", "-1"], "OptimConfig.lr must be a number above 0"),
        (
            ["train", "quick", "--out", "x", "--split.fraction", "1.5"],
            "SplitConfig.fraction must be a number above 0 and below 1",
        ),
        (["train", "quick", "--out", "x", "--task.operation", "division", "--task.p", "60"], "p must be prime"),
        (["train", "--config"], "--config needs a JSON file"),
        (["train", "--config", "README.md", "--out", "x"], "could not parse README.md as JSON"),
        (["train", "quick", "--out", "x", "--optim.lr", "inf"], "OptimConfig.lr must be a number above 0, got inf"),
        (["fly"], "fly"),
        (["keys", "nanda2023", "--rule", "phase"], "phase"),
    ],
)
def test_wrong_command_lines_arerefused(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(args, capsys)


def test_choices_are_listed_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["train", "quick", "--task.operation", "sum", "--out", "x"], capsys)
    assert ", ".join(map(repr, [*gi.tasks.OPERATIONS, "custom"])) in said


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["keys", "no/such/run"], "is neither a run directory nor a bundled run (nanda2023)"),
        (["report", "no/such/run"], "is neither a run directory"),
        (["train", "--config", "no.json", "--out", "x"], "there is no config file no.json"),
        (["train", "--config=no.json", "--out", "x"], "there is no config file no.json"),
        (["runs", "no/such/folder"], "there is no directory no/such/folder"),
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
    assert main(["keys", str(run.layout.checkpoint(run.checkpoint_epochs[-1])), "--rule", "W_E"]) == 0
    assert capsys.readouterr().out == "14 31 35 41 42 52\n"


def test_a_file_of_weights_is_read_as_what_the_flags_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Addition of logarithms mod 12 is multiplication mod 13; 0 has no logarithm.
    planted = gi.testing.planted_snapshot(12, keys=(1, 3))
    logarithm = gi.tasks.groups.units(13).logarithm
    assert logarithm is not None
    params = dict(planted.params)
    W_E, W_U = params["embed.W_E"], params["unembed.W_U"]
    params["embed.W_E"] = torch.cat([torch.zeros_like(W_E[:1]), W_E[logarithm], W_E[12:]])
    params["unembed.W_U"] = torch.cat([torch.zeros_like(W_U[:, :1]), W_U[:, logarithm]], dim=1).contiguous()
    path = tmp_path / "model.safetensors"
    save_file(params, path)
    quadratic = [str(path), "--act-fn", "quadratic"]
    assert main(["keys", *quadratic, "--task", "multiplication"]) == 0
    assert capsys.readouterr().out == "1 3\n"
    assert main(["keys", *quadratic, "--task", "multiplication", "--p", "13", "--sequence", "a b ="]) == 0
    assert capsys.readouterr().out == "1 3\n"
    assert main(["keys", *quadratic, "--task", "multiplication", "--p", "11"]) == 2
    assert "for multiplication mod 11, got" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nanda2023", "--task", "addition"], "--task only applies to a weight file, but nanda2023 is a run; omit it"),
        (["nanda2023", "--act-fn", "gelu"], "--act-fn only applies to a weight file"),
        (["CHECKPOINT", "--epoch", "3"], r"--epoch only applies to a run, but "),
        (["CHECKPOINT", "--task", "mul"], "got 'mul'; did you mean 'multiplication'?"),
    ],
)
def test_keys_refuses_flags_that_do_not_fit(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str], unchecked: None
) -> None:
    checkpoint = str(gi.load_run("nanda2023").layout.checkpoint(40_000))
    assert message in refused(["keys", *(checkpoint if arg == "CHECKPOINT" else arg for arg in args)], capsys)


def test_no_keys_are_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "nanda2023", "--epoch", "0"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "no key frequencies of addition mod 113 by rule logits at threshold 0.01; test accuracy 0.009: the model "
        "has not grokked.\n"
    )
    assert main(["keys", str(gi.load_run("nanda2023").layout.checkpoint(40_000)), "--threshold", "0.9"]) == 0
    assert capsys.readouterr().err.endswith(
        "at threshold 0.9; accuracy over all pairs 1.000: try a different --rule or a lower --threshold.\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train", "quick", "--out", "x", "--eposch", "5"], "there is no flag --eposch; did you mean --epochs? "
         "`grokinterp train quick --help` lists the flags."),
        (["train", "quick", "--epocs=5"], "there is no flag --epocs; did you mean --epochs?"),
        (["train", "quick", "--out", "x", "--lr", "0.1"], "there is no flag --lr; did you mean --optim.lr?"),
        (["train", "quick", "--out", "x", "--weight_decay=1"], "did you mean --optim.weight-decay?"),
        (["train", "quick", "--out", "x", "--optim.wd", "1"], "there is no flag --optim.wd. `grokinterp train quick"),
        (["train", "quick", "--out", "x", "--sed", "1"], "did you mean --seed?"),
        (["train", "quick", "--out", "x", "--optm.lr", "1"], "did you mean --optim.lr?"),
        (["sweep", "quick", "--out", "x", "--sed", "1"], "there is no flag --sed; did you mean --seed? "
         "`grokinterp sweep quick --help` lists the flags."),
        (["sweep", "quick", "--out", "x", "--lr", "1", "2"], "did you mean --optim.lr?"),
        (["sweep", "quick", "--otu", "x"], "did you mean --out?"),
        (["sweep", "quik", "--out", "x"], "got 'quik'; did you mean 'quick'? `grokinterp sweep --help` says more."),
        (["keys", "nanda2023", "--epcoh", "3"], "did you mean --epoch? `grokinterp keys --help` lists the flags."),
        (["report", "nanda2023", "--ou", "x"], "did you mean --out? `grokinterp report --help` lists the flags."),
        (["analyze", "nanda2023", "--queit"], "did you mean --quiet? `grokinterp analyze --help` lists the flags."),
        (["reproduce", "nanda2023", "--rnu", "x"], "did you mean --run?"),
        (["runs", "--root", "x"], "there is no flag --root. `grokinterp runs --help` lists the flags."),
        (["config", "quick", "--json"], "there is no flag --json. `grokinterp config --help` lists the flags."),
        (["tran", "quick"], "got 'tran'; did you mean 'train'? `grokinterp --help` says more."),
        (["train", "quik"], "got 'quik'; did you mean 'quick'? `grokinterp train --help` says more."),
        (["train"], "got nothing. `grokinterp train --help` says more."),
        (["keys", "nanda2023", "--threshold", "high"], "from ['high']. `grokinterp keys --help` says more."),
    ],
)  # fmt: skip
def test_what_is_unknown_names_the_nearest_and_the_help_page(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(args, capsys)


def test_bare_shows_help_and_version_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 0
    assert "{train,sweep,analyze,report,reproduce,runs,keys,config}" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"grokinterp {version('grokinterp')}\n"


def test_train_says_when_there_is_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run") == 0
    assert "nothing to do" not in capsys.readouterr().out
    assert train(tmp_path / "run", "--epochs", "5") == 0
    said = capsys.readouterr().out
    assert said.startswith("nothing to do: --epochs is 5, and the run is already at epoch 12.\n")
    assert "epoch 12, test loss" in said
    assert gi.load_run(tmp_path / "run").config.epochs == 12


def test_warnings_are_one_line(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(*_: object) -> None:
        warnings.warn("first\nsecond", stacklevel=1)

    monkeypatch.setattr("grokinterp.report.summary", lambda *_, **__: warn() or ["done"])
    before = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", _show)
        assert main(["analyze", "nanda2023"]) == 0
    assert capfd.readouterr().err == "grokinterp: first second\n"
    assert warnings.formatwarning is before


def _show(message: Warning, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
    """Print a warning as Python does; pytest would collect it."""
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


@pytest.mark.slow
def test_runs_lists_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "a")
    capsys.readouterr()
    assert main(["runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    accuracy = gi.load_run(tmp_path / "a").metrics.accuracy.isel(epoch=-1)
    on_train, on_test = (f"{accuracy.sel(split=split).item():.3f}" for split in ("train", "test"))
    assert (
        f"{tmp_path / 'a'}: addition mod 7, seed 0, finished at epoch 12, train accuracy {on_train}, "
        f"test accuracy {on_test}, too few metrics entries to detect grokking\n"
    ) in said
    times = gi.phases.grokking_times(gi.load_run("nanda2023").metrics)
    rule = times.grokked.attrs["rule"]
    assert (
        "nanda2023: addition mod 113, seed 0, finished at epoch 40000, train accuracy 1.000, test accuracy 1.000, "
        f"grokked at {times.grokked:.0f} ({rule})\n"
    ) in said


@pytest.mark.slow
def test_runs_says_why_a_run_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("task", "config", "metrics", "begun", "long"):
        assert train(tmp_path / name, "--log-every", "1" if name == "long" else "10") == 0
    (tmp_path / "task" / "task.safetensors").write_bytes(b"broken")
    (tmp_path / "config" / "config.json").write_text("{")
    (tmp_path / "metrics" / "metrics.jsonl").write_text('{"epoch": 1}\n')
    (tmp_path / "begun" / "metrics.jsonl").unlink()
    (tmp_path / "begun" / "FINISHED").unlink()
    capsys.readouterr()
    assert main(["runs", str(tmp_path)]) == 0
    said = capsys.readouterr()
    lines = {Path(line.partition(":")[0]).name: line.partition(": ")[2] for line in said.out.splitlines()}
    assert list(lines) == ["begun", "config", "long", "metrics", "task", "nanda2023"]
    assert lines["begun"] == "addition mod 7, seed 0, stopped at epoch 12 of 12, nothing logged yet"
    assert "not grokked (test accuracy ≥ 0.99" in lines["long"]
    assert lines["config"].startswith("broken: ")
    assert "must have train and test loss and accuracy" in lines["metrics"]
    assert "task.safetensors must be a complete safetensors file" in lines["task"]
    assert said.err == ""


@pytest.mark.slow
def test_report_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "run")
    capsys.readouterr()
    assert main(["report", str(tmp_path / "run"), "--quiet"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8").startswith("<!")


@pytest.mark.slow
def test_analyze_says_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "run")
    capsys.readouterr()
    assert main(["analyze", str(tmp_path / "run"), "--quiet"]) == 0
    assert "addition mod 7" in capsys.readouterr().out
    assert list((tmp_path / "run" / "analysis").glob("loss*.nc"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("inputs", ["onehot", "summed"])
def test_analyze_and_report_take_an_mlp(inputs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, layers = str(tmp_path / "run"), "2" if inputs == "onehot" else "1"
    flags = ["--model.inputs", inputs, "--model.n-layers", layers]
    assert main(["train", "mlp_onehot", "--out", run, *SMALL, *flags]) == 0
    capsys.readouterr()
    assert main(["analyze", run, "--quiet"]) == 0
    assert "The model has no attention" in capsys.readouterr().out
    assert main(["report", run, "--quiet"]) == 0
    assert "The model has no attention" in Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")


def test_every_field_of_the_config_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    from grokinterp.config import to_dict
    from grokinterp.runs.manifest import flat

    with pytest.raises(SystemExit) as stop:
        main(["train", "quick", "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for name in flat(to_dict(gi.presets.quick())):
        assert f"--{name.replace('_', '-')}" in said


@pytest.mark.exhaustive
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
    assert train(tmp_path / "run") == 1
    assert capsys.readouterr().err == (
        "grokinterp: RuntimeError: No working C++ compiler found (`--debug` shows where)\n"
    )


@pytest.mark.slow
def test_a_smoke_run_of_two_hundred_epochs_modulo_11(tmp_path: Path) -> None:
    flags = ["--task.p", "11", "--epochs", "200", "--quiet", "--out", str(tmp_path / "smoke")]
    assert main(["train", "quick", *flags]) == 0
    loss = gi.load_run(tmp_path / "smoke").metrics.loss.sel(split="train")
    assert loss.sel(epoch=200) < 0.01 * loss.sel(epoch=0)


def test_no_command_deletes_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert "clean" in refused(["clean"], capsys)


def test_a_config_file_from_before_aids_was_renamed_keeps_its_meaning(tmp_path: Path) -> None:
    data = to_dict(replace(gi.presets.quick(), loss=gi.LossConfig(dtype="torch_float32")))
    data["aids"], data["loss"]["dtype"] = data.pop("regularization"), "float32"
    file = tmp_path / "old.json"
    file.write_text(json.dumps(data))
    assert app._read_config(file).loss.dtype == "torch_float32"
