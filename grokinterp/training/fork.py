"""A new run from a checkpoint of another, with something changed."""

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
from grokinterp.training.dataset import answers_of, difficulty_of, split_of
from grokinterp.training.loop import prepared, train


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
    """A new run that begins with a checkpoint of another and the optimizer of that time, with something changed.

    Epochs are counted on. Without changes its checkpoints have the bits of the parent's. What an optimizer remembered
    is kept for the last checkpoint alone; for an earlier one the parent is trained anew up to there, in a folder that
    is then removed, which takes as long as it took.

    Args:
        run: The parent, or its path.
        epoch: One of its `checkpoint_epochs`.
        path: Of the new run: a directory that is not there yet, or one that this fork was begun in, which is trained
            on.
        changes: Values of the config by dotted name, such as {"optim.weight_decay": 0.0}; all but the model's. Another
            seed alone changes nothing: split, noise and the generator are the parent's.
        is_train: Another set of training pairs, in place of the parent's.
        fresh_optimizer: Whether to begin with an optimizer that remembers nothing; one of another name always does.
        progress: Whether to show progress bars.

    Returns:
        The new run, trained to the last epoch of its config.

    Raises:
        RunError: If there is no such checkpoint, the directory holds another run or another fork, or cannot be written.
        ValueError: If a change is none of the config, the model would change, or the last epoch lies not after `epoch`.
        KeyboardInterrupt: After the checkpoint that Ctrl-C asks for.

    Warns:
        RuntimeWarning: If the parent, trained anew, has other bits than its checkpoint, as on another machine: the
            optimizer is then that of the second training.

    Source:
        Varma et al. 2023, arXiv:2309.02390 (ungrokking: training on with a smaller training set).

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
    named = {} if changes is None else arguments.mapping(changes, "changes", "{'optim.weight_decay': 0.0}")
    config = _changed(run, named, is_train)
    if config.epochs <= epoch:
        msg = f"a fork of epoch {epoch} needs a last epoch after it, got epochs={config.epochs}; change epochs too."
        raise ValueError(msg)
    layout = Layout(Path(path).absolute())
    if layout.config.exists():
        _refuse_another(layout, run, epoch, is_train)
        return train(config, layout.root, progress=progress)
    params = run.params(epoch)
    task = _task(run, config)
    training_set = _training_set(run, config, task, is_train)
    point = _point(run, epoch, params, progress=progress)
    if fresh_optimizer or config.optim.name != run.config.optim.name:
        point = replace(point, optimizer={})
    line = run.forked_from
    seed = run.config.seed if line is None else line.initial_seed
    forked_from = Fork(run=str(run.path), epoch=epoch, initial_seed=seed)
    start = Start(training_set=training_set, forked_from=forked_from, point=point, params=params)
    return _train_from(start, config, task, layout.root, progress=progress)


def _train_from(start: Start, config: RunConfig, task: Task, path: Path, *, progress: bool) -> Run:
    own = task if config.task.operation == "custom" else None
    with prepared(config, path, task=own, start=start) as trainer:
        if trainer is not None:
            trainer.fit(progress=progress)
    return load_run(path)


def _refuse_another(layout: Layout, run: Run, epoch: int, is_train: AnySplit | None) -> None:
    """Only this fork may be trained on in its directory."""
    known = Run(layout.root)
    line = known.forked_from
    found = "a run that is no fork" if line is None else f"a fork of {line.run} at epoch {line.epoch}"
    is_this = line is not None and (Path(line.run).resolve(), line.epoch) == (run.path.resolve(), epoch)
    if not is_this:
        msg = f"{layout.root} holds {found}, and not one of {run.path} at epoch {epoch}; choose another directory."
        raise RunError(msg)
    if is_train is not None and not torch.equal(known.is_train, as_split(is_train, known.task)):
        msg = f"{layout.root} holds this fork with other training pairs; choose another directory."
        raise RunError(msg)


def _changed(run: Run, changes: dict[str, Any], is_train: AnySplit | None) -> RunConfig:
    config = change(run.config, changes)
    if config.model != run.config.model:
        msg = "a fork keeps the model of its parent, whose weights it begins with; change anything but `model`."
        raise ValueError(msg)
    return config if is_train is None else replace(config, split=SplitConfig(rule="custom"))


def _task(run: Run, config: RunConfig) -> Task:
    """The parent's task, or another one of as many tokens and answers."""
    if config.task == run.config.task:
        return run.task
    task = config.task.build()
    if config.model.shapes(task) != config.model.shapes(run.task):
        msg = f"a fork's task must have as many tokens and answers as {run.task.name}, got {task.name}."
        raise ValueError(msg)
    return task


def _training_set(run: Run, config: RunConfig, task: Task, is_train: AnySplit | None) -> TrainingSet:
    """The parent's training set, but for what the changes say of it."""
    kept, parent = run.training_set, run.config
    if config.split == parent.split and is_train is None and task.shape == run.task.shape:
        chosen = kept.is_train
    else:
        chosen = split_of(config, task, is_train)
    if config.curriculum.order == parent.curriculum.order and task.shape == run.task.shape:
        # That of the user's own, too, which no config has.
        difficulties = kept.difficulty
    else:
        difficulties = difficulty_of(config, task, None)
    is_same = torch.equal(chosen, kept.is_train) and config.task == parent.task
    if is_same and config.regularization.label_noise == parent.regularization.label_noise:
        return replace(kept, difficulty=difficulties)
    return TrainingSet(is_train=chosen, answers=answers_of(config, task, chosen), difficulty=difficulties)


def _point(run: Run, epoch: int, params: Params, *, progress: bool) -> ResumePoint:
    """Where the parent stood at a checkpoint: kept, or found by training it anew."""
    like = run.config.model.shapes(run.task)
    for point in (read_resume(run.layout, like) if run.layout.resume.exists() else None, read_start(run.layout, like)):
        if point is not None and point.epoch == epoch:
            return point
    if epoch == 0:
        generator = torch.Generator().manual_seed(run.config.batch_seed).get_state()
        return ResumePoint(epoch=0, step=0, seconds=0.0, generator=generator, optimizer={})
    with tempfile.TemporaryDirectory() as folder:
        again = _trained_anew(run, epoch, Path(folder) / f"{run.path.name} anew", progress=progress)
        off = max((again.params(epoch)[name] - p).abs().max().item() for name, p in params.items())
        if off:
            warnings.warn(
                f"{run.path} trained anew has other weights at epoch {epoch}, by up to {off:.2g}: it was made "
                "elsewhere. The fork has its checkpoint's weights, and the optimizer of the second training.",
                RuntimeWarning,
                stacklevel=4,
            )
        point = read_resume(again.layout, like)
        assert point is not None
        return point


def _trained_anew(run: Run, epoch: int, path: Path, *, progress: bool) -> Run:
    config, fork_of = replace(run.config, epochs=epoch), run.forked_from
    point = read_start(run.layout, run.config.model.shapes(run.task))
    if fork_of is None or point is None:
        start = Start(training_set=run.training_set)
    else:
        params = run.params(point.epoch)
        start = Start(training_set=run.training_set, forked_from=fork_of, point=point, params=params)
    return _train_from(start, config, run.task, path, progress=progress)
