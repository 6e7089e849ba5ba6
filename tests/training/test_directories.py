"""Into which directories training goes, and which it refuses."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import grokinterp as gi
from grokinterp.config import OptimConfig, RunConfig, SplitConfig, TaskConfig
from grokinterp.losses import cross_entropy
from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.tensors import read_tensors, write_tensors
from grokinterp.tasks import all_pairs
from grokinterp.training import vmapped
from grokinterp.training.loop import train
from grokinterp.training.trainer import Trainer


pytestmark = pytest.mark.slow


HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def modified(path: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.name != ".lock"}


def test_another_config_is_refused_by_the_fields_that_differ(tiny: RunConfig, tmp_path: Path) -> None:
    train(tiny, tmp_path, progress=False)
    before = modified(tmp_path)
    other = dataclasses.replace(tiny, seed=5, optim=dataclasses.replace(tiny.optim, lr=0.5))
    with pytest.raises(
        RunError, match=r"a different config: optim.lr is 0.001 there, 0.5 here; seed is 0 there, 5 here\."
    ):
        train(other, tmp_path, progress=False)
    assert modified(tmp_path) == before


@pytest.mark.parametrize("epochs", [1, 5, 16, 24])
def test_a_finished_run_is_returned_as_it_is_for_no_more_epochs(tiny: RunConfig, epochs: int, tmp_path: Path) -> None:
    train(tiny, tmp_path, progress=False)
    before = modified(tmp_path)
    run = train(dataclasses.replace(tiny, epochs=epochs), tmp_path, progress=False)
    assert modified(tmp_path) == before
    assert run.config == tiny


@pytest.mark.parametrize("first", [1, 8, 13])
def test_more_epochs_go_on_as_if_there_had_been_no_stop(
    tiny: RunConfig, first: int, tmp_path: Path, contents: Callable[[Path], dict[str, Any]]
) -> None:
    undisturbed = contents(train(tiny, tmp_path / "undisturbed", progress=False).path)
    train(dataclasses.replace(tiny, epochs=first), tmp_path / "run", progress=False)
    run = train(tiny, tmp_path / "run", progress=False)

    found = contents(run.path)
    found.pop("checkpoints/0000013.safetensors", None)
    assert found == undisturbed
    assert run.is_finished


def test_an_unfinished_run_past_the_epochs_asked_for_is_returned_as_it_is(tiny: RunConfig, tmp_path: Path) -> None:
    run = train(tiny, tmp_path, progress=False)
    run.layout.finished.unlink()
    before = modified(tmp_path)
    assert train(dataclasses.replace(tiny, epochs=10), tmp_path, progress=False).checkpoint_epochs[-1] == 24
    assert modified(tmp_path) == before


def test_an_unfinished_run_is_finished_earlier_when_fewer_epochs_are_asked_for(tiny: RunConfig, tmp_path: Path) -> None:
    layout = train(dataclasses.replace(tiny, epochs=8), tmp_path, progress=False).layout
    layout.finished.unlink()
    config = json.loads(layout.config.read_text())
    config["config"]["epochs"] = 1000
    layout.config.write_text(json.dumps(config))

    run = train(dataclasses.replace(tiny, epochs=8), tmp_path, progress=False)
    assert run.is_finished
    assert run.config.epochs == 8
    assert run.checkpoint_epochs[-1] == 8


def test_a_second_trainer_is_refused(tiny: RunConfig, tmp_path: Path) -> None:
    lock = Layout(tmp_path).lock
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is training in"):
            train(tiny, tmp_path, progress=False)
        holder.kill()
    assert train(tiny, tmp_path, progress=False).is_finished


def test_checkpoints_without_a_config_are_refused(tiny: RunConfig, tmp_path: Path) -> None:
    layout = train(tiny, tmp_path, progress=False).layout
    layout.config.unlink()
    with pytest.raises(RunError, match=r"has files of a run but no config\.json"):
        train(tiny, tmp_path, progress=False)
    assert layout.checkpoint_epochs()[-1] == 24


def test_checkpoints_without_a_resume_file_are_not_trained_over(tiny: RunConfig, tmp_path: Path) -> None:
    layout = train(tiny, tmp_path, progress=False).layout
    layout.resume.unlink()
    with pytest.raises(RunError, match=r"lacks resume\.safetensors"):
        train(dataclasses.replace(tiny, epochs=30), tmp_path, progress=False)
    assert len(layout.metrics.read_text().splitlines()) == 9


def test_a_run_begun_elsewhere_goes_on_with_a_warning(tiny: RunConfig, tmp_path: Path) -> None:
    layout = train(tiny, tmp_path, progress=False).layout
    about = json.loads(layout.config.read_text())
    about["made_by"] |= {"threads": 64}
    layout.config.write_text(json.dumps(about))
    with pytest.warns(
        UserWarning, match="started in a different environment, so its rounding may differ: threads 64 then, 1 now"
    ):
        run = train(dataclasses.replace(tiny, epochs=30), tmp_path, progress=False)
    assert run.made_by["threads"] == 64


def test_the_stored_split_is_trained_on_and_not_one_drawn_anew(tiny: RunConfig, tmp_path: Path) -> None:
    layout = train(dataclasses.replace(tiny, epochs=1), tmp_path, progress=False).layout
    other = torch.zeros(7, 7, dtype=torch.bool)
    other[:2] = True
    write_tensors(layout.split, {"is_train": other})
    run = train(tiny, tmp_path, progress=False)

    logits = run.snapshot().logits
    labels = run.task.table
    assert torch.equal(run.is_train, other)
    accuracy = (logits.argmax(-1) == labels)[other].double().mean().item()
    assert run.metrics.accuracy.sel(split="train")[-1].item() == accuracy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": TaskConfig(operation="division", p=8)}, "p must be prime for division, got p=8"),
        ({"split": SplitConfig(fraction=0.001)}, "leaves the train split empty"),
    ],
)
def test_a_config_that_cannot_be_leaves_no_directory(
    tiny: RunConfig, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        train(dataclasses.replace(tiny, **changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_copied_directory_goes_on(tiny: RunConfig, tmp_path: Path) -> None:
    train(dataclasses.replace(tiny, epochs=8), tmp_path / "here", progress=False)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    here, there = (train(tiny, tmp_path / name, progress=False).params() for name in ("here", "there"))
    assert all(torch.equal(p, there[name]) for name, p in here.items())


def test_the_first_update_of_a_warm_up_changes_nothing(tiny: RunConfig, tmp_path: Path) -> None:
    optim = OptimConfig(warmup_steps=10, weight_decay=1.0)
    run = train(dataclasses.replace(tiny, optim=optim, epochs=2, log_every=1), tmp_path, progress=False)
    first, second, third = (run.params(epoch) for epoch in (0, 1, 2))
    assert all(torch.equal(p, second[name]) for name, p in first.items())
    assert not any(torch.equal(p, third[name]) for name, p in second.items())
    assert run.metrics.learning_rate.values.tolist() == pytest.approx([0, 1e-4, 2e-4])


def test_metrics_are_the_loss_over_all_classes_trained_on(tiny: RunConfig, tmp_path: Path) -> None:
    run = train(tiny, tmp_path, progress=False)
    for epoch in (0, 24):
        params = run.params(epoch)
        logits = tiny.model.logits(params, *all_pairs(run.task)).reshape(7, 7, 8)
        for split, part in {"train": run.is_train, "test": ~run.is_train}.items():
            wanted = cross_entropy(logits[part], run.task.table[part]).item()
            assert run.metrics.loss.sel(epoch=epoch, split=split).item() == pytest.approx(wanted, abs=1e-6)
        squared = sum(float(p.double().square().sum()) for p in params.values())
        assert run.metrics.squared_weight_norm.sel(epoch=epoch).item() == pytest.approx(squared, rel=1e-12)


def everything(path: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != ".lock"}


def change_state(layout: Layout, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], object]) -> None:
    """Write another resume.safetensors."""
    state, about = read_tensors(layout.resume)
    change(state, about)
    write_tensors(layout.resume, state, about)


NOT_WHOLE = "must be a complete safetensors file"
REFUSALS = {
    "resume missing": (lambda layout: layout.resume.unlink(), {}, r"lacks resume\.safetensors"),
    "resume broken": (lambda layout: layout.resume.write_bytes(b"1"), {}, NOT_WHOLE),
    "checkpoint broken": (
        lambda layout: layout.checkpoint(24).write_bytes(b"1"),
        {},
        "must be a complete safetensors file",
    ),
    "checkpoint of another epoch": (
        lambda layout: shutil.copy(layout.checkpoint(16), layout.checkpoint(24)),
        {},
        "must hold epoch 24, but was written at epoch 16",
    ),
    "split missing": (lambda layout: layout.split.unlink(), {}, r"there is no .*split\.safetensors"),
    "metrics broken": (
        lambda layout: layout.metrics.write_text("{\n{\n"),
        {},
        "line 1 of .* must be the JSON of an epoch",
    ),
    "moment missing": (
        lambda layout: change_state(layout, lambda state, _: state.pop("unembed.W_U/exp_avg")),
        {},
        "does not fit the run's config: the state of 'unembed.W_U' must hold step, exp_avg, .* got exp_avg_sq, step",
    ),
    "optimizer's state missing": (
        lambda layout: change_state(layout, lambda state, _: state.clear()),
        {},
        "the state of 'embed.W_E' must hold step, exp_avg, exp_avg_sq, as AdamW does, got nothing",
    ),
    "one parameter's state missing": (
        lambda layout: change_state(layout, lambda state, _: [state.pop(k) for k in [*state] if "W_U" in k]),
        {},
        "the state of 'unembed.W_U' must hold step, exp_avg, exp_avg_sq, as AdamW does, got nothing",
    ),
    "another optimizer's state": (
        lambda layout: change_state(
            layout, lambda state, _: state.update({"unembed.W_U/momentum_buffer": state["unembed.W_U/exp_avg"]})
        ),
        {},
        "the state of 'unembed.W_U' must hold step, exp_avg, exp_avg_sq, as AdamW does, got exp_avg, exp_avg_sq, mom",
    ),
    "metrics missing": (lambda layout: layout.metrics.unlink(), {}, r"metrics\.jsonl lacks the epochs before 24"),
    "fewer epochs, and the last checkpoint missing": (
        lambda layout: layout.checkpoint(24).unlink(),
        {"epochs": 8},
        "marked as finished, but lacks the checkpoint of its last epoch 24; restore 0000024.safetensors from a backup",
    ),
    "checkpoints missing": (lambda layout: shutil.rmtree(layout.checkpoints), {"epochs": 24}, "marked as finished"),
    "all but metrics missing": (
        lambda layout: (shutil.rmtree(layout.checkpoints), layout.resume.unlink(), layout.finished.unlink()),
        {},
        r"has metrics but no checkpoints and no resume\.safetensors",
    ),
}


@pytest.mark.parametrize("damage", REFUSALS)
def test_what_is_refused_is_left_as_it_was(tiny: RunConfig, damage: str, tmp_path: Path) -> None:
    layout = train(tiny, tmp_path, progress=False).layout
    do_damage, changes, message = REFUSALS[damage]
    do_damage(layout)
    before = everything(tmp_path)
    with pytest.raises(RunError, match=message) as raised:
        train(dataclasses.replace(tiny, **({"epochs": 30} | changes)), tmp_path, progress=False)
    assert "\n" not in str(raised.value)
    assert everything(tmp_path) == before


def test_a_config_that_fails_late_leaves_no_run(tiny: RunConfig, tmp_path: Path) -> None:
    optim = dataclasses.replace(tiny.optim, decay_of=(("no.such.*", 0.0),))
    with pytest.raises(ValueError, match=r"decay_of has the pattern 'no\.such\.\*', which matches none"):
        train(dataclasses.replace(tiny, optim=optim), tmp_path / "run", progress=False)
    assert everything(tmp_path / "run") == {}
    assert train(tiny, tmp_path / "run", progress=False).is_finished


@pytest.mark.parametrize("left", ["metrics", "resume", "start", "finished"])
def test_what_is_left_of_a_run_without_its_config_is_not_written_over(
    tiny: RunConfig, left: str, tmp_path: Path
) -> None:
    getattr(Layout(tmp_path), left).write_text("{}")
    before = everything(tmp_path)
    with pytest.raises(RunError, match=r"has files of a run but no config\.json"):
        train(tiny, tmp_path, progress=False)
    assert everything(tmp_path) == before


def test_a_users_own_files_stay(tiny: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for notes in (tmp_path / "notes.md", tmp_path / "checkpoints" / ".notes.tmp"):
        notes.write_text("mine")
    train(dataclasses.replace(tiny, epochs=8), tmp_path, progress=False)
    train(tiny, tmp_path, progress=False)
    assert (tmp_path / "checkpoints" / ".notes.tmp").read_text() == (tmp_path / "notes.md").read_text() == "mine"


def at_epoch(epoch: int, do: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something right before an epoch's updates."""
    real = Trainer.advance

    def advance(trainer: Trainer) -> None:
        if trainer.epoch == epoch:
            do()
        real(trainer)

    monkeypatch.setattr(Trainer, "advance", advance)


