"""What a config asks for happens in training: each option changes the run, and the log says what was done."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import grokinterp as gi
from grokinterp.config import Curriculum, RunConfig, Schedule, change
from grokinterp.models.kinds.mlp import MLPConfig
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.runs.layout import RunError
from grokinterp.training import learner
from grokinterp.training.loop import train


pytestmark = pytest.mark.slow


DEEP = TransformerConfig(n_layers=2, d_model=16, n_heads=2, d_head=8, d_mlp=32, normalization="LN", biases="all")
OPTIONS = {
    "SGD": {"optim.name": "SGD", "optim.lr": 0.1},
    "Muon": {"optim.name": "Muon"},
    "toward initial": {"optim.decay_toward": "initial"},
    "decay of a group": {"optim.decay_of": [["embed.*", 0.0]]},
    "lr schedule": {"optim.lr_schedule.kind": "cosine"},
    "decay schedule": {"optim.weight_decay_schedule.kind": "linear", "optim.weight_decay_schedule.factor": 10.0},
    "batch size schedule": {"optim.batch_size_schedule.kind": "linear", "optim.batch_size_schedule.factor": 3.0},
    "lr on a plateau": {"optim.lr_schedule": Schedule(kind="plateau", steps=1, factor=0.5)},
    "decay on a plateau": {"optim.weight_decay_schedule": Schedule(kind="plateau", steps=1, factor=0.5)},
    "batch size on a plateau": {
        "optim.batch_size_schedule": Schedule(kind="plateau", steps=1, factor=1.5, limit=3.0),
    },
    "stablemax": {"loss.name": "stablemax"},
    "float32": {"loss.dtype": "float32"},
    "torch_float32": {"loss.dtype": "torch_float32"},
    "label smoothing": {"loss.label_smoothing": 0.1},
    "dropout": {"regularization.dropout": 0.1},
    "orthogonal gradient": {"regularization.orthogonal_gradient": True},
    "grokfast ema": {"regularization.grokfast": "ema"},
    "grokfast ma": {"regularization.grokfast": "ma", "regularization.grokfast_window": 3},
    "clipping": {"regularization.clip_norm": 0.01},
    "weight norm": {"regularization.weight_norm": 0.8},
    "label noise": {"regularization.label_noise": 0.3},
    "frozen": {"regularization.frozen": ["embed.*"]},
    "curriculum": {"curriculum": Curriculum(order="operand_size", stages=((0, 0.5), (12, 1.0)))},
    "batches of another seed": {"optim.seed": 5},
    "several operations": {"task.also": ["subtraction"]},
    "operands alone": {"model.sequence": "a b", "model.equals_in_output": False},
    "with the operation": {"model.sequence": "a op b ="},
}


def steep(tiny: RunConfig) -> RunConfig:
    """So that schedules move within a few updates."""
    short = Schedule(steps=40)
    schedules = {f"optim.{name}_schedule": short for name in ("lr", "weight_decay", "batch_size")}
    return change(tiny, {**schedules, "optim.lr": 1e-2})


@pytest.mark.exhaustive
@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
def test_the_option_changes_the_run_and_a_run_that_was_stopped_ends_with_the_same_bits(
    tiny: RunConfig, tmp_path: Path, changes: dict
) -> None:
    config = change(steep(tiny), changes)
    plain = train(steep(tiny), tmp_path / "plain", progress=False)
    whole = train(config, tmp_path / "whole", progress=False)
    cut = train(change(config, {"epochs": 8}), tmp_path / "cut", progress=False)
    resumed = train(config, cut.path, progress=False)
    last = whole.params()
    assert all(torch.equal(p, last[name]) for name, p in resumed.params().items())
    assert resumed.metrics.drop_vars("seconds").equals(whole.metrics.drop_vars("seconds"))
    before = plain.params()
    assert any(p.shape != before[name].shape or not torch.equal(p, before[name]) for name, p in last.items())


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", [DEEP, MLPConfig(d_mlp=16), MLPConfig(inputs="summed", n_layers=1, d_model=8)])
def test_other_models_are_trained_checkpointed_and_measured(tiny: RunConfig, tmp_path: Path, model: object) -> None:
    config = change(tiny, {"model": model, "optim.lr": 1e-2})
    whole = train(config, tmp_path / "whole", progress=False)
    cut = train(change(config, {"epochs": 8}), tmp_path / "cut", progress=False)
    resumed = train(config, cut.path, progress=False)
    assert all(torch.equal(p, whole.params()[name]) for name, p in resumed.params().items())
    loss = whole.metrics.loss.sel(split="train")
    assert loss[-1] < 0.7 * loss[0]
    ds = gi.trajectory(whole, [gi.progress.losses, gi.progress.weight_norm, gi.fourier.spectrum], progress=False)
    assert ds.loss.sel(split="train").values[-1] == pytest.approx(loss.values[-1], rel=1e-5)


def test_the_log_says_what_the_optimizer_and_the_batches_were(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedules = {
        "optim.lr_schedule": Schedule(kind="linear", steps=30, factor=0.0),
        "optim.weight_decay_schedule": Schedule(kind="linear", steps=30, factor=10.0),
        "optim.batch_size_schedule": Schedule(kind="linear", steps=30, factor=2.5),
        "log_every": 1,
        "optim.warmup_steps": 0,
    }
    used = []
    real = learner.Learner.update

    def spy(self: learner.Learner, batch: learner.Batch) -> None:
        real(self, batch)
        group = self.optimizer._parts[0].optimizer.param_groups[0]
        used.append((self.config is not None, len(batch[0]), group["lr"], group["weight_decay"]))

    monkeypatch.setattr(learner.Learner, "update", spy)
    run = train(change(tiny, schedules), tmp_path, progress=False)
    metrics = run.metrics
    assert metrics.batch_size.values[0] == 8
    assert metrics.batch_size.values[-1] == 20
    assert max(size for _, size, _, _ in used) == 20
    assert metrics.weight_decay.values[0] == 1.0
    assert metrics.weight_decay.values[-1] == pytest.approx(10.0)
    assert metrics.learning_rate.values[-1] == 0.0
    # The rates that are logged at an epoch are those of the update after it; the spy sees those set after each update.
    steps = np.cumsum([0] + [-(-24 // int(size)) for size in metrics.batch_size.values[:-1]])
    for step, rate, decay in zip(
        steps[1:], metrics.learning_rate.values[1:], metrics.weight_decay.values[1:], strict=True
    ):
        assert used[step - 1][2:] == (rate, decay)


def test_metrics_of_a_curriculum_are_of_all_training_pairs(tiny: RunConfig, tmp_path: Path) -> None:
    curriculum = Curriculum(order="operand_size", stages=((0, 0.4), (12, 1.0)))
    run = train(change(tiny, {"curriculum": curriculum}), tmp_path, progress=False)
    shown = {len(batch[0]) for batch in _learner(run).batches(3)} | {len(b[0]) for b in _learner(run).batches(12)}
    difficulty = run.training_set.difficulty
    assert difficulty is not None
    easy = difficulty[run.is_train] <= 0.4
    assert 0 < easy.sum() < run.is_train.sum()
    assert sum(len(batch[0]) for batch in _learner(run).batches(3)) == easy.sum()
    assert sum(len(batch[0]) for batch in _learner(run).batches(12)) == run.is_train.sum()
    assert shown
    found = gi.progress.losses(run.snapshot()).sel(split="train").item()
    # Without the class '=' in the softmax, which training has.
    assert found == pytest.approx(run.metrics.loss.sel(split="train").values[-1], rel=0.1)


def _learner(run: gi.Run) -> learner.Learner:
    params = run.params(0)
    return learner.Learner(run.config, run.task, run.training_set, params, initial=params, device=torch.device("cpu"))


def test_an_order_of_ones_own_is_kept_with_the_run(tiny: RunConfig, tmp_path: Path) -> None:
    config = change(tiny, {"curriculum": Curriculum(order="custom", stages=((0, 0.5), (12, 1.0)))})
    by_b = lambda a, b: (b / 6).expand(len(a), -1)  # noqa: E731
    train(change(config, {"epochs": 8}), tmp_path, order=by_b, progress=False)
    run = train(config, tmp_path, progress=False)
    kept = run.training_set.difficulty
    assert kept is not None
    assert torch.allclose(kept[3], torch.arange(7).double() / 6)
    with pytest.raises(ValueError, match=r"order= and Curriculum\(order='custom'\) require each other, got order=None"):
        train(config, tmp_path / "without", progress=False)
    with pytest.raises(ValueError, match=r"order must return a number from 0 to 1 for each of the task's \(7, 7\)"):
        train(config, tmp_path / "wrong", order=lambda a, b: a + b, progress=False)


def test_a_curriculum_that_shows_nothing_says_so(tiny: RunConfig, tmp_path: Path) -> None:
    config = change(tiny, {"curriculum": Curriculum(order="custom", stages=((0, 0.5), (12, 1.0)))})
    with pytest.raises(
        RunError, match=r"no training pair at epoch 0: the easiest has difficulty 1, but .* up to 0\.5; raise it"
    ):
        train(config, tmp_path, order=lambda a, b: torch.ones(7, 7), progress=False)


def test_label_noise_replaces_training_answers_alone(tiny: RunConfig, tmp_path: Path) -> None:
    run = train(change(tiny, {"regularization.label_noise": 0.25}), tmp_path, progress=False)
    differs = run.training_set.answers != run.task.table
    assert differs.sum() == 6
    assert not (differs & ~run.is_train).any()
    assert torch.equal(gi.load_run(tmp_path).training_set.answers, run.training_set.answers)


def test_the_weight_norm_is_held(tiny: RunConfig, tmp_path: Path) -> None:
    run = train(change(tiny, {"regularization.weight_norm": 0.8}), tmp_path, progress=False)
    norms = np.sqrt(run.metrics.squared_weight_norm.values)
    np.testing.assert_allclose(norms[1:], 0.8 * norms[0], rtol=1e-5)


def test_frozen_parameters_stay(tiny: RunConfig, tmp_path: Path) -> None:
    run = train(change(tiny, {"regularization.frozen": ["embed.*"]}), tmp_path, progress=False)
    assert torch.equal(run.params()["embed.W_E"], run.params(0)["embed.W_E"])
    assert not torch.equal(run.params()["unembed.W_U"], run.params(0)["unembed.W_U"])


def test_pairs_of_ones_own_are_trained_on(tiny: RunConfig, tmp_path: Path) -> None:
    config = change(tiny, {"split.rule": "custom"})
    mask = torch.eye(7, dtype=torch.bool)
    run = train(config, tmp_path / "own", is_train=mask, progress=False)
    assert torch.equal(run.is_train, mask)
    with pytest.raises(ValueError, match="a custom split cannot be built from its config; pass is_train="):
        train(config, tmp_path / "none", progress=False)
    with pytest.raises(ValueError, match=r"passing is_train requires SplitConfig\(rule='custom'\), got rule='uni"):
        train(tiny, tmp_path / "two", is_train=mask, progress=False)
    with pytest.raises(ValueError, match="is_train leaves the train split empty"):
        train(config, tmp_path / "empty", is_train=torch.zeros(7, 7, dtype=torch.bool), progress=False)


def test_monitors_are_taken_at_every_logged_epoch_and_found_by_trajectories(tiny: RunConfig, tmp_path: Path) -> None:
    monitors = [gi.progress.losses, gi.progress.weight_norm]
    run = train(tiny, tmp_path / "run", monitors=monitors, progress=False)
    ds = gi.trajectory(run, monitors, progress=False)
    logged = set(run.metrics.epoch.values.tolist())
    assert set(ds.epoch.values.tolist()) == logged | set(run.checkpoint_epochs)
    assert logged - set(run.checkpoint_epochs)
    plain = train(tiny, tmp_path / "plain", progress=False)
    assert all(torch.equal(p, plain.params()[name]) for name, p in run.params().items())
    again = gi.trajectory(plain, monitors, progress=False)
    shared = sorted(set(again.epoch.values) & logged)
    np.testing.assert_allclose(ds.loss.sel(epoch=shared), again.loss.sel(epoch=shared), rtol=0, atol=1e-12)


def test_monitors_of_a_run_that_was_stopped_are_whole(tiny: RunConfig, tmp_path: Path) -> None:
    monitors = [gi.progress.losses]
    train(change(tiny, {"epochs": 8}), tmp_path, monitors=monitors, progress=False)
    run = train(tiny, tmp_path, monitors=monitors, progress=False)
    assert set(run.metrics.epoch.values.tolist()) <= set(gi.trajectory(run, monitors, progress=False).epoch.values)


@pytest.mark.usefixtures("unchecked")
def test_a_monitor_without_a_version_is_refused(tiny: RunConfig, tmp_path: Path) -> None:
    own = gi.Measure(name="own", compute=lambda snapshot: gi.progress.losses(snapshot))
    monitors: list[Any] = [own, largest_logit.compute]
    for monitor in monitors:
        with pytest.raises(ValueError, match=r"a monitor must be a measure with a version, got .*version=1\)\.$"):
            train(tiny, tmp_path / "run", monitors=[monitor], progress=False)
    assert not (tmp_path / "run").exists()


@gi.measure("largest_logit", version=1)
def largest_logit(snapshot: gi.Snapshot) -> torch.Tensor:
    return snapshot.logits.max()


def test_a_users_monitor_is_recorded_and_found_by_trajectories(tiny: RunConfig, tmp_path: Path) -> None:
    run = train(tiny, tmp_path / "run", monitors=[gi.progress.losses, largest_logit], progress=False)
    recorded = json.loads(run.layout.config.read_text())["monitors"]
    assert recorded == [
        {"name": "loss", "version": 1, "arguments": {}},
        {"name": "largest_logit", "version": 1, "arguments": {}, "code": largest_logit.code},
    ]
    ds = gi.trajectory(run, largest_logit, progress=False)
    assert set(ds.epoch.values.tolist()) == set(run.metrics.epoch.values.tolist()) | set(run.checkpoint_epochs)
    last = run.snapshot(tiny.epochs)
    assert ds.largest_logit.sel(epoch=tiny.epochs).item() == pytest.approx(last.logits.max().item(), abs=1e-12)


def test_a_run_with_monitors_resumes_with_the_same_monitors_alone(tiny: RunConfig, tmp_path: Path) -> None:
    train(change(tiny, {"epochs": 8}), tmp_path, monitors=[largest_logit], progress=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    @gi.measure("largest_logit", version=1)
    def another(snapshot: gi.Snapshot) -> torch.Tensor:
        return snapshot.logits.abs().max()

    newer = dataclasses.replace(largest_logit, version=2)
    for monitors in ([], [newer], [another], [gi.progress.losses]):
        with pytest.raises(gi.RunError, match=r"was trained with the monitor .*'largest_logit', 'version': 1, .*fork"):
            train(tiny, tmp_path, monitors=monitors, progress=False)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    # A run that has reached its epochs loses nothing.
    assert train(change(tiny, {"epochs": 8}), tmp_path, progress=False).is_finished

    run = train(tiny, tmp_path, monitors=[gi.progress.losses, largest_logit], progress=False)
    recorded = json.loads(run.layout.config.read_text())["monitors"]
    assert [record["name"] for record in recorded] == ["loss", "largest_logit"]
    epochs = gi.trajectory(run, largest_logit, progress=False).epoch.values.tolist()
    assert set(run.metrics.epoch.values.tolist()) <= set(epochs)


def test_a_record_of_monitors_that_is_no_list_is_named(tiny: RunConfig, tmp_path: Path) -> None:
    run = train(change(tiny, {"epochs": 8}), tmp_path, progress=False)
    data = json.loads(run.layout.config.read_text())
    run.layout.config.write_text(json.dumps(data | {"monitors": 3}))
    with pytest.raises(gi.RunError, match="must contain a list of the run's monitors, got 3; restore it from a backup"):
        train(tiny, tmp_path, progress=False)


def test_two_monitors_of_one_name_are_refused(tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two measures have the name 'largest_logit'; rename one"):
        train(tiny, tmp_path, monitors=[largest_logit, largest_logit], progress=False)
