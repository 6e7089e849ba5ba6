"""Tasks of one's own: handed to `train`, then kept with the run."""

import dataclasses
from pathlib import Path

import pytest
import torch

from grokinterp.config import RunConfig, TaskConfig
from grokinterp.runs.layout import RunError
from grokinterp.runs.run import load_run
from grokinterp.tasks import Task, from_table, groups
from grokinterp.tasks.operations import from_group
from grokinterp.training.loop import train


@pytest.fixture
def custom(tiny: RunConfig) -> RunConfig:
    return dataclasses.replace(tiny, task=TaskConfig(operation="custom"), epochs=3)


@pytest.fixture
def table() -> Task:
    """Rows and columns of different number, in the narrowest integers that torch has."""
    a, b = torch.arange(6, dtype=torch.int32)[:, None], torch.arange(5, dtype=torch.int32)
    return from_table((a * b + a) % 4, name="a b + a mod 4")


def test_a_custom_task_is_trained_and_kept(custom: RunConfig, tmp_path: Path) -> None:
    task = from_group(groups.symmetric(3))
    train(custom, tmp_path, task=task, progress=False)
    kept = load_run(tmp_path).task
    assert kept.name == "product in S_3"
    assert torch.equal(kept.table, task.table)
    assert kept.group is not None
    assert kept.group.labels == groups.symmetric(3).labels


def test_a_table_of_any_shape_is_trained(custom: RunConfig, table: Task, tmp_path: Path) -> None:
    run = train(custom, tmp_path, task=table, progress=False)
    assert run.snapshot().logits.shape == (6, 5, 4)
    assert run.task.group is None


def test_a_custom_run_goes_on_without_being_given_its_task_again(
    custom: RunConfig, table: Task, tmp_path: Path
) -> None:
    train(custom, tmp_path, task=table, progress=False)
    run = train(dataclasses.replace(custom, epochs=5), tmp_path, progress=False)
    assert run.checkpoint_epochs[-1] == 5


def test_another_custom_task_is_refused(custom: RunConfig, table: Task, tmp_path: Path) -> None:
    train(custom, tmp_path, task=table, progress=False)
    for other in (
        from_table((table.table + 1) % 4, name=table.name),
        dataclasses.replace(table, a_tokens=table.a_tokens.flip(0)),
        dataclasses.replace(table, n_outputs=9),
    ):
        with pytest.raises(RunError, match="a different config: the task's table or tokens"):
            train(custom, tmp_path, task=other, progress=False)


def test_a_custom_config_needs_a_task(custom: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pass task=\.\.\. to train"):
        train(custom, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_task_beside_a_config_that_has_one_is_refused(tiny: RunConfig, table: Task, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"requires TaskConfig\(operation='custom'\), got operation='addition'"):
        train(tiny, tmp_path / "run", task=table, progress=False)
    assert not (tmp_path / "run").exists()
