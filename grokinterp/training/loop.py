"""Training: from a config to a run directory, at any time resumable."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save

from grokinterp import arguments
from grokinterp.config import RunConfig, as_run_config, check_device
from grokinterp.measures import Measure, as_measures
from grokinterp.models.architecture import Params
from grokinterp.runs.cache import CachedMeasure, digest, is_cacheable
from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.lock import Start, claim, look, only_trainer
from grokinterp.runs.run import Run, is_bundled, load_run
from grokinterp.snapshots import Snapshot
from grokinterp.tasks import Task
from grokinterp.tasks.split import AnySplit
from grokinterp.training.dataset import Order, task_of, training_set_of
from grokinterp.training.runtime import keep_freed_memory
from grokinterp.training.trainer import OnLog, Trainer


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
    """Train a model, keeping checkpoints and metrics in a directory; train on if it already holds this run.

    A run that was stopped, or killed, goes on from its last checkpoint and ends with the same bits as one that
    was not: on one machine, with one number of threads, without `compile`. Ctrl-C writes a checkpoint first.

    Args:
        config: All that decides the run. A directory that holds it with fewer epochs is trained on to these; one
            that has reached them is returned as it is.
        path: The run directory, made if it is not there.
        task: A task of your own, for a config with `TaskConfig(operation="custom")`.
        is_train: Training pairs of your own, for one with `SplitConfig(rule="custom")`.
        order: What makes a pair difficult, for one with `Curriculum(order="custom", ...)`: a function of the tokens
            of a [a, 1] and of b [1, b] that gives [a, b] numbers from 0 to 1. A run that has task, pairs or order
            already needs them no more.
        monitors: A measure, or several, such as those in `gi.monitors` or your own with a version (`gi.measure`), that
            are taken at every logged epoch and not only at checkpoints. `trajectory` finds their values. config.json
            records them, and a resumed run needs them again.
        on_log: A function called as `on_log(epoch, metrics)` for each logged epoch, once that epoch is on disk;
            use it to log to an experiment tracker. `metrics` is a copy of the entry in metrics.jsonl. After a resume,
            entries from the last checkpoint on are logged, and passed to it, again. An exception in it stops
            training and propagates; training the same config then resumes from the last checkpoint.
        progress: Whether to show a progress bar; where no one watches, it writes once a minute.

    Returns:
        The run, a read-only handle.

    Raises:
        RunError: If the directory holds another config or a broken file, another trainer is at work in it, a monitor
            of the run is missing from `monitors` or has changed, the loss is not finite, the disk is full, or the
            directory is moved. What was written before stays.
        ValueError: If the config cannot be: an operation that is not defined for p, an empty part of the
            split, a device that is not there, a task where the config has its own, a monitor without
            a version, an `on_log` that is not a function.
        ImportError: If the config asks for the engine `hooked` and TransformerLens is not of version 3.
        KeyboardInterrupt: After the checkpoint that Ctrl-C asks for.

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
    root = Path(path).absolute()  # whatever the working directory will be
    with prepared(config, root, task=task, is_train=is_train, order=order, monitors=monitors, on_log=on_log) as trainer:
        if trainer is not None:
            trainer.fit(progress=progress)
    return load_run(root)


@contextmanager
def prepared(
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
    """The trainer of a run directory, which is held for it alone; None if nothing is left to train.

    Everything is checked before anything in the directory is changed. As `train`; `start` is where a fork starts.
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
    task = task_of(config, task, layout)
    if start is None and not layout.config.exists():
        start = Start(training_set=training_set_of(config, task, is_train=is_train, order=order))
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
        observer = trainer.observer = _Monitors(Run(layout.root), measures) if measures else None
        try:
            yield trainer
        finally:
            if observer is not None:
                observer.save()


class _Monitors:
    """Takes the measures of every logged epoch."""

    def __init__(self, run: Run, monitors: Sequence[Measure]) -> None:
        self.run = run
        self.kept = [CachedMeasure(run, measure, cache=True) for measure in monitors]

    def observe(self, epoch: int, params: Params) -> None:
        on_cpu = {name: p.detach().cpu().clone().contiguous() for name, p in params.items()}
        run, checkpoint = self.run, digest(save(on_cpu))
        snapshot = Snapshot(params=on_cpu, config=run.config.model, task=run.task, is_train=run.is_train, epoch=epoch)
        for measure in self.kept:
            measure.add(epoch, snapshot, checkpoint)

    def save(self) -> None:
        for measure in self.kept:
            measure.save()


def _as_monitors(monitors: object) -> list[Measure]:
    measures = []
    for measure in as_measures(monitors):
        if not is_cacheable(measure):
            msg = (
                f"a monitor must be a measure with a version, got {arguments.shown(measure)}; decorate your function "
                'with @gi.measure("its_name", version=1).'
            )
            raise ValueError(msg)
        measures.append(measure)
    return measures
