"""The planted models: they do what they are built to do."""

import math

import pytest
import torch

import grokinterp as gi
from grokinterp.models import planted
from grokinterp.tasks import all_pairs, operation


CASES = [(7, (1, 3)), (8, (1, 4)), (59, (3, 5, 29)), (113, (14, 35, 41, 56))]


@pytest.mark.parametrize(("p", "keys"), CASES)
def test_cosine_logits_are_those_of_a_loop(p: int, keys: tuple[int, ...]) -> None:
    logits = planted.cosine_logits(p, keys, amplitude=2.5)
    for a, b, c in [(0, 0, 0), (1, 2, 5), (p - 1, p - 1, 3), (p // 2, 4, p - 1)]:
        expected = 2.5 * sum(math.cos(2 * math.pi * k * (a + b - c) / p) for k in keys)
        assert logits[a, b, c].item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("p", "keys"), CASES)
def test_quadratic_transformer_is_exact(p: int, keys: tuple[int, ...]) -> None:
    snapshot = gi.testing.planted_snapshot(p, keys, amplitude=3.0)
    torch.testing.assert_close(snapshot.logits, planted.cosine_logits(p, keys, amplitude=3.0), atol=1e-10, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("p", "keys"), CASES)
def test_relu_transformer_is_within_its_stated_bounds(p: int, keys: tuple[int, ...]) -> None:
    snapshot = gi.testing.planted_snapshot(p, keys, act_fn="relu")
    error = (snapshot.logits - planted.cosine_logits(p, keys)).abs().max().item()
    assert error < 0.05 * len(keys)
    assert gi.logits.variance_explained(snapshot, keys) > 0.999


def test_planted_transformer_adds() -> None:
    snapshot = gi.testing.planted_snapshot(59, (3, 5, 29), act_fn="relu", amplitude=20.0)
    assert torch.equal(snapshot.logits.argmax(dim=-1), snapshot.task.table)


def test_factored_and_full_forward_agree_on_it() -> None:
    params, config = planted.transformer(7, (1, 3))
    a, b = all_pairs(operation("addition", 7))
    snapshot = gi.testing.planted_snapshot(7, (1, 3))
    torch.testing.assert_close(config.logits(params, a, b).reshape(7, 7, 7), snapshot.logits)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ((4,), r"keys must be blocks .* got \[4\]"),
        ((-1,), r"got \[-1\]"),
        ((0, 1), r"keys must be one or more integers of at least 1, got \[0, 1\]"),
        ((), r"keys must be one or more integers of at least 1, got \[\]"),
    ],
)
def test_unknown_keys_are_refused(keys: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planted.transformer(7, keys)


def test_too_many_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 15 frequencies, got 16"):
        planted.transformer(113, tuple(range(1, 17)))
