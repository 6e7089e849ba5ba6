"""What several test files share: the hypothesis profiles, and parameters with no zero among them."""

import os
from collections.abc import Callable, Iterator

import jaxtyping
import pytest
import torch
from hypothesis import settings

import grokinterp as gi
from grokinterp.models.architecture import Params
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.tasks import Task


settings.register_profile("fast", max_examples=20, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


# Fixtures that take seconds: every test that asks for one is slow.
COSTLY = {"bundled_claims"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `slow` what is slow because of its fixtures, before tests are chosen by their marks."""
    for item in items:
        if COSTLY & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def random_params() -> Callable[..., Params]:
    """Draws parameters whose biases and norms are not those of an initialisation, so that each of them matters."""

    def draw(config: TransformerConfig, task: Task, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Params:
        generator = torch.Generator().manual_seed(seed)
        params = {}
        for name, shape in config.shapes(task).items():
            centre = 1.0 if name.endswith(".w") else 0.0
            params[name] = (centre + 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
        return params

    return draw


@pytest.fixture(scope="session")
def bundled_claims() -> list[gi.claims.Result]:
    """Every claim on the bundled run, which takes a while."""
    return gi.claims.check(gi.load_run("nanda2023"))


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the run-time type checks of these tests: a user's wrong argument reaches the library's own message."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
