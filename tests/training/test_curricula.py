"""Difficulty by operand size, as another project had it for addition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grokinterp.config import Curriculum
from grokinterp.tasks import from_table, operation
from grokinterp.training.dataset import difficulty


@given(st.integers(2, 30))
def test_difficulty_is_the_mean_operand_over_the_largest(p: int) -> None:
    wanted = [[(a + b) / 2 / (p - 1) for b in range(p)] for a in range(p)]
    assert difficulty(operation("addition", p)).tolist() == [pytest.approx(row) for row in wanted]


def test_operands_are_counted_by_their_tokens_where_one_is_left_out() -> None:
    division = difficulty(operation("division", 5))
    assert division.shape == (5, 4)
    assert division.tolist()[2] == pytest.approx([3 / 8, 4 / 8, 5 / 8, 6 / 8])


def test_a_single_pair_is_as_easy_as_can_be() -> None:
    assert difficulty(from_table(torch.tensor([[0]]), name="one")).tolist() == [[0.0]]


def test_stages_show_more_and_more_and_in_the_end_all() -> None:
    curriculum = Curriculum(order="operand_size", stages=((0, 0.3), (1000, 0.6), (5000, 1.0)))
    of_pairs = difficulty(operation("addition", 113))
    epochs = (0, 999, 1000, 4999, 5000)
    shown = [int((of_pairs <= curriculum.difficulty_at(epoch)).sum()) for epoch in epochs]
    # Pairs with a + b up to 67 and up to 134, counted by hand: 68 * 69 / 2, and 113^2 - 90 * 91 / 2.
    assert shown == [2346, 2346, 8674, 8674, 113**2]
