"""Small models for the monitors: one whose parameters all matter, and what edits it."""

from collections.abc import Callable

import pytest
import torch

import grokinterp as gi


@pytest.fixture(scope="session")
def small(random_params) -> Callable[..., gi.Snapshot]:
    """Makes a snapshot of a model with random parameters, biases and norms among them."""

    def make(*, dtype: torch.dtype = torch.float64, scale: float = 1.0, hook=None, **settings: object) -> gi.Snapshot:
        shape = {"d_model": 8, "n_heads": 2, "d_head": 4, "d_mlp": 12, "biases": "all", **settings}
        config, task = gi.TransformerConfig(**shape), gi.TaskConfig(p=7).build()
        params = {name: scale * x for name, x in random_params(config, task, dtype=dtype).items()}
        is_train = gi.tasks.uniform_split(task, 0.5, seed=0)
        return gi.Snapshot(params=params, config=config, task=task, is_train=is_train, hook=hook)

    return make
