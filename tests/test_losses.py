import math

import pytest
import torch
from torch.testing import assert_close

from grokinterp.losses import accuracy, cross_entropy, cross_entropy_per_pair, margin


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


def test_the_margin_is_to_the_best_wrong_class():
    logits = torch.tensor([[[1.0, 4.0, 2.0], [1.0, 4.0, 2.0]], [[3.0, 3.0, -1.0], [-5.0, -7.0, -6.0]]])
    labels = torch.tensor([[1, 2], [0, 1]])
    assert margin(logits, labels).tolist() == [[2.0, -2.0], [0.0, -2.0]]


def test_a_positive_margin_is_a_right_answer():
    logits, labels = normal(200, 5), torch.arange(200) % 5
    is_right = margin(logits, labels) > 0
    assert_close(is_right.double().mean(), accuracy(logits, labels))
    assert 0 < is_right.sum() < 200
