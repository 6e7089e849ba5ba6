"""Open a run directory for training: one trainer at a time, and only with the config of the run."""

import warnings
from collections.abc import Generator, Sequence
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
def only_trainer(layout: Layout) -> Generator[None, None, None]:
    """Create the run directory if it is missing, hold its lock, and delete temporary files of a killed trainer.

    Raises:
        RunBusyError: If a second trainer holds the lock.
        RunError: If the directory cannot be written.
    """
    # `is_held` holds the lock for an instant, so wait that long.
    lock = FileLock(layout.lock, timeout=0.2)
    with disk_errors(layout):
        layout.root.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            msg = f"another process is training in {layout.root}; wait for it, or choose a different directory."
            raise RunBusyError(msg) from None
    try:
        with disk_errors(layout):
            for path in layout.leftovers():
                path.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


@contextmanager
def disk_errors(layout: Layout) -> Generator[None, None, None]:
    """Turn an OSError into a RunError that names the last checkpoint."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not layout.root.exists():
            raise gone(layout) from error
        last = max(layout.checkpoint_epochs(), default=None)
        state = "it has no checkpoint" if last is None else f"its last checkpoint is from epoch {last}"
        msg = f"{layout.root} could not be written: {error}; {state}. Fix this, then rerun the same config to resume."
        raise RunError(msg) from error


def gone(layout: Layout) -> RunError:
    """The error for a run directory that was moved, deleted or replaced."""
    return RunError(
        f"{layout.root} was moved or deleted, so training stopped; if it was moved, train the same config into the new "
        "path to resume from the last checkpoint."
    )


@dataclass(frozen=True, kw_only=True)
class Start:
    """The state from which training starts or resumes.

    Attributes:
        training_set: Training pairs and labels.
        forked_from: Parent checkpoint, for a fork.
        point: Resume point; None to start from initial parameters.
        params: Parameters at the resume point.
        entries: Metrics logged before the resume point.
        identity: Config and environment in an existing config.json; None for a new run.
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
    """Check that a run can start or resume in the run directory, and read its start; nothing is written.

    Args:
        layout: Paths of the run directory.
        config: Config to train.
        task: Task to train on.
        new: Start of a new run; unused if the directory already holds this run.
        monitors: Identities of the measures taken during training.

    Returns:
        The start; None if the run already has the config's number of epochs.

    Raises:
        RunError: If the directory holds a different run, a file is damaged or missing, or `monitors` lacks a monitor of
            the run.
    """
    if not layout.config.exists():
        _check_is_free(layout, new)
        return new
    known, made_by = read_identity(layout.config)
    _check_resume_matches(layout, config, known, task)
    layout.check_finished(known.epochs)
    reached = max(layout.checkpoint_epochs(), default=0)
    if config.epochs < reached or (config.epochs == reached and layout.finished.exists()):
        return None
    check_monitors(layout.config, monitors)
    like = config.model.shapes(task)
    point = read_resume(layout, like)
    entries = read_metrics(layout.metrics)
    if point is None and any(entry["epoch"] for entry in entries):
        msg = f"{layout.root} has metrics but no checkpoints and no {layout.resume.name}; choose a different directory."
        raise RunError(msg)
    fork = read_fork(layout.config)
    # Epoch 0 is always logged, but the first logged epoch of a fork can come later.
    if point is not None and point.epoch and fork is None and not entries:
        msg = f"{layout.metrics} lacks the epochs before {point.epoch}; restore it from a backup to resume."
        raise RunError(msg)
    start = Start(
        training_set=tensors.read_training_set(layout.split, task),
        forked_from=fork,
        point=point,
        params=None if point is None else tensors.read_params(layout.checkpoint(point.epoch), like, point.epoch),
        entries=tuple(entry for entry in entries if point is not None and entry["epoch"] < point.epoch),
        identity=(known, made_by),
    )
    _warn_if_environment_differs(layout, config, made_by)
    return start


def claim(layout: Layout, config: RunConfig, task: Task, start: Start, monitors: Sequence[dict[str, Any]] = ()) -> None:
    """Write the files of a new run, or the new number of epochs of a resumed one, after everything was checked."""
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
            # Last, because this file makes the directory a run directory.
            write_identity(layout.config, config, environment(config), start.forked_from, monitors)
            return
        known, made_by = start.identity
        # Before the config, so that a kill between the two leaves a run that can be resumed.
        layout.finished.unlink(missing_ok=True)
        write_metrics(layout.metrics, start.entries)
        if known.epochs != config.epochs or monitors:
            write_identity(layout.config, config, made_by, start.forked_from, monitors)


def _check_is_free(layout: Layout, new: Start | None) -> None:
    """Raise a RunError for a run that lost its config; files of a new run that was killed early are overwritten."""
    epochs = layout.checkpoint_epochs()
    is_new_fork = new is not None and new.point is not None and epochs in ((), (new.point.epoch,))
    is_free = not epochs and not layout.resume.exists() and not layout.start.exists()
    if new is None or layout.finished.exists() or layout.metrics.exists() or not (is_free or is_new_fork):
        msg = f"{layout.root} has files of a run but no {layout.config.name}; choose a different directory."
        raise RunError(msg)


def _check_resume_matches(layout: Layout, config: RunConfig, known: RunConfig, task: Task) -> None:
    differ = differences(known, config, ignore=("epochs",))
    saved = tensors.read_task(layout.task)
    if (saved.n_outputs, saved.n_tokens) != (task.n_outputs, task.n_tokens) or not all(
        torch.equal(getattr(saved, name), getattr(task, name)) for name in ("table", "a_tokens", "b_tokens")
    ):
        differ.append("the task's table or tokens")
    if differ:
        msg = f"{layout.root} holds a run with a different config: {'; '.join(differ)}. Choose a different directory."
        raise RunError(msg)


def _warn_if_environment_differs(layout: Layout, config: RunConfig, made_by: dict[str, str | int]) -> None:
    here = environment(config)
    differ = [f"{key} {made_by.get(key)} then, {here[key]} now" for key in here if made_by.get(key) != here[key]]
    if differ:
        msg = f"{layout.root} was started in a different environment, so its rounding may differ: {'; '.join(differ)}"
        warnings.warn(msg, stacklevel=6)  # the caller of `train`, five calls up
