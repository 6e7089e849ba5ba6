import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from grokinterp.losses import (
    accuracy,
    cross_entropy,
    cross_entropy_per_pair,
    softmax_collapse,
    stablemax_cross_entropy,
    zero_losses,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def oracle(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(x) for x in logits)) - logits[label]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_cross_entropy_is_minus_log_softmax_in_float64(dtype):
    logits, labels = normal(4, 5, 7).to(dtype), torch.randint(7, (4, 5), generator=torch.Generator().manual_seed(1))
    losses = cross_entropy_per_pair(logits, labels)
    assert losses.dtype == torch.float64
    assert losses.shape == (4, 5)
    wanted = [[oracle(logits[i, j].tolist(), int(labels[i, j])) for j in range(5)] for i in range(4)]
    assert_close(losses, torch.tensor(wanted, dtype=torch.float64), atol=1e-13, rtol=0)
    assert_close(cross_entropy(logits, labels), losses.mean(), atol=1e-15, rtol=0)


def test_a_loss_that_float32_rounds_to_zero_is_kept():
    logits, labels = torch.zeros(1, 113), torch.tensor([5])
    logits[0, 5] = 22.0
    wanted = torch.tensor(math.log1p(112 * math.exp(-22.0)), dtype=torch.float64)
    assert_close(cross_entropy(logits, labels), wanted, atol=0, rtol=1e-6)
    assert torch.nn.functional.cross_entropy(logits, labels).item() == 0.0


def test_equal_logits_have_the_loss_log_c_and_a_constant_changes_nothing():
    logits, labels = normal(6, 11), torch.arange(6)
    assert_close(cross_entropy(torch.ones(6, 11), labels).item(), math.log(11), atol=1e-14, rtol=0)
    shifted = logits.double() + normal(6, 1, seed=2).double()
    assert_close(cross_entropy(shifted, labels), cross_entropy(logits, labels), atol=1e-13, rtol=0)


def test_the_gradient_is_softmax_less_the_right_class():
    logits, labels = normal(6, 11).requires_grad_(), torch.arange(6)
    cross_entropy(logits, labels).backward()
    wanted = (logits.detach().softmax(dim=-1) - torch.eye(11)[:6]) / 6
    assert logits.grad is not None
    assert logits.grad.dtype == torch.float32
    assert_close(logits.grad, wanted, atol=1e-7, rtol=1e-5)


def test_accuracy_counts_the_largest_logit_and_the_first_of_equals():
    logits = torch.tensor([[1.0, 3.0, 2.0], [1.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 5.0]])
    assert accuracy(logits, torch.tensor([1, 0, 2, 0])).item() == 0.5
    assert accuracy(logits, torch.tensor([1, 0, 2, 0])).dtype == torch.float64


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
def test_label_smoothing_mixes_the_loss_with_that_of_an_even_target(share):
    logits, labels = normal(4, 5, 7).double(), torch.randint(7, (4, 5), generator=torch.Generator().manual_seed(1))
    losses = [
        (1 - share) * oracle(row, label) + share * sum(oracle(row, c) for c in range(7)) / 7
        for row, label in zip(logits.reshape(20, 7).tolist(), labels.flatten().tolist(), strict=True)
    ]
    assert_close(cross_entropy(logits, labels, share).item(), sum(losses) / 20, atol=1e-13, rtol=0)


def test_the_loss_without_smoothing_has_the_bits_of_torch_in_float64():
    logits, labels = normal(50, 11).requires_grad_(), torch.arange(50) % 11
    ours, plain = cross_entropy(logits, labels), torch.nn.functional.cross_entropy(logits.double(), labels)
    assert torch.equal(ours, plain)
    assert torch.equal(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, plain)))


def stable(x: float) -> float:
    return x + 1 if x >= 0 else 1 / (1 - x)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9), st.data())
def test_stablemax_is_s_over_the_sum_of_s(logits, data):
    label = data.draw(st.integers(0, len(logits) - 1))
    wanted = math.log(sum(map(stable, logits))) - math.log(stable(logits[label]))
    found = stablemax_cross_entropy(torch.tensor([logits], dtype=torch.float64), torch.tensor([label]))
    assert_close(found.item(), wanted, atol=1e-12, rtol=1e-12)


def test_the_gradient_of_stablemax_is_right_at_0_and_at_1_too():
    # Where the two branches meet, and where the one that is not taken divides by zero.
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.5, -0.0]], dtype=torch.float64).requires_grad_()
    stablemax_cross_entropy(logits, torch.tensor([1])).backward()
    slopes = torch.tensor([1.0, 1.0, 0.25, 1.0, 1.0], dtype=torch.float64)
    s = torch.tensor([stable(x) for x in logits[0].tolist()], dtype=torch.float64)
    wanted = slopes / s.sum() - torch.eye(5, dtype=torch.float64)[1] * slopes / s
    assert_close(logits.grad, wanted[None], atol=1e-15, rtol=0)


def test_stablemax_keeps_a_gradient_where_softmax_has_lost_it():
    logits, labels = torch.tensor([[40.0, 0.0, 0.0]]).requires_grad_(), torch.tensor([0])
    assert torch.autograd.grad(cross_entropy(logits, labels), logits)[0][0, 0].abs() < 1e-16
    assert torch.autograd.grad(stablemax_cross_entropy(logits, labels), logits)[0][0, 0] < -1e-3


def test_a_collapsed_softmax_is_one_whose_largest_term_is_the_whole_sum():
    logits = torch.zeros(2, 3, 4)
    logits[0, 0, 1], logits[0, 1, 2], logits[1, 2, 0] = 16.0, 20.0, 90.0
    assert softmax_collapse(logits).item() == pytest.approx(2 / 6)
    assert softmax_collapse(logits.double()).item() == pytest.approx(1 / 6)
    assert softmax_collapse(logits + 100).item() == pytest.approx(2 / 6)


def test_a_collapsed_pair_has_no_gradient_at_the_right_class_and_hardly_any_elsewhere():
    logits = torch.tensor([[17.0, 0.0], [16.0, 0.0]]).requires_grad_()
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 0]), reduction="sum")
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[0, 0] == 0
    assert gradient[1, 0] < 0
    assert 0 < gradient[0, 1] < 1e-7


def test_losses_that_are_exactly_zero_are_counted_in_the_dtype_of_the_logits():
    logits = torch.tensor([[[17.0, 0.0], [17.0, 0.0]], [[16.0, 0.0], [0.0, 40.0]]])
    labels = torch.tensor([[0, 1], [0, 1]])
    assert zero_losses(logits, labels).item() == 0.5
    assert zero_losses(logits.double(), labels).item() == 0.25
    # A wrong answer may be as sure of itself as a right one.
    assert softmax_collapse(logits).item() == 0.75
