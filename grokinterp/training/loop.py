"""Training: from a config to a run directory, at any time resumable."""

from pathlib import Path

from grokinterp.config import RunConfig, check_device
from grokinterp.runs.layout import Layout
from grokinterp.runs.opening import only_trainer, open_run
from grokinterp.runs.run import Run, load_run
from grokinterp.runs.tensors import read_split, read_task
from grokinterp.tasks import Task
from grokinterp.training.memory import keep_freed_memory
from grokinterp.training.trainer import Trainer


def train(config: RunConfig, path: str | Path, *, task: Task | None = None, progress: bool = True) -> Run:
    """Train a model, keeping checkpoints and metrics in a directory; train on if it already holds this run.

    A run that was stopped, or killed, goes on from its last checkpoint and ends with the same bits as one that
    was not: on one machine, with one number of threads, without `compile`. Ctrl-C writes a checkpoint first.

    Args:
        config: All that decides the run. A directory that holds it with fewer epochs is trained on to these; one
            that has reached them is returned as it is.
        path: The run directory, made if it is not there.
        task: A task of your own, for a config with `TaskConfig(operation="custom")`; a run that has one
            already needs it no more.
        progress: Whether to show a progress bar; where no one watches, it writes once a minute.

    Returns:
        The run, a read-only handle.

    Raises:
        RunError: If the directory holds another config, another trainer is at work in it, the loss is not
            finite, or the disk is full. What was written before stays, and can be resumed.
        ValueError: If the config cannot be: an operation that is not defined for p, an empty part of the
            split, a device that is not there, a task where the config has its own.
        ImportError: If the config asks for the engine `hooked` and TransformerLens is not of version 3.
        KeyboardInterrupt: After the checkpoint that Ctrl-C asks for.

    Examples:
        >>> import tempfile, grokinterp as gi
        >>> config = gi.RunConfig(task=gi.TaskConfig(p=7), epochs=3, model=gi.TransformerConfig(d_model=8, d_mlp=16))
        >>> run = gi.train(config, tempfile.mkdtemp(), progress=False)
        >>> run.epochs
        (0, 1, 2, 3)
    """
    device = check_device(config.device)
    layout = Layout(Path(path))
    task = _task_of(config, task, layout)
    is_train = config.split.build(task, config.seed)
    with only_trainer(layout):
        if open_run(layout, config, task, is_train):
            is_train = read_split(layout.split, task)
            keep_freed_memory()
            Trainer(config, layout, task, is_train, device).fit(progress=progress)
    return load_run(layout.root)


def _task_of(config: RunConfig, task: Task | None, layout: Layout) -> Task:
    """The config's task, or the one handed over, or the one that the run has from the time when it was."""
    if config.task.operation != "custom":
        if task is not None:
            msg = f"a task of your own needs TaskConfig(operation='custom'), got operation={config.task.operation!r}."
            raise ValueError(msg)
        return config.task.build()
    if task is None and layout.task.exists():
        return read_task(layout.task)
    return config.task.build() if task is None else task
