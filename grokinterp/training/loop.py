"""`gi.train`, which trains a config into a run directory and resumes stopped runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from grokinterp import arguments
from grokinterp.config import RunConfig, as_run_config, check_device
from grokinterp.measures import Measure, as_measures
from grokinterp.runs.cache import is_cacheable
from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.lock import Start, claim, look, only_trainer
from grokinterp.runs.run import Run, is_bundled, load_run
from grokinterp.tasks import Task
from grokinterp.tasks.split import AnySplit
from grokinterp.training.dataset import Order, build_training_set, resolve_task
from grokinterp.training.runtime import keep_freed_memory
from grokinterp.training.trainer import Monitors, OnLog, Trainer


def train(
    config: RunConfig,
    path: str | Path,
    *,
    task: Task | None = None,
    is_train: AnySplit | None = None,
    order: Order | None = None,
    monitors: Measure | Sequence[Measure] = (),
    on_log: OnLog | None = None,
    progress: bool = True,
) -> Run:
    """Train a model and save checkpoints and metrics in a run directory; resume a run that is already there.

    A stopped or killed run resumes from its last checkpoint and has the same bits at the end as an uninterrupted run,
    given the same machine and number of threads and no `compile`. Ctrl-C saves a checkpoint before training stops.

    Args:
        config: All settings of the run. A directory with the same config but fewer epochs is trained further; one
            that has reached `config.epochs` is returned unchanged.
        path: Run directory, created if missing.
        task: Custom task, for `TaskConfig(operation="custom")`.
        is_train: Custom training pairs, for `SplitConfig(rule="custom")`.
        order: Custom difficulty, for `Curriculum(order="custom", ...)`: a function of the tokens of a [a, 1] and b
            [1, b] that returns numbers [a, b] from 0 to 1. Task, pairs and order are saved in the run directory and
            need not be passed again.
        monitors: Measures to compute at every logged epoch and not only at checkpoints: any of `gi.monitors`, or custom
            ones with a version (`gi.measure`). `gi.trajectory` reads their values. config.json records them, and a
            resumed run needs them again.
        on_log: Function called as `on_log(epoch, metrics)` for each logged epoch, once that epoch is on disk;
            use it to log to an experiment tracker. `metrics` is a copy of the entry in metrics.jsonl. A resumed run
            logs the entries from the last checkpoint on, and passes them to it, again. An exception in it stops
            training and propagates; training the same config then resumes from the last checkpoint.
        progress: Whether to show a progress bar; in a log file it is updated once a minute.

    Returns:
        The run, a read-only handle.

    Raises:
        RunError: If the directory holds a different config or a broken file, another process is training in it, a
            monitor of the run is missing from `monitors` or has changed, the loss is not finite, the disk is full, or
            the directory is moved. Everything written before stays valid.
        ValueError: If the config or an argument is invalid: e.g. the operation is undefined for p, a split is empty,
            the device is missing, the config does not ask for a custom task, a monitor has no version, or `on_log` is
            not a function.
        ImportError: If the engine is `hooked` and TransformerLens 3 is not installed.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint is written.

    Examples:
        >>> import tempfile, grokinterp as gi
        >>> config = gi.RunConfig(task=gi.TaskConfig(p=7), epochs=3, model=gi.TransformerConfig(d_model=8, d_mlp=16))
        >>> run = gi.train(config, tempfile.mkdtemp(), progress=False)
        >>> run.checkpoint_epochs
        (0, 1, 2, 3)
        >>> losses = {}
        >>> def log(epoch, metrics):
        ...     losses[epoch] = metrics["loss"]["test"]
        >>> run = gi.train(config, tempfile.mkdtemp(), on_log=log, progress=False)
        >>> sorted(losses)
        [0, 3]
    """
    progress = arguments.flag(progress, "progress")
    root = Path(path).absolute()  # the working directory may change during training
    with open_trainer(
        config, root, task=task, is_train=is_train, order=order, monitors=monitors, on_log=on_log
    ) as trainer:
        if trainer is not None:
            trainer.fit(progress=progress)
    return load_run(root)


@contextmanager
def open_trainer(
    config: RunConfig,
    path: str | Path,
    *,
    task: Task | None = None,
    is_train: AnySplit | None = None,
    order: Order | None = None,
    monitors: Measure | Sequence[Measure] = (),
    on_log: OnLog | None = None,
    start: Start | None = None,
) -> Iterator[Trainer | None]:
    """The trainer of a run directory, which stays locked within the block; None if the run is finished.

    Everything is checked before any file changes. Arguments and errors as in `train`; `start` is the start of a fork.
    """
    measures = _as_monitors(monitors)
    if on_log is not None and not callable(on_log):
        msg = f"on_log must be a function of the epoch and its metrics, or None, got {arguments.shown(on_log)}."
        raise ValueError(msg)
    device = check_device(as_run_config(config).device)
    layout = Layout(Path(path).absolute())
    if layout.root.exists() and not layout.root.is_dir():
        msg = f"{layout.root} must be a run directory or a new path, but it is a file; choose another path."
        raise RunError(msg)
    if is_bundled(Run(layout.root)):
        msg = f"{layout.root} is part of the installed package; train into another directory."
        raise RunError(msg)
    task = resolve_task(config, task, layout)
    if start is None and not layout.config.exists():
        start = Start(training_set=build_training_set(config, task, is_train=is_train, order=order))
    with only_trainer(layout):
        records = [{"name": measure.name, **measure.identity} for measure in measures]
        start = look(layout, config, task, start, records)
        if start is None:
            yield None
            return
        keep_freed_memory()
        trainer = Trainer(config, layout, task, device, start)
        claim(layout, config, task, start, records)
        trainer.on_log = on_log
        trainer.monitors = Monitors(Run(layout.root), measures) if measures else None
        try:
            yield trainer
        finally:
            if trainer.monitors is not None:
                trainer.monitors.save()


def _as_monitors(monitors: object) -> list[Measure]:
    measures: list[Measure] = []
    for measure in as_measures(monitors):
        if not is_cacheable(measure):
            msg = (
                f"a monitor must be a measure with a version, got {arguments.shown(measure)}; decorate your function "
                'with @gi.measure("its_name", version=1).'
            )
            raise ValueError(msg)
        measures.append(measure)
    return measures
