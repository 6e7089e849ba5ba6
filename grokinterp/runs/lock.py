"""Opening a run directory to train into it: one trainer at a time, and only into its own run."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from filelock import FileLock, Timeout

from grokinterp.config import RunConfig
from grokinterp.models.architecture import Params
from grokinterp.runs import tensors
from grokinterp.runs.layout import Layout, RunBusyError, RunError
from grokinterp.runs.manifest import (
    Fork,
    check_monitors,
    differences,
    environment,
    read_fork,
    read_identity,
    write_identity,
)
from grokinterp.runs.metrics import read_metrics, write_metrics
from grokinterp.runs.resume import ResumePoint, read_resume, write_resume
from grokinterp.runs.tensors import TrainingSet
from grokinterp.tasks import Task


@contextmanager
def only_trainer(layout: Layout) -> Iterator[None]:
    """Make the directory, and hold its lock; what a killed trainer was writing is removed.

    Raises:
        RunBusyError: If another trainer holds the lock.
        RunError: If the directory cannot be written.
    """
    # Who asks whether a run is training holds the lock for a moment.
    lock = FileLock(layout.lock, timeout=0.2)
    with disk_errors(layout):
        layout.root.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            msg = f"another trainer is at work in {layout.root}; wait for it, or choose another directory."
            raise RunBusyError(msg) from None
    try:
        with disk_errors(layout):
            for path in layout.leftovers():
                path.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


@contextmanager
def disk_errors(layout: Layout) -> Iterator[None]:
    """Turn an error of the disk into a RunError that says what is there."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not layout.root.exists():
            raise gone(layout) from error
        last = max(layout.checkpoint_epochs(), default=None)
        there = "it has no checkpoint" if last is None else f"its last checkpoint is that of epoch {last}"
        msg = (
            f"{layout.root} could not be written: {error}; {there}. Fix that, then train the same config into it to "
            "resume."
        )
        raise RunError(msg) from error


