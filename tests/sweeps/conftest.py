"""Runs small enough to sweep many times, and synthetic runs with known results."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from grokinterp.config import OptimConfig, RunConfig, SplitConfig, TaskConfig
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.runs import metrics, tensors
from grokinterp.runs.layout import Layout
from grokinterp.runs.manifest import write_identity


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread as in the workers, so that a run is bitwise equal wherever it is trained."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip fsync, which only matters in a power failure."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def tiny() -> RunConfig:
    """A few epochs modulo 7."""
    return RunConfig(
        task=TaskConfig(p=7),
        split=SplitConfig(fraction=0.5),
        model=TransformerConfig(d_model=8, n_heads=1, d_head=8, d_mlp=16),
        optim=OptimConfig(warmup_steps=3),
        epochs=20,
        log_every=5,
        checkpoint_every=10,
    )


@pytest.fixture
def long(tiny: RunConfig) -> RunConfig:
    """Enough epochs to be killed in the middle, with checkpoints to resume from."""
    return replace(tiny, epochs=400, log_every=50, checkpoint_every=50)


@pytest.fixture
def made_up() -> Callable[..., None]:
    """Writes a finished run that memorized and grokked at the given entries, one entry per 10 epochs."""

    def write(path: Path, config: RunConfig, *, memorized: int, grokked: int, entries: int = 40) -> None:
        layout = Layout(path)
        task = config.task.build()
        layout.checkpoints.mkdir(parents=True)
        write_identity(layout.config, config, {})
        tensors.write_task(layout.task, task)
        for i in range(entries):
            right = {"train": float(i >= memorized), "test": float(i >= grokked)}
            metrics.append_metrics(
                layout.metrics,
                {
                    "epoch": 10 * i,
                    "loss": {"train": 2.0 - right["train"], "test": 3.0 - right["test"] + 0.001 * i},
                    "accuracy": right,
                    "squared_weight_norm": 100.0 - i,
                    "learning_rate": 1e-3,
                    "seconds": 0.5 * i,
                },
            )
        layout.checkpoint(config.epochs).touch()
        layout.finished.touch()

    return write
