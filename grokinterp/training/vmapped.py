"""Many runs of one shape, trained side by side: their parameters stacked, one forward and backward pass for all."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

import torch

from grokinterp import arguments
from grokinterp.config import RunConfig, as_run_configs
from grokinterp.runs.layout import RunError
from grokinterp.runs.run import Run, load_run
from grokinterp.training.engines import build_engine, stacked_name
from grokinterp.training.learner import Batch
from grokinterp.training.loop import prepared
from grokinterp.training.runtime import bar, interruption
from grokinterp.training.trainer import Trainer


def train_many(configs: Sequence[RunConfig], paths: Sequence[str | Path], *, progress: bool = True) -> list[Run]:
    """Train runs of one shape side by side, each as `train` does alone, in one process.

    The gradients of all runs are taken at once, under `torch.func.vmap`, by the engine `factored` in place of
    `kernels`; everything else, optimizer, schedules and directory, is each run's own. An update is within rounding of
    what it is alone, and does not have its bits; over many updates training makes more of the difference, Muon soonest,
    whose matrices are orthogonalized in bfloat16. This pays where one run does not fill the device: many small models,
    or a GPU. A run that was stopped goes on, here or alone.

    Args:
        configs: Of the runs. Seeds, rates, schedules, splits and regularization may differ; model, loss, engine
            and device may not.
        paths: A directory for each.
        progress: Whether to show one progress bar for all.

    Returns:
        The runs, in the order of the configs.

    Raises:
        ValueError: If there are not as many paths as configs, or two runs differ in what they may not; or the engine
            is `hooked`, or a run has `compile` or dropout, which draws each run's own masks.
        RunError: As `train`, for every run that failed, after the others have come to their end.
        KeyboardInterrupt: After the checkpoints that Ctrl-C asks for.

    Examples:
        >>> import tempfile, grokinterp as gi
        >>> shape = gi.TransformerConfig(d_model=8, d_mlp=16)
        >>> configs = [gi.RunConfig(task=gi.TaskConfig(p=7), epochs=3, model=shape, seed=seed) for seed in (0, 1)]
        >>> root = tempfile.mkdtemp()
        >>> runs = gi.train_many(configs, [f"{root}/seed0", f"{root}/seed1"], progress=False)
        >>> [run.config.seed for run in runs]
        [0, 1]
    """
    configs = as_run_configs(configs)
    progress = arguments.flag(progress, "progress")
    _check(configs, paths)
    paths = [Path(path).absolute() for path in paths]
    with ExitStack() as stack:
        opened = [stack.enter_context(prepared(config, path)) for config, path in zip(configs, paths, strict=True)]
        _fit([trainer for trainer in opened if trainer is not None], progress=progress)
    return [load_run(path) for path in paths]


def _check(configs: Sequence[RunConfig], paths: Sequence[str | Path]) -> None:
    are_lists = isinstance(configs, Sequence) and isinstance(paths, Sequence) and not isinstance(paths, str | bytes)
    if not are_lists or len(configs) != len(paths) or len({Path(path).resolve() for path in paths}) < len(paths):
        msg = (
            "train_many needs a list of configs and a list of as many paths, a separate directory for each run, got "
            f"{arguments.shown(configs)} and {arguments.shown(paths)}."
        )
        raise ValueError(msg)
    for config in configs:
        if config.compile or config.regularization.dropout or config.engine == "hooked":
            msg = (
                "train_many stacks runs without compile, dropout and the engine 'hooked', got "
                f"compile={config.compile}, dropout={config.regularization.dropout}, engine={config.engine!r}; "
                "train them alone."
            )
            raise ValueError(msg)
        first = configs[0]
        for name in ("model", "loss", "device"):
            if getattr(config, name) != getattr(first, name):
                msg = f"train_many stacks runs of one {name}, got {getattr(first, name)} and {getattr(config, name)}."
                raise ValueError(msg)
        if stacked_name(config) != stacked_name(first):
            msg = f"train_many stacks runs of one engine, got {stacked_name(first)!r} and {stacked_name(config)!r}."
            raise ValueError(msg)


def _fit(trainers: list[Trainer], *, progress: bool) -> None:
    """All of `Trainer.fit`, for all of them at once."""
    total, done = sum(trainer.config.epochs for trainer in trainers), sum(trainer.epoch for trainer in trainers)
    before = [trainer.seconds for trainer in trainers]
    failed: list[str] = []
    started = time.perf_counter()
    with bar(f"{len(trainers)} runs", total, done, show=progress) as line, interruption() as interrupted:
        active = trainers
        while active:
            stop = interrupted.is_set()
            # Of the time that all take, each run has its part.
            part = (time.perf_counter() - started) / len(trainers)
            for trainer, seconds in zip(trainers, before, strict=True):
                if trainer in active:
                    trainer.seconds = seconds + part
            active = [trainer for trainer in active if _record(trainer, failed, save=stop)]
            if stop and active:
                msg = f"stopped {len(active)} runs; train them into the same directories to go on."
                raise KeyboardInterrupt(msg)
            _advance(active)
            line.update(len(active))
    if failed:
        raise RunError("; ".join(failed))


def _record(trainer: Trainer, failed: list[str], *, save: bool) -> bool:
    """Log and save what is due, and say whether the run goes on; one that fails is left behind by the others."""
    try:
        trainer.record(save=save)
    except RunError as error:
        failed.append(str(error))
        return False
    if trainer.is_done:
        trainer.finish()
    return not trainer.is_done


def _advance(trainers: list[Trainer]) -> None:
    """One epoch of updates of every run."""
    for batches in zip_longest(*(trainer.learner.batches(trainer.epoch) for trainer in trainers)):
        for group in _of_one_shape(zip(trainers, batches, strict=True)):
            _update(*group)
    for trainer in trainers:
        trainer.epoch += 1


def _of_one_shape(
    pairs: Iterable[tuple[Trainer, Batch | None]],
) -> Iterator[tuple[list[Trainer], list[Batch]]]:
    """Runs with batches of one size and parameters of one shape; those that have no batch left are left out."""
    groups: dict[object, tuple[list[Trainer], list[Batch]]] = {}
    for trainer, batch in pairs:
        if batch is not None:
            shape = (len(batch[0]), *(p.shape for p in trainer.learner.params.values()))
            trainers, batches = groups.setdefault(shape, ([], []))
            trainers.append(trainer)
            batches.append(batch)
    yield from groups.values()


def _update(trainers: list[Trainer], batches: list[Batch]) -> None:
    """One update of each run, from gradients that are taken at once."""
    learners = [trainer.learner for trainer in trainers]
    stacked = {
        name: torch.stack([learner.params[name].detach() for learner in learners]) for name in learners[0].params
    }
    a, b, answers = (torch.stack(parts) for parts in zip(*batches, strict=True))
    config = learners[0].config
    loss = build_engine(stacked_name(config), config, learners[0].params).loss
    grads, losses = torch.func.vmap(torch.func.grad_and_value(loss))(stacked, a, b, answers)
    for i, learner in enumerate(learners):
        for name, p in learner.params.items():
            # In the layout of the parameter: fused AdamW reads memory in order, whatever the strides say.
            p.grad = grads[name][i].contiguous()
        learner.apply(losses[i])
