"""The loss of a config is the one that it names, in the dtype that it names."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch.testing import assert_close

from grokinterp.config import LossConfig
from grokinterp.losses import cross_entropy, stablemax_cross_entropy
from grokinterp.training.objective import objective


LABELS = torch.arange(40) % 7


@pytest.fixture
def logits() -> Tensor:
    return 5 * torch.randn(40, 7, generator=torch.Generator().manual_seed(0))


def gradient(config: LossConfig, logits: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(objective(config)(logits, LABELS), logits)[0]


def test_the_default_is_the_float64_cross_entropy_to_the_bit(logits: Tensor) -> None:
    leaf = logits.clone().requires_grad_()
    plain = cross_entropy(leaf, LABELS)
    assert torch.equal(objective(LossConfig())(logits, LABELS), plain.detach())
    assert torch.equal(gradient(LossConfig(), logits), torch.autograd.grad(plain, leaf)[0])


def test_torch_float32_is_plain_torch_to_the_bit(logits: Tensor) -> None:
    plain = torch.nn.functional.cross_entropy(logits, LABELS)
    assert torch.equal(objective(LossConfig(dtype="torch_float32"))(logits, LABELS), plain)
    assert torch.equal(objective(LossConfig(dtype="torch_float32"))(logits.double(), LABELS), plain)


@given(
    logits=arrays(np.float32, (4, 7), elements=st.floats(-30, 30, width=32)),
    lead=st.floats(-60, 20, width=32),
    smoothing=st.sampled_from([0.0, 0.1]),
)
def test_float32_is_float64_to_a_millionth_however_small_the_loss(
    logits: np.ndarray, lead: float, smoothing: float
) -> None:
    """The right logit leads all others by `lead`, so that the loss goes down to 1e-9."""
    labels, rows = torch.tensor([0, 2, 4, 6]), torch.arange(4)
    z = torch.from_numpy(logits)
    z[rows, labels] = z.scatter(1, labels[:, None], -torch.inf).amax(1) + lead
    results = []
    for dtype in ("float32", "float64"):
        leaf = z.clone().requires_grad_()
        loss = objective(LossConfig(dtype=dtype, label_smoothing=smoothing))(leaf, labels)
        results.append((loss.detach().double(), torch.autograd.grad(loss, leaf)[0]))
    (loss, grad), (wanted, wanted_grad) = results
    assert_close(loss, wanted, atol=0, rtol=1e-6)
    assert ((grad - wanted_grad).norm(dim=1) <= 1e-6 * wanted_grad.norm(dim=1)).all()


def test_float32_corrects_what_a_difference_of_logits_loses() -> None:
    """The difference 20 is rounded by up to 1e-6, and so would the loss be; four roundings of float32 are left."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(2_000):
        z, label = torch.tensor([[20.0, 0.0]]) + torch.rand(1, 2, generator=generator), torch.tensor([0])
        loss, wanted = (objective(LossConfig(dtype=dtype))(z, label).double() for dtype in ("float32", "float64"))
        assert_close(loss, wanted, atol=0, rtol=4 * torch.finfo(torch.float32).eps)


@pytest.mark.parametrize("name", ["cross_entropy", "stablemax"])
def test_the_dtypes_agree_where_float32_is_enough(logits: Tensor, name: str) -> None:
    exact, single = (objective(LossConfig(name=name, dtype=dtype))(logits, LABELS) for dtype in ("float64", "float32"))
    assert (exact.dtype, single.dtype) == (torch.float64, torch.float32)
    assert_close(single.double(), exact, atol=0, rtol=1e-6)


def test_stablemax_is_asked_for_by_name(logits: Tensor) -> None:
    found = objective(LossConfig(name="stablemax"))(logits, LABELS)
    assert torch.equal(found, stablemax_cross_entropy(logits, LABELS))


@pytest.mark.parametrize("dtype", ["float64", "torch_float32"])
def test_label_smoothing_is_torchs(logits: Tensor, dtype: str) -> None:
    found = objective(LossConfig(label_smoothing=0.2, dtype=dtype))(logits, LABELS)
    wanted = torch.nn.functional.cross_entropy(
        logits.to(getattr(torch, dtype.removeprefix("torch_"))), LABELS, label_smoothing=0.2
    )
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("changes", [{"name": "stablemax"}, {"label_smoothing": 0.1}, {"dtype": "torch_float32"}])
def test_each_option_changes_the_gradient(logits: Tensor, changes: dict[str, object]) -> None:
    assert not torch.equal(gradient(LossConfig(**changes), logits), gradient(LossConfig(), logits))


def test_a_pair_that_float32_is_done_with_is_still_learned_from_in_float64() -> None:
    logits = torch.zeros(40, 7).scatter(1, LABELS[:, None], 25.0)
    rows = torch.arange(40)
    assert (gradient(LossConfig(dtype="torch_float32"), logits)[rows, LABELS] == 0).all()
    assert (gradient(LossConfig(dtype="float32"), logits)[rows, LABELS] < 0).all()
    assert (gradient(LossConfig(), logits)[rows, LABELS] < 0).all()


def test_it_runs_under_vmap_over_runs(logits: Tensor) -> None:
    stacked, labels = torch.stack([logits, 2 * logits]), torch.stack([LABELS, LABELS.flip(0)])
    for config in (LossConfig(), LossConfig(name="stablemax"), LossConfig(dtype="float32", label_smoothing=0.1)):
        one_by_one = torch.stack([objective(config)(*pair) for pair in zip(stacked, labels, strict=True)])
        assert_close(torch.func.vmap(objective(config))(stacked, labels), one_by_one)
