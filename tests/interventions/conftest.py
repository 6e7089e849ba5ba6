"""Models that interventions are made on: random ones, whose biases and norms all matter, and a planted one."""

from collections.abc import Callable

import pytest
import torch

import grokinterp as gi


SMALL = {"d_model": 12, "n_heads": 3, "d_head": 4, "d_mlp": 20}
CONFIGS = {
    "no biases": gi.TransformerConfig(**SMALL),
    "all biases": gi.TransformerConfig(**SMALL, biases="all", act_fn="gelu", equals_in_output=True),
    "two layers, LN": gi.TransformerConfig(**SMALL, n_layers=2, normalization="LN", biases="all"),
}
TASKS = {
    "addition": gi.tasks.operation("addition", 7),
    "subtraction": gi.tasks.operation("subtraction", 7),
    "multiplication": gi.tasks.operation("multiplication", 7),
    "division": gi.tasks.operation("division", 7),
    "S_3": gi.tasks.from_group(gi.tasks.groups.symmetric(3)),
}


@pytest.fixture(scope="session")
def random_snapshot(random_params) -> Callable[..., gi.Snapshot]:
    """A snapshot with float64 weights, so that two ways to one number can be told from two numbers."""

    def make(config: str = "all biases", task: str = "addition", *, seed: int = 0) -> gi.Snapshot:
        params = random_params(CONFIGS[config], TASKS[task], seed=seed, dtype=torch.float64)
        is_train = gi.tasks.uniform_split(TASKS[task], 0.4, seed=0)
        return gi.Snapshot(params=params, config=CONFIGS[config], task=TASKS[task], is_train=is_train)

    return make


@pytest.fixture(scope="session")
def planted() -> gi.Snapshot:
    """Adds modulo 7 with the frequencies 1 and 3, and nothing else."""
    return gi.testing.planted_snapshot(7, keys=(1, 3))