def gone(layout: Layout) -> RunError:
    """The error of a run directory that is not there any more, or is another one."""
    return RunError(
        f"{layout.root} was moved or deleted during training, which stopped; if it was moved, train the same config "
        "into its new place to resume from its last checkpoint."
    )


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where training starts in a directory.

    Attributes:
        training_set: The run's.
        forked_from: The parent, for a fork.
        point: The rest of where it stands; None for a run that starts with initial parameters.
        params: The parameters at that point, if there is one.
        entries: The metrics before that point.
        identity: What the directory's config.json holds, config and what made the run; None for a new run.
    """

    training_set: TrainingSet
    forked_from: Fork | None = None
    point: ResumePoint | None = None
    params: Params | None = None
    entries: tuple[dict[str, Any], ...] = ()
    identity: tuple[RunConfig, dict[str, Any]] | None = None


def look(
    layout: Layout, config: RunConfig, task: Task, new: Start | None, monitors: Sequence[dict[str, Any]] = ()
) -> Start | None:
    """Check that the directory is free for a run, or holds it, and read where training starts; nothing is written.

    Args:
        layout: The directory's.
        config: The run's.
        task: What is learned.
        new: Where a new run starts; one that is there already has its own start.
        monitors: Records of the measures that are taken in training.

    Returns:
        The start; None if the run has reached the config's epochs already.

    Raises:
        RunError: If the directory holds another run, a file of the run is broken or missing, or the run has a monitor
            that `monitors` lacks.
    """
    if not layout.config.exists():
        _refuse_remains(layout, new)
        return new
    known, made_by = read_identity(layout.config)
    _refuse_other(layout, config, known, task)
    layout.check_finished(known.epochs)
    reached = max(layout.checkpoint_epochs(), default=0)
    if config.epochs < reached or (config.epochs == reached and layout.finished.exists()):
        return None
    check_monitors(layout.config, monitors)
    like = config.model.shapes(task)
    point = read_resume(layout, like)
    entries = read_metrics(layout.metrics)
    if point is None and any(entry["epoch"] for entry in entries):
        msg = f"{layout.root} has metrics, but lacks the checkpoints and the {layout.resume.name} to train on from."
        raise RunError(msg)
    fork = read_fork(layout.config)
    # Epoch 0 is always logged; a fork may have nothing to log for some epochs.
    if point is not None and point.epoch and fork is None and not entries:
        msg = f"{layout.metrics} lacks the epochs before {point.epoch}, which training would go on from; restore it."
        raise RunError(msg)
    start = Start(
        training_set=tensors.read_training_set(layout.split, task),
        forked_from=fork,
        point=point,
        params=None if point is None else tensors.read_params(layout.checkpoint(point.epoch), like, point.epoch),
        entries=tuple(entry for entry in entries if point is not None and entry["epoch"] < point.epoch),
        identity=(known, made_by),
    )
    _warn_of_other_machine(layout, config, made_by)
    return start


def claim(layout: Layout, config: RunConfig, task: Task, start: Start, monitors: Sequence[dict[str, Any]] = ()) -> None:
    """Make the directory this run's, with these epochs: the first writing, after everything was checked.

    Raises:
        RunError: If it cannot be written.
    """
    with disk_errors(layout):
        layout.checkpoints.mkdir(exist_ok=True)
        if start.identity is None:
            if start.point is not None and start.params is not None:
                write_resume(layout.start, start.point)
                write_resume(layout.resume, start.point)
                epoch = start.point.epoch
                tensors.write_tensors(layout.checkpoint(epoch), start.params, {"epoch": epoch})
            tensors.write_task(layout.task, task)
            tensors.write_training_set(layout.split, start.training_set, task)
            # Last, since it is by this file that a directory is known as a run.
            write_identity(layout.config, config, environment(config), start.forked_from, monitors)
            return
        known, made_by = start.identity
        # Before the config: a kill between the two leaves a run of the earlier epochs, which can be resumed.
        layout.finished.unlink(missing_ok=True)
        write_metrics(layout.metrics, start.entries)
        if known.epochs != config.epochs or monitors:
            write_identity(layout.config, config, made_by, start.forked_from, monitors)


def _refuse_remains(layout: Layout, new: Start | None) -> None:
    """Refuse what is left of a run without its config; what a kill leaves of a new run's beginning is written anew."""
    epochs = layout.checkpoint_epochs()
    is_forks_beginning = new is not None and new.point is not None and epochs in ((), (new.point.epoch,))
    is_free = not epochs and not layout.resume.exists() and not layout.start.exists()
    if new is None or layout.finished.exists() or layout.metrics.exists() or not (is_free or is_forks_beginning):
        msg = f"{layout.root} holds files of a run but no {layout.config.name}; choose another directory."
        raise RunError(msg)


def _refuse_other(layout: Layout, config: RunConfig, known: RunConfig, task: Task) -> None:
    differ = differences(known, config, ignore=("epochs",))
    if not _are_equal(tensors.read_task(layout.task), task):
        differ.append("the task's table or tokens")
    if differ:
        msg = f"{layout.root} holds a run with another config: {'; '.join(differ)}. Choose another directory."
        raise RunError(msg)


def _are_equal(left: Task, right: Task) -> bool:
    """Whether two tasks ask for the same answers to the same tokens."""
    sizes = (left.n_outputs, left.n_tokens) == (right.n_outputs, right.n_tokens)
    return sizes and all(
        torch.equal(getattr(left, name), getattr(right, name)) for name in ("table", "a_tokens", "b_tokens")
    )


def _warn_of_other_machine(layout: Layout, config: RunConfig, made_by: dict[str, str | int]) -> None:
    here = environment(config)
    differ = [f"{key} {made_by.get(key)} then, {here[key]} now" for key in here if made_by.get(key) != here[key]]
    if differ:
        # The caller of `train`, five calls up.
        warnings.warn(f"{layout.root} was begun elsewhere, so its bits may differ: {'; '.join(differ)}", stacklevel=6)
