"""A run directory as a read-only handle, and without the library."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import grokinterp as gi
from grokinterp.losses import cross_entropy
from grokinterp.runs.layout import RunError
from grokinterp.runs.run import Run, load_run
from grokinterp.runs.tensors import write_tensors
from grokinterp.tasks import all_pairs


EPOCHS = (0, 1, 2, 3, 4, 6, 10, 20, 30)


def test_a_run_knows_what_it_was(trained: Run) -> None:
    assert trained.config.task.p == 7
    assert trained.task.name == "addition mod 7"
    assert trained.is_train.sum() == 24
    assert trained.checkpoint_epochs == EPOCHS
    assert trained.is_finished
    assert trained.made_by["torch"] == torch.__version__


def test_metrics_are_labelled(trained: Run) -> None:
    metrics = trained.metrics
    assert set(metrics.data_vars) == {
        "loss",
        "accuracy",
        "squared_weight_norm",
        "learning_rate",
        "weight_decay",
        "batch_size",
        "seconds",
    }
    assert metrics.loss.dims == metrics.accuracy.dims == ("epoch", "split")
    assert metrics.epoch.values.tolist() == [0, 5, 10, 15, 20, 25, 30]
    assert metrics.split.values.tolist() == ["train", "test"]
    assert metrics.loss.attrs == {"units": "nats", "long_name": "loss"}
    assert metrics.attrs == {"run": "trained", "task": "addition mod 7"}
    assert metrics.loss.dtype == np.float64
    assert (metrics.seconds.diff("epoch") > 0).all()


def test_the_first_entry_is_of_the_initial_parameters(trained: Run) -> None:
    params = trained.config.model.initial_params(trained.task, seed=0)
    logits = trained.config.model.logits(params, *all_pairs(trained.task)).reshape(7, 7, 8)
    for split, part in {"train": trained.is_train, "test": ~trained.is_train}.items():
        wanted = cross_entropy(logits[part], trained.task.table[part]).item()
        assert trained.metrics.loss.sel(epoch=0, split=split).item() == pytest.approx(wanted, abs=1e-6)
    assert all(torch.equal(p, params[name]) for name, p in trained.params(0).items())


def test_a_run_without_metrics_says_so(run: Run) -> None:
    run.layout.metrics.unlink()
    with pytest.raises(RunError, match="has no metrics yet; train it first"):
        _ = run.metrics


@pytest.mark.parametrize("epoch", [None, 0, 4, 30])
def test_snapshots_are_of_their_epoch(trained: Run, epoch: int | None) -> None:
    snapshot = trained.snapshot(epoch)
    assert snapshot.epoch == (30 if epoch is None else epoch)
    assert torch.equal(snapshot.params["embed.W_E"], trained.params(epoch)["embed.W_E"])
    assert snapshot.logits.shape == (7, 7, 7)
    assert snapshot.is_train is not None
    assert torch.equal(snapshot.is_train, trained.is_train)


@pytest.mark.parametrize(("epoch", "nearest"), [(5, "4|6"), (14, "10"), (17, "20"), (1000, "30"), (-5, "0")])
def test_an_epoch_without_checkpoint_names_the_nearest(trained: Run, epoch: int, nearest: str) -> None:
    with pytest.raises(RunError, match=rf"has no checkpoint at epoch {epoch}; the nearest is ({nearest})\."):
        trained.snapshot(epoch)


def test_a_run_that_was_never_trained_says_so(run: Run) -> None:
    shutil.rmtree(run.layout.checkpoints)
    run.layout.finished.unlink()
    assert run.checkpoint_epochs == ()
    with pytest.raises(RunError, match="has no checkpoint yet; train it first"):
        run.params()


def test_a_run_that_is_training_shows_its_new_checkpoints(run: Run) -> None:
    run.layout.finished.unlink()
    before = run.checkpoint_epochs
    write_tensors(run.layout.checkpoint(31), run.params(), {"epoch": 31})
    assert run.checkpoint_epochs == (*before, 31)
    assert run.snapshot().epoch == 31


def test_a_checkpoint_of_another_model_names_the_parameter(run: Run) -> None:
    params = run.params()
    params["blocks.0.mlp.W_in"] = params["blocks.0.mlp.W_in"][:, :5]
    write_tensors(run.layout.checkpoint(30), params)
    with pytest.raises(RunError, match=r"blocks\.0\.mlp\.W_in has shape \(16, 5\), expected \(16, 32\)"):
        run.snapshot()
    assert run.snapshot(20).epoch == 20


@pytest.mark.parametrize("swap", [True, False])
def test_a_checkpoint_under_the_name_of_another_epoch_is_refused(run: Run, swap: bool) -> None:
    ten, twenty = run.layout.checkpoint(10), run.layout.checkpoint(20)
    content = ten.read_bytes()
    ten.write_bytes(twenty.read_bytes())
    if swap:
        twenty.write_bytes(content)
    with pytest.raises(RunError, match=r"0000010\.safetensors must hold epoch 10, but was written at epoch 20; rename"):
        run.snapshot(10)
    if swap:
        with pytest.raises(RunError, match=r"0000020\.safetensors must hold epoch 20, but was written at epoch 10"):
            run.params(20)
    assert run.snapshot(30).epoch == 30


def test_a_checkpoint_without_an_epoch_in_its_header_is_read(run: Run) -> None:
    params = run.params(20)
    write_tensors(run.layout.checkpoint(10), params)
    assert all(torch.equal(p, params[name]) for name, p in run.params(10).items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.double(), "W_U has torch.float64"),
        (lambda p: p.half(), "W_U has torch.float16"),
        (lambda p: p * float("nan"), "W_U has NaN or infinite values"),
        (lambda p: p / 0, "W_U has NaN or infinite values"),
    ],
)
def test_parameters_of_another_kind_are_named(run: Run, change: Callable, message: str) -> None:
    params = run.params(10)
    params["unembed.W_U"] = change(params["unembed.W_U"])
    write_tensors(run.layout.checkpoint(10), params, {"epoch": 10})
    with pytest.raises(RunError, match=rf"must hold finite float32 parameters, but unembed\.{message}; restore"):
        run.snapshot(10)


def test_a_finished_run_without_its_last_checkpoint_says_so(run: Run) -> None:
    run.layout.checkpoint(30).unlink()
    assert not run.is_finished
    for read in (run.params, run.snapshot, run.model):
        with pytest.raises(RunError, match="finished, but lacks the checkpoint of its last epoch 30; restore"):
            read()
    assert run.snapshot(20).epoch == 20
    shutil.rmtree(run.layout.checkpoints)
    with pytest.raises(RunError, match="marked as finished, but lacks the checkpoint of its last epoch 30"):
        run.snapshot()
    run.layout.finished.unlink()
    with pytest.raises(RunError, match="has no checkpoint yet"):
        run.snapshot()


def test_a_finished_run_without_its_last_checkpoint_is_not_measured_without_it(run: Run) -> None:
    last = run.config.epochs
    run.layout.checkpoint(last).unlink()
    assert run.state == f"finished, but the checkpoint of epoch {last} is missing"
    with pytest.raises(RunError, match=f"lacks the checkpoint of its last epoch {last}"):
        gi.trajectory(run, [gi.progress.losses], cache=False, progress=False)
    kept = gi.trajectory(run, [gi.progress.losses], epochs=run.checkpoint_epochs, cache=False, progress=False)
    assert last not in kept.epoch


def test_an_unfinished_run_is_read_at_its_last_checkpoint(run: Run) -> None:
    run.layout.finished.unlink()
    run.layout.checkpoint(30).unlink()
    assert run.snapshot().epoch == 20


def test_a_run_is_found_after_a_change_of_the_working_directory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path.parent)
    loaded = load_run("copy")
    monkeypatch.chdir("/")
    assert loaded.snapshot().epoch == 30


@pytest.mark.parametrize("name", ["loss", "accuracy"])
def test_metrics_without_what_every_entry_has_are_refused(run: Run, name: str) -> None:
    lines = [json.loads(line) for line in run.layout.metrics.read_text().splitlines()]
    del lines[3][name]
    run.layout.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RunError, match=rf"must have train and test loss and accuracy, but lacks '{name}'"):
        _ = run.metrics


@pytest.mark.slow
def test_the_model_of_an_epoch_is_that_of_transformer_lens(trained: Run) -> None:
    model = trained.model(10)
    a, b = all_pairs(trained.task)
    tokens = torch.stack([a, b, torch.full_like(a, trained.task.n_tokens)], dim=1)
    with torch.no_grad():
        logits = model(tokens)[:, -1, :7].double().reshape(7, 7, 7)
    torch.testing.assert_close(logits, trained.snapshot(10).logits, rtol=0, atol=1e-5)
    found = gi.snapshot(model)
    assert (found.task.name, found.epoch) == (trained.task.name, 10)
    assert torch.equal(found.is_train, trained.is_train)
    assert gi.progress.losses(model).identical(gi.progress.losses(trained.snapshot(10)))


def test_a_checkpoint_that_holds_no_numbers_is_a_broken_file(run: Run) -> None:
    path = run.layout.checkpoint(20)
    params = run.params(20)
    params["embed.W_E"][0, 0] = torch.nan
    write_tensors(path, params, {"epoch": 20})
    with pytest.raises(RunError, match=r"\.safetensors must hold finite float32 parameters, but embed\.W_E"):
        run.snapshot(20)


def test_the_directory_is_readable_without_the_library(trained: Run) -> None:
    config = json.loads((trained.path / "config.json").read_text())["config"]
    last = max((trained.path / "checkpoints").glob("*.safetensors"))
    with safe_open(last, framework="numpy") as file:
        params = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        about = file.metadata()
    with safe_open(trained.path / "split.safetensors", framework="numpy") as file:
        is_train = file.get_tensor("is_train")
    entries = [json.loads(line) for line in (trained.path / "metrics.jsonl").read_text().splitlines()]

    assert about == {"epoch": "30"}
    assert params["embed.W_E"].shape == (config["task"]["p"] + 1, config["model"]["d_model"])
    assert params["blocks.0.attn.W_Q"].shape == (2, 16, 8)
    assert {p.dtype for p in params.values()} == {np.dtype("float32")}
    assert is_train.shape == (7, 7)
    assert is_train.dtype == bool
    assert entries[-1]["epoch"] == 30
    assert entries[-1]["loss"].keys() == {"train", "test"}


def test_a_run_is_loaded_by_its_directory(trained: Run) -> None:
    assert load_run(trained.path) == load_run(str(trained.path)) == trained


@pytest.mark.parametrize("name", ["nothing/here", "nanda2O23"])
def test_an_unknown_name_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=f"{name} is neither a run directory nor a bundled run"):
        load_run(name)


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run directory: it has no config\.json"):
        load_run(tmp_path)


def test_a_file_is_no_run(trained: Run) -> None:
    with pytest.raises(RunError, match="is neither a run directory nor a bundled run"):
        load_run(trained.layout.config)


def test_a_broken_config_is_refused_when_it_is_loaded(run: Run) -> None:
    run.layout.config.write_text("{")
    with pytest.raises(RunError, match=r"config\.json must be JSON"):
        load_run(run.path)


@pytest.fixture
def read_only(run: Run) -> Iterator[Run]:
    """A run in a directory without write permission (which does not bind the superuser)."""
    folders = [run.path, *(path for path in run.path.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield run
    for folder in folders:
        folder.chmod(0o755)


def test_loading_and_analysing_writes_nothing(read_only: Run) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (read_only.path, *read_only.path.rglob("*"))}

    before = state()
    run = load_run(read_only.path)
    assert run.metrics.sizes["epoch"] == 7
    assert run.snapshot(10).logits.isfinite().all()
    assert state() == before


@pytest.mark.skipif(os.name != "posix", reason="other systems have no read-only directories")
def test_params_are_a_copy_of_the_file(read_only: Run) -> None:
    read_only.params()["embed.W_E"].zero_()
    assert read_only.params()["embed.W_E"].abs().max() > 0


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_whatever_reads_a_run_takes_its_path(trained: Run, tmp_path: Path) -> None:
    run = gi.load_run(shutil.copytree(trained.path, tmp_path / "run"))
    path = str(run.path)
    assert load_run(run) is run
    page = gi.report.write(path, tmp_path / "page.html", progress=False)
    assert page.read_text(encoding="utf-8").startswith("<!")
    assert gi.report.summary(path, progress=False) == gi.report.summary(run, progress=False)
    assert gi.early_detection(path, progress=False).equals(gi.early_detection(run, progress=False))
    assert [result.ours for result in gi.claims.check(path)][:3] == [result.ours for result in gi.claims.check(run)][:3]
    forked = gi.fork(path, 30, tmp_path / "fork", {"epochs": 31}, progress=False)
    assert forked.checkpoint_epochs == (30, 31)


READERS = {
    "report.write": gi.report.write,
    "report.summary": gi.report.summary,
    "early_detection": gi.early_detection,
    "fork": lambda run: gi.fork(run, 3, "nowhere"),
    "load_run": load_run,
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_run_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="run must be a Run, a run directory or the name of a bundled run, got 3"):
        READERS[name](3)
    with pytest.raises(RunError, match="nowhere is neither a run directory nor a bundled run"):
        READERS[name]("nowhere")
