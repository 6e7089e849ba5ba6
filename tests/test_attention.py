"""Attention over pairs, on a planted model that attends to one input with each head."""

import pytest

import grokinterp as gi


def test_planted_heads_attend_to_one_input_each() -> None:
    pattern = gi.attention.pattern(gi.testing.planted_snapshot(7, (1, 3)))
    assert pattern.dims == ("head", "a", "b")
    assert pattern.sel(head=0).min().item() == pytest.approx(1.0)
    assert pattern.sel(head=1).max().item() == pytest.approx(0.0, abs=1e-12)
    assert pattern.sel(head=2).values.flatten().tolist() == pytest.approx([1 / 3] * 49)


def test_attention_to_equals_is_what_the_inputs_leave() -> None:
    to_equals = gi.attention.to_equals(gi.testing.planted_snapshot(7, (1, 3)))
    assert to_equals.values.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3], abs=1e-12)
