"""Forks: the parent's bits without changes, and what each change does."""

import dataclasses
from pathlib import Path

import pytest
import torch

import grokinterp as gi
from grokinterp.config import RunConfig, change
from grokinterp.runs.layout import RunError
from grokinterp.runs.run import Run, load_run
from grokinterp.training.loop import train


pytestmark = pytest.mark.slow


@pytest.fixture
def parent(tiny: RunConfig, tmp_path: Path) -> Run:
    return train(tiny, tmp_path / "parent", progress=False)


def assert_same_bits(left: Run, right: Run, epochs: tuple[int, ...]) -> None:
    for epoch in epochs:
        mine, theirs = left.params(epoch), right.params(epoch)
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs), epoch


def moved(run: Run, name: str, *, since: int) -> bool:
    return not torch.equal(run.params()[name], run.params(since)[name])


@pytest.mark.parametrize("epoch", [0, 1, 16])
def test_a_fork_without_changes_has_the_bits_of_its_parent(parent: Run, tmp_path: Path, epoch: int) -> None:
    fork = gi.fork(parent, epoch, tmp_path / "fork", progress=False)
    assert fork.checkpoint_epochs == tuple(e for e in parent.checkpoint_epochs if e >= epoch)
    assert_same_bits(fork, parent, fork.checkpoint_epochs)
    assert fork.config == parent.config
    assert fork.metrics.drop_vars("seconds").identical(
        parent.metrics.sel(epoch=slice(epoch, None)).drop_vars("seconds").assign_attrs(run="fork")
    )
    assert (fork.forked_from.epoch, fork.forked_from.run) == (epoch, str(parent.path))
    assert parent.forked_from is None


def test_a_fork_of_the_last_epoch_goes_on_as_the_parent_would(tiny: RunConfig, parent: Run, tmp_path: Path) -> None:
    fork = gi.fork(parent, 24, tmp_path / "fork", {"epochs": 32}, progress=False)
    longer = train(dataclasses.replace(tiny, epochs=32), tmp_path / "longer", progress=False)
    assert_same_bits(fork, longer, (24, 32))


def test_a_fork_of_a_fork_has_the_bits_of_the_first_run(parent: Run, tmp_path: Path) -> None:
    first = gi.fork(parent, 8, tmp_path / "first", progress=False)
    second = gi.fork(first, 16, tmp_path / "second", progress=False)
    assert_same_bits(second, parent, (16, 24))
    assert (second.forked_from.epoch, second.forked_from.initial_seed) == (16, parent.config.seed)


@pytest.mark.exhaustive
def test_every_kind_of_state_is_forked(tiny: RunConfig, tmp_path: Path) -> None:
    changes = {
        "optim.lr_schedule.kind": "plateau",
        "optim.lr_schedule.steps": 2,
        "optim.lr_schedule.factor": 0.5,
        "optim.name": "Muon",
        "regularization.grokfast": "ma",
        "regularization.grokfast_window": 5,
        "regularization.dropout": 0.2,
    }
    parent = train(change(tiny, changes), tmp_path / "parent", progress=False)
    assert parent.metrics.learning_rate.min() < parent.metrics.learning_rate.max() / 4
    assert_same_bits(gi.fork(parent, 16, tmp_path / "fork", progress=False), parent, (16, 24))


def test_a_fork_may_begin_with_an_optimizer_that_remembers_nothing(parent: Run, tmp_path: Path) -> None:
    fork = gi.fork(parent, 16, tmp_path / "fork", fresh_optimizer=True, progress=False)
    assert_same_bits(fork, parent, (16,))
    assert not torch.equal(fork.params()["embed.W_E"], parent.params()["embed.W_E"])


def test_decay_can_be_switched_off(parent: Run, tmp_path: Path) -> None:
    fork = gi.fork(parent, 16, tmp_path / "fork", {"optim.weight_decay": 0.0}, progress=False)
    assert fork.metrics.weight_decay.values.tolist() == [0.0] * len(fork.metrics.epoch)
    last = [run.metrics.squared_weight_norm.values[-1] for run in (fork, parent)]
    assert last[0] > last[1]


def test_ungrokking_trains_on_with_a_part_of_the_training_pairs(parent: Run, tmp_path: Path) -> None:
    fork = gi.fork(parent, 16, tmp_path / "fork", {"split.fraction": 0.25}, progress=False)
    assert fork.is_train.sum() == 12
    assert not (fork.is_train & ~parent.is_train).any()
    assert_same_bits(fork, parent, (16,))


