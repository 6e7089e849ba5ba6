"""One tiny trained run, which no test may change, and copies of it, which they may."""

import shutil
from pathlib import Path

import pytest

from grokinterp.config import OptimConfig, RunConfig, SplitConfig, TaskConfig
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.runs.run import Run, load_run
from grokinterp.training.loop import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Thirty epochs modulo 7, with '=' among the output classes."""
    config = RunConfig(
        task=TaskConfig(p=7),
        split=SplitConfig(fraction=0.5),
        model=TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=32, biases="mlp", equals_in_output=True),
        optim=OptimConfig(warmup_steps=3),
        epochs=30,
        log_every=5,
        checkpoint_every=10,
    )
    return train(config, tmp_path_factory.mktemp("runs") / "trained", progress=False)


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A copy of the trained run."""
    return load_run(shutil.copytree(trained.path, tmp_path / "copy"))
