"""Every option of optimizer, loss, aids and curriculum: it changes a run, and a run that was stopped has its bits."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from grokinterp.config import (
    AidsConfig,
    Curriculum,
    LossConfig,
    OptimConfig,
    RunConfig,
    Schedule,
    SplitConfig,
    TaskConfig,
)
from grokinterp.models.config import TransformerConfig
from grokinterp.runs.run import Run
from grokinterp.training.learner import Learner
from grokinterp.training.loop import train


WARM = OptimConfig(warmup_steps=3, batch_size=12)


def optim(**changes: Any) -> dict[str, OptimConfig]:
    return {"optim": dataclasses.replace(WARM, **changes)}


def aids(**changes: Any) -> dict[str, AidsConfig]:
    return {"aids": AidsConfig(**changes)}


STEEP = Schedule(kind="linear", steps=8, factor=0.1)
STUCK = Schedule(kind="plateau", steps=1, factor=0.5)
OPTIONS = {
    "SGD": optim(name="SGD", lr=0.1, weight_decay=0.01),
    "Muon": optim(name="Muon"),
    "decay toward the initial weights": optim(decay_toward="initial"),
    "decay by parameter": optim(decay_of=(("embed.*", 0.0),)),
    "learning-rate schedule": optim(lr_schedule=STEEP),
    "learning rate on a plateau": optim(lr_schedule=STUCK),
    "decay schedule": optim(weight_decay_schedule=dataclasses.replace(STEEP, factor=10.0)),
    "decay on a plateau": optim(weight_decay_schedule=STUCK),
    "batch-size schedule": optim(batch_size_schedule=dataclasses.replace(STEEP, factor=0.5)),
    "batch size on a plateau": optim(batch_size_schedule=dataclasses.replace(STUCK, factor=1.5, limit=3.0)),
    "StableMax": {"loss": LossConfig(name="stablemax")},
    "float32": {"loss": LossConfig(dtype="float32")},
    "label smoothing": {"loss": LossConfig(label_smoothing=0.1)},
    "dropout": aids(dropout=0.2),
    "orthogonal gradient": aids(orthogonal_gradient=True),
    "Grokfast": aids(grokfast="ema"),
    "Grokfast over a window": aids(grokfast="ma", grokfast_window=3),
    "clipping": aids(clip_norm=0.1),
    "weight norm": aids(weight_norm=0.8),
    "label noise": aids(label_noise=0.2),
    "frozen": aids(frozen=("embed.*",)),
    "curriculum": {"curriculum": Curriculum(order="operand_size", stages=((0, 0.5), (3, 1.0)))},
}
STOPPED_AT = 5


def weights(run: Run) -> torch.Tensor:
    return torch.cat([p.flatten() for p in run.params().values()])


@pytest.fixture(scope="module")
def base() -> RunConfig:
    # Of one engine, so that what dropout changes is not that.
    model = TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=32, biases="mlp", equals_in_output=True)
    split, task = SplitConfig(fraction=0.5), TaskConfig(p=7)
    return RunConfig(task=task, split=split, model=model, optim=WARM, epochs=6, log_every=6, engine="full")


@pytest.fixture(scope="module")
def without(base: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """The weights of a run without options."""
    return weights(train(base, tmp_path_factory.mktemp("without"), progress=False))


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The next run stops in the middle, after a checkpoint and some updates; the one after it does not."""
    batches, stops = Learner.batches, iter([True])

    def stop_once(learner: Learner, epoch: int) -> Any:
        if epoch == STOPPED_AT and next(stops, False):
            raise KeyboardInterrupt
        return batches(learner, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "batches", stop_once)
        yield


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changes_the_run_and_goes_on_to_the_same_bits_after_a_stop(
    option: str, base: RunConfig, without: torch.Tensor, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config = dataclasses.replace(base, **OPTIONS[option])
    whole = weights(train(config, tmp_path / "whole", progress=False))
    assert whole.isfinite().all()
    assert not torch.equal(whole, without)

    request.getfixturevalue("stopping")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped", progress=False)
    assert max(Run(tmp_path / "stopped").epochs) == STOPPED_AT - 1
    assert torch.equal(weights(train(config, tmp_path / "stopped", progress=False)), whole)