def test_training_pairs_of_ones_own_may_be_given(parent: Run, tmp_path: Path) -> None:
    mask = torch.eye(7, dtype=torch.bool)
    fork = gi.fork(parent, 16, tmp_path / "fork", is_train=mask, progress=False)
    assert torch.equal(fork.is_train, mask)
    assert fork.config.split.rule == "custom"


def test_parameters_can_be_frozen_and_the_optimizer_be_another(parent: Run, tmp_path: Path) -> None:
    changes = {"regularization.frozen": ["embed.*", "unembed.*"], "optim.name": "SGD"}
    fork = gi.fork(parent, 16, tmp_path / "fork", changes, progress=False)
    assert not moved(fork, "embed.W_E", since=16)
    assert not moved(fork, "unembed.W_U", since=16)
    assert moved(fork, "blocks.0.mlp.W_in", since=16)


def test_another_task_of_as_many_tokens_can_be_learned(parent: Run, tmp_path: Path) -> None:
    fork = gi.fork(parent, 16, tmp_path / "fork", {"task.operation": "subtraction"}, progress=False)
    assert fork.task.name == "subtraction mod 7"
    assert torch.equal(fork.training_set.answers, fork.task.table)
    assert torch.equal(fork.is_train, parent.is_train)


def test_decay_toward_the_initial_weights_leads_to_those_of_the_first_run(parent: Run, tmp_path: Path) -> None:
    # Nothing but decay moves a model whose gradient is clipped away.
    changes = {
        "optim.decay_toward": "initial",
        "regularization.clip_norm": 1e-30,
        "optim.lr": 0.5,
        "seed": 9,
        "epochs": 60,
    }
    fork = gi.fork(parent, 16, tmp_path / "fork", changes, fresh_optimizer=True, progress=False)
    initial = parent.params(0)
    assert all(torch.allclose(p, initial[name], atol=1e-6) for name, p in fork.params().items())


def test_a_killed_fork_goes_on(parent: Run, tmp_path: Path) -> None:
    whole = gi.fork(parent, 8, tmp_path / "fork", progress=False)
    for left in (whole.layout.finished, whole.layout.checkpoint(24)):
        left.unlink()
    (tmp_path / "cut").mkdir()
    again = gi.fork(parent, 8, tmp_path / "again", {"epochs": 16}, progress=False)
    again = train(parent.config, again.path, progress=False)
    assert_same_bits(again, parent, (16, 24))
    assert again.forked_from.epoch == 8


