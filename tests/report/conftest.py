"""Small runs on disk, trained once for all tests of the report; a test that writes does so elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import grokinterp as gi


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., gi.Run]:
    """A run of p = 7 for 30 epochs, by its operation and model; each is trained once."""
    kept: dict[str, gi.Run] = {}

    def make(operation: Any, *, task: gi.Task | None = None, model: gi.MLPConfig | None = None) -> gi.Run:
        key = f"{operation}-{model.inputs}" if model else operation
        if key not in kept:
            config = gi.RunConfig(
                task=gi.TaskConfig(operation=operation, p=7),
                split=gi.SplitConfig(fraction=0.5),
                model=model or gi.TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=16),
                epochs=30,
                checkpoint_every=10,
            )
            path = tmp_path_factory.mktemp("runs") / f"small-{key}"
            kept[key] = gi.train(config, path, task=task, progress=False)
        return kept[key]

    return make


@pytest.fixture(scope="session")
def page(small_run: Callable[..., gi.Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of an addition."""
    return gi.report.write(small_run("addition"), tmp_path_factory.mktemp("page") / "addition.html")
