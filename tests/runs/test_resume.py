"""resume.safetensors: read against the parameters, so that nothing else reaches torch's optimizers."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.resume import ResumePoint, read_resume, write_resume
from grokinterp.runs.tensors import read_tensors, write_tensors


LIKE = {"W": (3, 4), "b": (4,)}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A point with every kind of entry."""
    state = {
        name: {
            "step": torch.tensor(3.0),
            "exp_avg": -torch.ones(shape),
            "exp_avg_sq": torch.ones(shape),
            "grokfast_window": torch.ones(5, *shape),
            "grokfast_updates": torch.tensor(3),
        }
        for name, shape in LIKE.items()
    }
    point = ResumePoint(
        epoch=3,
        step=3,
        seconds=0.5,
        generator=torch.Generator().get_state(),
        optimizer=state,
        schedules={"lr_schedule": {"factor": 0.5, "lowest": None, "waited": 0}},
    )
    write_resume(Layout(tmp_path).resume, point)
    return Layout(tmp_path)


def test_a_point_goes_there_and_back(layout: Layout) -> None:
    point = read_resume(layout, LIKE)
    assert point is not None
    write_resume(layout.resume, point)
    again = read_resume(layout, LIKE)
    assert again is not None
    for field in dataclasses.fields(ResumePoint):
        if field.name not in ("optimizer", "generator"):
            assert getattr(again, field.name) == getattr(point, field.name)
    assert torch.equal(again.generator, point.generator)
    assert {name: entry.keys() for name, entry in again.optimizer.items()} == {
        name: entry.keys() for name, entry in point.optimizer.items()
    }


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("exp_avg", torch.tensor(1.0), r"torch.float32 of shape \(3, 4\), got torch.float32 of shape \(\)"),
        ("exp_avg_sq", torch.tensor(1.0), r"torch.float32 of shape \(3, 4\), got torch.float32 of shape \(\)"),
        ("exp_avg", torch.ones(4, 3), r"torch.float32 of shape \(3, 4\), got torch.float32 of shape \(4, 3\)"),
        ("exp_avg", torch.ones(3, 4, dtype=torch.float64), "torch.float32 .* got torch.float64"),
        ("exp_avg", torch.full((3, 4), float("nan")), "finite"),
        ("exp_avg_sq", torch.full((3, 4), float("inf")), "finite and not negative"),
        ("exp_avg_sq", -torch.ones(3, 4), "finite and not negative"),
        ("step", torch.ones(3, 4), r"torch.float32 of shape \(\), got"),
        ("step", torch.tensor(3), "torch.float32 .* got torch.int64"),
        ("step", torch.tensor(-1.0), "finite and not negative"),
        ("grokfast_window", torch.ones(3, 4), r"torch.float32 of shape \(3, 3, 4\), got"),
        ("grokfast_window", torch.tensor(1.0), r"torch.float32 of shape \(3, 4\), got"),
        ("grokfast_updates", torch.tensor(1.0), "torch.int64 of shape"),
    ],
)
def test_an_entry_of_another_kind_is_named(layout: Layout, entry: str, value: torch.Tensor, message: str) -> None:
    state, about = read_tensors(layout.resume)
    write_tensors(layout.resume, state | {f"W/{entry}": value}, about)
    with pytest.raises(RunError, match=rf"resume\.safetensors must hold .*: W/{entry} must be {message}"):
        read_resume(layout, LIKE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("V/exp_avg", "the model has no parameter 'V'"),
        ("W/max_exp_avg", "W/max_exp_avg is not an entry of an optimizer"),
    ],
)
def test_an_entry_that_is_none_of_ours_is_named(layout: Layout, name: str, message: str) -> None:
    state, about = read_tensors(layout.resume)
    write_tensors(layout.resume, state | {name: torch.ones(3, 4)}, about)
    with pytest.raises(RunError, match=message):
        read_resume(layout, LIKE)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epoch", -1, "epoch must be an integer from 0"),
        ("epoch", 2.5, "epoch must be an integer from 0"),
        ("step", "3", "step must be an integer from 0"),
        ("step", 10**30, "step must be an integer from 0"),
        ("seconds", None, "seconds must be a number of at least 0"),
        ("generator", [0] * 5, "generator must be the bytes"),
        ("generator", [256] * 5056, "generator must be the bytes"),
        ("generator", [0] * 5056, "generator must be the bytes"),
        ("generator", 5056, "generator must be the bytes"),
        ("schedules", [1], ".*Restore it from a backup"),
        (
            "schedules",
            {"lr_schedule": {"factor": "x", "lowest": None, "waited": 0}},
            "lr_schedule.factor must be a number",
        ),
        ("schedules", {"lr_schedule": {"factor": 1.0, "waited": 0}}, "'lowest' is missing"),
    ],
)
def test_a_value_of_the_header_of_another_kind_is_named(layout: Layout, key: str, value: Any, message: str) -> None:
    state, about = read_tensors(layout.resume)
    write_tensors(layout.resume, state, about | {key: value})
    with pytest.raises(RunError, match=rf"resume\.safetensors must hold the state to resume from: {message}"):
        read_resume(layout, LIKE)
