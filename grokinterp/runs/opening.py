"""Opening a run directory to train into it: one trainer at a time, and only into its own run."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from filelock import FileLock, Timeout

from grokinterp.config import RunConfig
from grokinterp.runs import tensors
from grokinterp.runs.identity import Fork, differences, environment, read_fork, read_identity, write_identity
from grokinterp.runs.layout import Layout, RunBusyError, RunError
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
    """Turn an error of the disk into a RunError that says what is left."""
    try:
        yield
    except OSError as error:
        msg = (
            f"{layout.root} could not be written: {error}; nothing before is lost (the last checkpoint is that of "
            f"epoch {max(layout.epochs(), default=None)}). Mend that, then train the same config into it to go on."
        )
        raise RunError(msg) from error


def open_run(layout: Layout, config: RunConfig, task: Task, training_set: TrainingSet | None) -> bool:
    """Make the directory this run's, or check that it is.

    Args:
        layout: Of the directory.
        config: The run's.
        task: What is learned.
        training_set: Of a new run; one that is there already keeps its own.

    Returns:
        Whether it is to be trained: not when it has reached the config's epochs already.

    Raises:
        RunError: If the directory holds another run, or cannot be written.
    """
    if not layout.config.exists():
        if layout.epochs():
            msg = f"{layout.root} holds checkpoints but no {layout.config.name}; choose another directory."
            raise RunError(msg)
        assert training_set is not None
        begin_run(layout, config, task, training_set)
        return True
    known, made_by = read_identity(layout.config)
    _refuse_other(layout, config, known, task)
    reached = max(layout.epochs(), default=0)
    if config.epochs < reached or (config.epochs == reached and layout.finished.exists()):
        return False
    _warn_of_other_machine(layout, config, made_by)
    with disk_errors(layout):
        layout.finished.unlink(missing_ok=True)
        if known.epochs != config.epochs:
            write_identity(layout.config, config, made_by, read_fork(layout.config))
    return True


def begin_run(
    layout: Layout, config: RunConfig, task: Task, training_set: TrainingSet, forked_from: Fork | None = None
) -> None:
    """Make a directory a run's.

    Raises:
        RunError: If it cannot be written.
    """
    with disk_errors(layout):
        tensors.write_task(layout.task, task)
        tensors.write_training_set(layout.split, training_set, task)
        # Last, since it is by this file that a directory is known as a run.
        write_identity(layout.config, config, environment(config), forked_from)


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
        # The caller of `train`, three calls up.
        warnings.warn(f"{layout.root} was begun elsewhere, so its bits may differ: {'; '.join(differ)}", stacklevel=4)
