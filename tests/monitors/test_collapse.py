"""Collapse of the softmax: the dtype decides, and a loop over pairs counts it."""

import pytest
import torch
import torch.nn.functional as F

import grokinterp as gi
from grokinterp.monitors import softmax_collapse, zero_losses


def in_dtype(snapshot: gi.Snapshot, dtype: torch.dtype) -> gi.Snapshot:
    params = {name: x.to(dtype) for name, x in snapshot.params.items()}
    return gi.Snapshot(params=params, config=snapshot.config, task=snapshot.task, is_train=snapshot.is_train)


def test_float32_collapses_where_float64_does_not() -> None:
    """The right logit of the planted model leads by 20 and more: beyond what float32 resolves, and not float64."""
    exact = gi.testing.planted_snapshot(7, (1, 2, 3), amplitude=8.0)
    rounded = in_dtype(exact, torch.float32)
    for measure in (softmax_collapse, zero_losses):
        assert measure(exact).item() == 0.0
        assert measure(rounded).item() == 1.0
        assert measure(rounded).attrs["dtype"] == "float32"
    # The losses that are reported are in float64 and see it either way.
    assert gi.progress.losses(rounded).sel(split="train").item() > 0


@pytest.mark.parametrize("scale", [1.0, 3.0, 4.0])
def test_shares_are_counts_over_the_training_pairs(small, scale: float) -> None:
    snapshot = small(dtype=torch.float32, scale=scale)
    collapsed, zero = [], []
    for a, b in snapshot.is_train.nonzero().tolist():
        logits, answer = snapshot.logits[a, b].float(), snapshot.task.table[a, b]
        collapsed.append((logits - logits.max()).exp().sum().item() == 1)
        zero.append(F.cross_entropy(logits, answer).item() == 0)
    assert softmax_collapse(snapshot).item() == pytest.approx(sum(collapsed) / len(collapsed))
    assert zero_losses(snapshot).item() == pytest.approx(sum(zero) / len(zero))
    assert 0 < sum(collapsed) < len(collapsed) or scale == 1.0


def test_a_wrong_answer_may_collapse_and_has_a_loss() -> None:
    snapshot = in_dtype(gi.testing.planted_snapshot(7, (1, 2, 3), amplitude=8.0), torch.float32)
    shifted = snapshot.params | {"unembed.W_U": snapshot.params["unembed.W_U"].roll(1, dims=1)}
    wrong = gi.Snapshot(params=shifted, config=snapshot.config, task=snapshot.task, is_train=snapshot.is_train)
    assert softmax_collapse(wrong).item() == 1.0
    assert zero_losses(wrong).item() == 0.0


def test_the_class_of_equals_counts_as_it_does_in_training(small) -> None:
    snapshot = small(dtype=torch.float32, equals_in_output=True)
    equals = snapshot.params["unembed.b_U"].clone()
    equals[-1] = 1000.0
    snapshot.params["unembed.b_U"] = equals
    assert softmax_collapse(snapshot).item() == 1.0
    assert zero_losses(snapshot).item() == 0.0
