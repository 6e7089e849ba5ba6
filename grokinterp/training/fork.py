"""Forks: new runs that start from a checkpoint of another run, with changed settings."""

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from grokinterp import arguments
from grokinterp.config import RunConfig, SplitConfig, change
from grokinterp.models.architecture import Params
from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.lock import Start
from grokinterp.runs.manifest import Fork
from grokinterp.runs.resume import ResumePoint, read_resume, read_start
from grokinterp.runs.run import AnyRun, Run, load_run
from grokinterp.runs.tensors import TrainingSet
from grokinterp.tasks import Task
from grokinterp.tasks.split import AnySplit, as_split
from grokinterp.training.dataset import build_difficulty, build_labels, build_split
from grokinterp.training.loop import open_trainer, train


def fork(
    run: AnyRun,
    epoch: int,
    path: str | Path,
    changes: Mapping[str, Any] | None = None,
    *,
    is_train: AnySplit | None = None,
    fresh_optimizer: bool = False,
    progress: bool = True,
) -> Run:
    """Train a new run from a checkpoint of another run and its optimizer state, with changed settings.

    Epochs continue from the parent's. Without changes, the fork's checkpoints have the same bits as the parent's. A run
    directory holds the optimizer state of the last checkpoint only; to fork an earlier one, the parent is retrained up
    to it in a temporary directory, which takes as long as it took the first time.

    Args:
        run: The parent, or its path.
        epoch: One of its `checkpoint_epochs`.
        path: Run directory of the fork: a new one, or one that already holds this fork, which is resumed.
        changes: Changed config values by dotted name, e.g. {"optim.weight_decay": 0.0}; the model cannot change. A new
            seed alone has no effect: split, label noise and random generator are the parent's.
        is_train: Custom training pairs that replace the parent's.
        fresh_optimizer: Whether to start with an empty optimizer state, as a different `optim.name` always does.
        progress: Whether to show progress bars.

    Returns:
        The fork, trained to its `config.epochs`.

    Raises:
        RunError: If the parent has no such checkpoint, or the directory holds a different run or cannot be written.
        ValueError: If a changed name or value is invalid, the model changes, or `config.epochs` is not above `epoch`.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint is written.

    Warns:
        RuntimeWarning: If the retrained parent differs from its checkpoint, e.g. on a different machine; the fork then
            starts with the retrained parent's optimizer state.

    Source:
        Varma et al. 2023, arXiv:2309.02390 (ungrokking: continued training on a smaller training set).

    Examples:
        >>> import tempfile, grokinterp as gi
        >>> config = gi.RunConfig(task=gi.TaskConfig(p=7), epochs=3, model=gi.TransformerConfig(d_model=8, d_mlp=16))
        >>> root = tempfile.mkdtemp()
        >>> run = gi.train(config, f"{root}/parent", progress=False)
        >>> without = fork(run, 2, f"{root}/no_decay", {"optim.weight_decay": 0.0, "epochs": 5}, progress=False)
        >>> without.checkpoint_epochs, without.forked_from.epoch
        ((2, 3, 4, 5), 2)
    """
    run = load_run(run)
    epoch = arguments.integer(epoch, "epoch", minimum=0)
    fresh_optimizer, progress = arguments.flag(fresh_optimizer, "fresh_optimizer"), arguments.flag(progress, "progress")
    values = {} if changes is None else arguments.mapping(changes, "changes", "{'optim.weight_decay': 0.0}")
    config = _changed_config(run, values, is_train)
    if config.epochs <= epoch:
        msg = f"cannot fork at epoch {epoch}: config.epochs must be greater, got {config.epochs}; change epochs too."
        raise ValueError(msg)
    layout = Layout(Path(path).absolute())
    if layout.config.exists():
        _check_same_fork(layout, run, epoch, is_train)
        return train(config, layout.root, progress=progress)
    params = run.params(epoch)
    task = _task(run, config)
    training_set = _training_set(run, config, task, is_train)
    point = _resume_point(run, epoch, params, progress=progress)
    if fresh_optimizer or config.optim.name != run.config.optim.name:
        point = replace(point, optimizer={})
    seed = run.config.seed if run.forked_from is None else run.forked_from.initial_seed
    parent = Fork(run=str(run.path), epoch=epoch, initial_seed=seed)
    start = Start(training_set=training_set, forked_from=parent, point=point, params=params)
    return _train_from(start, config, task, layout.root, progress=progress)