def test_a_parent_with_other_bits_warns_and_keeps_the_checkpoint(parent: Run, tmp_path: Path) -> None:
    path = parent.layout.checkpoint(16)
    params = {name: p * (1 + 1e-4) for name, p in parent.params(16).items()}
    gi.runs.tensors.write_tensors(path, params)
    with pytest.warns(RuntimeWarning, match=r"gives different weights at epoch 16, by up to .*: it was"):
        fork = gi.fork(parent, 16, tmp_path / "fork", progress=False)
    assert torch.equal(fork.params(16)["embed.W_E"], params["embed.W_E"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.d_mlp": 64}, "a fork starts from its parent's weights, so the model cannot change"),
        ({"epochs": 16}, "cannot fork at epoch 16: config.epochs must be greater, got 16"),
        ({"task.p": 11}, "a fork's task must have as many tokens and outputs as addition mod 7, got addition mod 11"),
        ({"optim.weight_decy": 1}, "config.optim has an unknown key 'weight_decy'"),
    ],
)
def test_a_fork_that_cannot_be_is_refused(parent: Run, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gi.fork(parent, 16, tmp_path / "fork", changes, progress=False)
    assert not (tmp_path / "fork").exists()


def test_a_fork_of_a_damaged_state_begins_nothing(parent: Run, tmp_path: Path) -> None:
    state, about = gi.runs.tensors.read_tensors(parent.layout.resume)
    state["unembed.W_U/exp_avg_sq"] = torch.tensor(1.0)
    gi.runs.tensors.write_tensors(parent.layout.resume, state, about)
    with pytest.raises(RunError, match=r"unembed\.W_U/exp_avg_sq must be torch\.float32 of shape \(16, 8\)"):
        gi.fork(parent, 24, tmp_path / "fork", {"epochs": 30}, progress=False)
    assert not (tmp_path / "fork").exists()


def test_a_fork_whose_optimizer_remembers_something_else_begins_nothing(tiny: RunConfig, tmp_path: Path) -> None:
    parent = train(
        change(tiny, {"regularization.grokfast": "ma", "regularization.grokfast_window": 3}),
        tmp_path / "p",
        progress=False,
    )
    changes = {"regularization.grokfast_window": 4, "epochs": 30}
    with pytest.raises(ValueError, match=r"the parent's state does not fit the fork's config: .* fresh_optimizer=True"):
        gi.fork(parent, 24, tmp_path / "fork", changes, progress=False)
    assert [path.name for path in (tmp_path / "fork").iterdir()] == [".lock"]
    fork = gi.fork(parent, 24, tmp_path / "fork", changes, fresh_optimizer=True, progress=False)
    assert fork.checkpoint_epochs[-1] == 30


def test_a_fork_that_was_killed_while_it_began_is_begun_again(parent: Run, tmp_path: Path) -> None:
    layout = gi.fork(parent, 24, tmp_path / "fork", {"epochs": 25}, progress=False).layout
    for left in (layout.config, layout.metrics, layout.finished, layout.checkpoint(25)):
        left.unlink()
    with pytest.raises(RunError, match=r"has files of a run but no config\.json"):
        train(parent.config, layout.root, progress=False)
    assert gi.fork(parent, 24, layout.root, {"epochs": 25}, progress=False).checkpoint_epochs == (24, 25)


def test_a_directory_with_another_run_is_refused(parent: Run, tmp_path: Path) -> None:
    first = gi.fork(parent, 16, tmp_path / "first", progress=False)
    with pytest.raises(RunError, match=r"holds a run with a different config: optim\.weight_decay is 1\.0 there, 0"):
        gi.fork(parent, 16, first.path, {"optim.weight_decay": 0.0}, progress=False)
    with pytest.raises(RunError, match="has no checkpoint at epoch 15; the nearest is 16"):
        gi.fork(parent, 15, tmp_path / "fork", progress=False)
    assert load_run(parent.path).is_finished


def test_another_curriculum_keeps_the_split(parent: Run, tmp_path: Path) -> None:
    later = gi.fork(parent, 8, tmp_path / "later", {"seed": 1}, progress=False)
    stages = [[0, 0.4], [20, 1.0]]
    fork = gi.fork(
        later, 16, tmp_path / "fork", {"curriculum": {"order": "operand_size", "stages": stages}}, progress=False
    )
    assert torch.equal(fork.is_train, parent.is_train)
    assert fork.training_set.difficulty is not None
    assert parent.training_set.difficulty is None


def test_an_order_and_pairs_of_ones_own_are_forked_with_the_run(tiny: RunConfig, tmp_path: Path) -> None:
    own = change(tiny, {"curriculum": {"order": "custom", "stages": [[0, 0.5], [12, 1.0]]}, "split.rule": "custom"})
    mask = torch.ones(7, 7, dtype=torch.bool).triu()
    parent = train(own, tmp_path / "parent", is_train=mask, order=lambda a, b: (a + b) / 12, progress=False)
    fork = gi.fork(parent, 16, tmp_path / "stages", {"curriculum.stages": [[0, 0.2], [20, 1.0]]}, progress=False)
    assert torch.equal(fork.is_train, mask)
    assert torch.equal(fork.training_set.difficulty, parent.training_set.difficulty)
    smaller = gi.fork(parent, 16, tmp_path / "smaller", is_train=mask.triu(2), progress=False)
    assert torch.equal(smaller.is_train, mask.triu(2))
    assert torch.equal(smaller.training_set.difficulty, parent.training_set.difficulty)


def test_a_directory_with_another_fork_is_refused(parent: Run, tmp_path: Path) -> None:
    other = train(dataclasses.replace(parent.config, seed=5), tmp_path / "other", progress=False)
    gi.fork(parent, 8, tmp_path / "fork", progress=False)
    assert gi.fork(parent, 8, tmp_path / "fork", progress=False).forked_from.epoch == 8
    with pytest.raises(RunError, match=r"holds a fork of .*parent at epoch 8, not a fork of .*other at epoch 8"):
        gi.fork(other, 8, tmp_path / "fork", {"seed": 0}, progress=False)
    with pytest.raises(RunError, match=r"holds a fork of .*parent at epoch 8, not a fork of .*parent at epoch 16"):
        gi.fork(parent, 16, tmp_path / "fork", progress=False)
    with pytest.raises(RunError, match="holds a run that is not a fork, not a fork of"):
        gi.fork(parent, 8, parent.path, progress=False)
    masked = gi.fork(parent, 8, tmp_path / "masked", is_train=torch.eye(7, dtype=torch.bool), progress=False)
    with pytest.raises(RunError, match="holds this fork with different training pairs"):
        gi.fork(parent, 8, masked.path, is_train=torch.eye(7, dtype=torch.bool).flip(0), progress=False)
