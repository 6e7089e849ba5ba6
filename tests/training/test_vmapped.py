"""Runs trained side by side: each as it is alone, within float tolerance."""

import signal
from pathlib import Path

import pytest
import torch

from grokinterp.config import RegularizationConfig, RunConfig, change
from grokinterp.models.kinds.mlp import MLPConfig
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.runs.layout import RunError
from grokinterp.runs.run import Run
from grokinterp.training import trainer, vmapped
from grokinterp.training.loop import train
from grokinterp.training.vmapped import train_many


pytestmark = pytest.mark.slow


# AdamW divides by the gradient's size: where that is rounding alone, its sign is a coin's.
CALM = {"optim.eps": 1e-3, "epochs": 12, "checkpoint_every": 4}
MODELS = {
    "factored": TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=32, biases="mlp", equals_in_output=True),
    "two layers": TransformerConfig(n_layers=2, d_model=16, n_heads=2, d_head=8, d_mlp=32, normalization="LN"),
    "MLP": MLPConfig(d_mlp=16),
}


def assert_close_to_alone(runs: list[Run], configs: list[RunConfig], root: Path) -> None:
    for i, (run, config) in enumerate(zip(runs, configs, strict=True)):
        alone = train(config, root / f"alone{i}", progress=False)
        assert run.config == config
        assert run.checkpoint_epochs == alone.checkpoint_epochs
        assert torch.equal(run.is_train, alone.is_train)
        for epoch in run.checkpoint_epochs:
            mine, theirs = run.params(epoch), alone.params(epoch)
            for name in theirs:
                torch.testing.assert_close(mine[name], theirs[name], atol=1e-5, rtol=1e-4)
        left, right = run.metrics, alone.metrics
        assert (left.learning_rate == right.learning_rate).all()
        assert abs(left.loss - right.loss).max() < 1e-4


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_runs_of_one_shape_are_what_they_are_alone(tiny: RunConfig, tmp_path: Path, model: object) -> None:
    each = [{"seed": 0}, {"seed": 1, "optim.weight_decay": 0.0}, {"seed": 2, "optim.lr": 3e-3, "optim.warmup_steps": 0}]
    configs = [change(tiny, {"model": model, **CALM, **changes}) for changes in each]
    runs = train_many(configs, [tmp_path / str(i) for i in range(3)], progress=False)
    assert all(run.is_finished for run in runs)
    assert_close_to_alone(runs, configs, tmp_path)
    assert not torch.equal(runs[0].params()["unembed.W_U"], runs[1].params()["unembed.W_U"])


@pytest.mark.exhaustive
def test_regularization_schedules_and_splits_may_differ(tiny: RunConfig, tmp_path: Path) -> None:
    each = [
        {"regularization": RegularizationConfig(grokfast="ema", clip_norm=1.0), "split.fraction": 0.3},
        {"regularization": RegularizationConfig(orthogonal_gradient=True), "optim.lr_schedule.kind": "cosine"},
        {"epochs": 5, "optim.batch_size": None},
    ]
    configs = [change(tiny, {**CALM, **changes}) for changes in each]
    runs = train_many(configs, [tmp_path / str(i) for i in range(3)], progress=False)
    assert_close_to_alone(runs, configs, tmp_path)


def test_a_stopped_batch_of_runs_goes_on(tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [change(tiny, {**CALM, "seed": seed}) for seed in (0, 1)]
    paths = [tmp_path / "0", tmp_path / "1"]
    real = trainer.write_resume

    def full(path: Path, point: trainer.ResumePoint) -> None:
        if point.epoch == 8:
            raise OSError(28, "No space left on device")
        real(path, point)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "write_resume", full)
        with pytest.raises(RunError, match="No space left on device; its last checkpoint is from epoch 8"):
            train_many(configs, paths, progress=False)
    runs = train_many(configs, paths, progress=False)
    assert all(run.is_finished for run in runs)
    assert_close_to_alone(runs, configs, tmp_path)


def test_a_run_that_diverges_is_named_and_stops_no_other(tiny: RunConfig, tmp_path: Path) -> None:
    wild = {"optim.lr": 1e30, "optim.name": "SGD", "optim.warmup_steps": 0}
    configs = [change(tiny, {**CALM, **changes}) for changes in ({}, wild, {"seed": 1})]
    paths = [tmp_path / str(i) for i in range(3)]
    for _ in range(2):
        with pytest.raises(RunError, match=r"the loss at epoch \d+ is not finite"):
            train_many(configs, paths, progress=False)
    assert [(path / "FINISHED").exists() for path in paths] == [True, False, True]


def test_finished_runs_are_left_as_they_are(tiny: RunConfig, tmp_path: Path) -> None:
    configs = [change(tiny, {**CALM, "seed": seed}) for seed in (0, 1)]
    train(configs[0], tmp_path / "0", progress=False)
    before = (tmp_path / "0" / "FINISHED").stat().st_mtime_ns
    train_many(configs, [tmp_path / "0", tmp_path / "1"], progress=False)
    assert (tmp_path / "0" / "FINISHED").stat().st_mtime_ns == before
    assert (tmp_path / "1" / "FINISHED").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"compile": True},
            "does not support compile, dropout or engine='hooked', got compile=True",
        ),
        ({"regularization.dropout": 0.1}, r"got compile=False, dropout=0\.1"),
        ({"engine": "hooked"}, r"engine='hooked'; use gi\.train for this run"),
        ({"model.d_mlp": 8}, "train_many requires all configs to have the same model, got "),
        ({"loss.dtype": "float32"}, "all configs to have the same loss, got "),
        ({"engine": "full"}, "to have the same engine, got 'factored' and 'full'"),
    ],
)
def test_runs_that_cannot_be_stacked_are_refused(tiny: RunConfig, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_many([tiny, change(tiny, changes)], [tmp_path / "0", tmp_path / "1"], progress=False)
    assert not (tmp_path / "0").exists()


def test_each_run_needs_a_directory_of_its_own(tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a separate directory for each run, got"):
        train_many([tiny, tiny], [tmp_path, tmp_path], progress=False)


@pytest.mark.parametrize(("epoch", "message"), [(4, r"stopped 2 of 2 runs; train the same"), (11, "every run is fini")])
def test_ctrl_c_saves_every_run(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, message: str
) -> None:
    configs = [change(tiny, {**CALM, "seed": seed}) for seed in (0, 1)]
    paths = [tmp_path / "0", tmp_path / "1"]
    advance = vmapped._advance

    def interrupted(trainers: list[trainer.Trainer]) -> None:
        if trainers and trainers[0].epoch == epoch:
            signal.raise_signal(signal.SIGINT)
        advance(trainers)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(vmapped, "_advance", interrupted)
    with pytest.raises(KeyboardInterrupt, match=message):
        train_many(configs, paths, progress=False)
    signal.signal(signal.SIGINT, previous)
    assert all(max(Run(path).layout.checkpoint_epochs()) == epoch + 1 for path in paths)
    monkeypatch.setattr(vmapped, "_advance", advance)
    assert all(run.is_finished for run in train_many(configs, paths, progress=False))