def _train_from(start: Start, config: RunConfig, task: Task, path: Path, *, progress: bool) -> Run:
    custom_task = task if config.task.operation == "custom" else None
    with open_trainer(config, path, task=custom_task, start=start) as trainer:
        if trainer is not None:
            trainer.fit(progress=progress)
    return load_run(path)


def _check_same_fork(layout: Layout, run: Run, epoch: int, is_train: AnySplit | None) -> None:
    """Check that a directory holds the fork that was asked for.

    Raises:
        RunError: If it holds a different run.
    """
    existing = Run(layout.root)
    fork_of = existing.forked_from
    if fork_of is None or (Path(fork_of.run).resolve(), fork_of.epoch) != (run.path.resolve(), epoch):
        content = "a run that is not a fork" if fork_of is None else f"a fork of {fork_of.run} at epoch {fork_of.epoch}"
        msg = f"{layout.root} holds {content}, not a fork of {run.path} at epoch {epoch}; choose another directory."
        raise RunError(msg)
    if is_train is not None and not torch.equal(existing.is_train, as_split(is_train, existing.task)):
        msg = f"{layout.root} holds this fork with different training pairs; choose another directory."
        raise RunError(msg)


def _changed_config(run: Run, changes: dict[str, Any], is_train: AnySplit | None) -> RunConfig:
    config = change(run.config, changes)
    if config.model != run.config.model:
        msg = "a fork starts from its parent's weights, so the model cannot change; remove `model` from changes."
        raise ValueError(msg)
    return config if is_train is None else replace(config, split=SplitConfig(rule="custom"))


def _task(run: Run, config: RunConfig) -> Task:
    """The fork's task, which must have as many tokens and outputs as the parent's."""
    if config.task == run.config.task:
        return run.task
    task = config.task.build()
    if config.model.shapes(task) != config.model.shapes(run.task):
        msg = f"a fork's task must have as many tokens and outputs as {run.task.name}, got {task.name}."
        raise ValueError(msg)
    return task


def _training_set(run: Run, config: RunConfig, task: Task, is_train: AnySplit | None) -> TrainingSet:
    """The parent's training set, except for the parts that the changes affect."""
    old, parent, has_same_pairs = run.training_set, run.config, task.shape == run.task.shape
    if is_train is None and config.split == parent.split and has_same_pairs:
        mask = old.is_train
    else:
        mask = build_split(config, task, is_train)
    if config.curriculum.order == parent.curriculum.order and has_same_pairs:
        # This includes a custom order, which only the training set holds.
        difficulty = old.difficulty
    else:
        difficulty = build_difficulty(config, task, None)
    has_same_noise = config.regularization.label_noise == parent.regularization.label_noise
    if has_same_noise and config.task == parent.task and torch.equal(mask, old.is_train):
        return replace(old, difficulty=difficulty)
    return TrainingSet(is_train=mask, answers=build_labels(config, task, mask), difficulty=difficulty)


def _resume_point(run: Run, epoch: int, params: Params, *, progress: bool) -> ResumePoint:
    """The parent's state at a checkpoint: read from its directory, or else computed by retraining it."""
    shapes = run.config.model.shapes(run.task)
    latest = read_resume(run.layout, shapes) if run.layout.resume.exists() else None
    for point in (latest, read_start(run.layout, shapes)):
        if point is not None and point.epoch == epoch:
            return point
    if epoch == 0:
        generator = torch.Generator().manual_seed(run.config.batch_seed).get_state()
        return ResumePoint(epoch=0, step=0, seconds=0.0, generator=generator, optimizer={})
    with tempfile.TemporaryDirectory() as folder:
        retrained = _retrain(run, epoch, Path(folder) / f"{run.path.name} retrained", progress=progress)
        difference = max((retrained.params(epoch)[name] - p).abs().max().item() for name, p in params.items())
        if difference:
            warnings.warn(
                f"retraining {run.path} gives different weights at epoch {epoch}, by up to {difference:.2g}: it was "
                "probably trained on a different machine. The fork uses the retrained optimizer's state.",
                RuntimeWarning,
                stacklevel=4,
            )
        point = read_resume(retrained.layout, shapes)
        assert point is not None
        return point


def _retrain(run: Run, epoch: int, path: Path, *, progress: bool) -> Run:
    config, start = replace(run.config, epochs=epoch), Start(training_set=run.training_set)
    point = read_start(run.layout, run.config.model.shapes(run.task))
    if run.forked_from is not None and point is not None:
        start = replace(start, forked_from=run.forked_from, point=point, params=run.params(point.epoch))
    return _train_from(start, config, run.task, path, progress=progress)
