"""The warning that float32 holds a run on its plateau: when it is given, and when not."""

from dataclasses import replace

import pytest

import grokinterp as gi
from grokinterp.training.objective import float32_warning


ZEROS, PLATEAU = [0.6, 0.7, 0.8, 0.85, 0.9], [0.30, 0.31, 0.30, 0.31, 0.31]


def test_a_plateau_of_zero_losses_in_float32_is_warned_of() -> None:
    assert float32_warning(ZEROS, PLATEAU, dtype="torch_float32") == (
        "90 % of the training losses are exactly 0 in float32 while test accuracy stays at 0.31: "
        "nothing is learned from these pairs; use LossConfig(dtype='float64')."
    )


@pytest.mark.parametrize(
    ("zeros", "accuracy", "dtype"),
    [
        (ZEROS, PLATEAU, "float64"),
        ([0.4, *ZEROS[1:]], PLATEAU, "torch_float32"),
        (ZEROS, [0.99] * 5, "torch_float32"),
        (ZEROS, [0.1, 0.2, 0.3, 0.4, 0.5], "torch_float32"),
        (ZEROS[1:], PLATEAU[1:], "torch_float32"),
    ],
    ids=["float64", "few zeros", "grokked", "rising", "too short"],
)
def test_without_its_cause_there_is_no_warning(zeros: list[float], accuracy: list[float], dtype: str) -> None:
    assert float32_warning(zeros, accuracy, dtype=dtype) is None


def test_only_the_last_entries_count() -> None:
    assert float32_warning([0.0] * 9 + ZEROS, [0.0] * 9 + PLATEAU, dtype="torch_float32") is not None
    assert float32_warning([*ZEROS, 0.1], [*PLATEAU, 0.31], dtype="torch_float32") is None


def test_thresholds_of_the_warning_are_arguments() -> None:
    assert float32_warning(ZEROS, PLATEAU, dtype="torch_float32", fraction=0.65) is None
    assert float32_warning(ZEROS, PLATEAU, dtype="torch_float32", fraction=0.65, sustained=4) is not None
    assert float32_warning(ZEROS, PLATEAU, dtype="torch_float32", grokked=0.3) is None


def test_entries_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"zero_losses and test_accuracy must have equal lengths, got 5 and 4\."):
        float32_warning(ZEROS, PLATEAU[1:], dtype="torch_float32")


@pytest.mark.exhaustive
def test_a_run_that_float32_holds_on_its_plateau_warns_once(tmp_path):
    config = gi.RunConfig(
        task=gi.TaskConfig(p=7),
        split=gi.SplitConfig(fraction=0.5),
        model=gi.MLPConfig(d_mlp=64),
        optim=gi.OptimConfig(lr=3e-2, weight_decay=0.0),
        loss=gi.LossConfig(dtype="torch_float32"),
        epochs=400,
        checkpoint_every=400,
    )
    with pytest.warns(RuntimeWarning, match="of the training losses are exactly 0 in float32") as warned:
        run = gi.train(config, tmp_path / "float32", progress=False)
    assert len(warned) == 1
    assert run.metrics.zero_losses.values[-1] > 0.5
    assert run.metrics.softmax_collapse.values[-1] > 0.5
    assert run.metrics.zero_losses.values[0] == 0.0
    exact = gi.train(replace(config, loss=gi.LossConfig()), tmp_path / "float64", progress=False)
    assert "zero_losses" not in exact.metrics