@pytest.mark.parametrize("what", ["moved", "deleted", "replaced"])
def test_a_directory_that_goes_away_stops_training_and_is_not_made_anew(
    tiny: RunConfig,
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contents: Callable[[Path], dict[str, Any]],
) -> None:
    undisturbed = contents(train(tiny, tmp_path / "undisturbed", progress=False).path)
    path, moved = tmp_path / "run", tmp_path / "moved"

    def go_away() -> None:
        shutil.rmtree(path) if what == "deleted" else path.rename(moved)
        if what == "replaced":
            path.mkdir()

    with monkeypatch.context() as patch:
        at_epoch(13, go_away, patch)
        with pytest.raises(RunError, match=r"run was moved or deleted, so training stopped; if it") as raised:
            train(tiny, path, progress=False)
    assert "lost" not in str(raised.value)
    assert not any(path.iterdir()) if what == "replaced" else not path.exists()
    if what != "deleted":
        assert contents(train(tiny, moved, progress=False).path) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("how", ["train", "train_many", "fork"])
def test_another_working_directory_changes_nothing(
    tiny: RunConfig, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    parent = train(dataclasses.replace(tiny, epochs=8), "parent", progress=False)
    config = dataclasses.replace(tiny, seed=1)
    with monkeypatch.context() as patch:
        if how != "train_many":
            at_epoch(13, lambda: os.chdir(tmp_path / "there"), patch)
        else:
            advance = vmapped._advance
            patch.setattr(vmapped, "_advance", lambda trainers: (os.chdir(tmp_path / "there"), advance(trainers)))
        if how == "train":
            run = train(config, "run", progress=False)
        elif how == "fork":
            run = gi.fork(parent, 8, "run", {"epochs": 24}, progress=False)
        else:
            run = vmapped.train_many([config], ["run"], progress=False)[0]
    monkeypatch.chdir(tmp_path / "there")
    assert run.is_finished
    assert run.snapshot().epoch == 24
    assert list((tmp_path / "there").iterdir()) == []
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"parent", "run"}


def test_a_bundled_run_is_not_trained_into(tmp_path: Path) -> None:
    run = gi.load_run("nanda2023")
    before = everything(run.path)
    with pytest.raises(RunError, match=r"nanda2023 is part of the installed package; train into another directory\."):
        train(run.config, run.path, progress=False)
    assert everything(run.path) == before


def test_a_file_is_not_trained_into(tiny: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("notes")
    with pytest.raises(RunError, match=r"run must be a run directory or a new path, but it is a file; choose another"):
        train(tiny, tmp_path / "run", progress=False)
    assert (tmp_path / "run").read_text() == "notes"
