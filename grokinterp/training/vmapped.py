"""Training several runs at once: their stacked parameters share one forward and backward pass under vmap."""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

import torch

from grokinterp import arguments
from grokinterp.config import RunConfig, as_run_configs
from grokinterp.runs.run import Run, load_run
from grokinterp.training.engines import build_engine, stacked_engine
from grokinterp.training.learner import Batch, Learner
from grokinterp.training.loop import open_trainer
from grokinterp.training.trainer import Trainer, fit


def train_many(configs: Sequence[RunConfig], paths: Sequence[str | Path], *, progress: bool = True) -> list[Run]:
    """Train several runs of one architecture at once in one process.

    Gradients of all runs are computed together under `torch.func.vmap`, with the engine `factored` in place of
    `kernels`; each run keeps its own optimizer, schedules and directory. An update equals that of `train` up to
    floating-point rounding, not to the bit, and the difference grows over updates, fastest with Muon, which
    orthogonalizes matrices in bfloat16. It is faster than `train` if one run does not use the whole device: for many
    small models, or on a GPU. A stopped run can be resumed by either function.

    Args:
        configs: Configs of the runs. Seeds, rates, schedules, splits and regularization may differ; model, loss, engine
            and device must be equal.
        paths: One run directory per config.
        progress: Whether to show one progress bar for all runs.

    Returns:
        The runs, in the order of the configs.

    Raises:
        ValueError: If the numbers of configs and paths differ, configs differ in a setting that must be equal, the
            engine is `hooked`, or a config has `compile` or dropout.
        RunError: As `train`. If runs fail in training, the others are trained to their last epochs first.
        KeyboardInterrupt: On Ctrl-C, after checkpoints are written.

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
        opened = [stack.enter_context(open_trainer(config, path)) for config, path in zip(configs, paths, strict=True)]
        fit([trainer for trainer in opened if trainer is not None], _advance, progress=progress)
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
                "train_many does not support compile, dropout or engine='hooked', got "
                f"compile={config.compile}, dropout={config.regularization.dropout}, engine={config.engine!r}; "
                "use gi.train for this run."
            )
            raise ValueError(msg)
        for name in ("model", "loss", "device"):
            _check_equal(name, getattr(configs[0], name), getattr(config, name))
        _check_equal("engine", stacked_engine(configs[0]), stacked_engine(config))


def _check_equal(name: str, first: object, value: object) -> None:
    if value != first:
        msg = f"train_many requires all configs to have the same {name}, got {first!r} and {value!r}."
        raise ValueError(msg)


def _advance(trainers: list[Trainer]) -> None:
    """Make one epoch of updates of every run."""
    for batches in zip_longest(*(trainer.learner.batches(trainer.epoch) for trainer in trainers)):
        groups: dict[object, tuple[list[Learner], list[Batch]]] = {}
        for trainer, batch in zip(trainers, batches, strict=True):
            if batch is not None:
                # Only batches and parameters of equal shapes can be stacked.
                shapes = (len(batch[0]), *(p.shape for p in trainer.learner.params.values()))
                learners, group = groups.setdefault(shapes, ([], []))
                learners.append(trainer.learner)
                group.append(batch)
        for learners, group in groups.values():
            _update(learners, group)
    for trainer in trainers:
        trainer.epoch += 1


def _update(learners: list[Learner], batches: list[Batch]) -> None:
    """Make one update of each run, with gradients that are computed together."""
    stacked = {
        name: torch.stack([learner.params[name].detach() for learner in learners]) for name in learners[0].params
    }
    a, b, labels = (torch.stack(tensors) for tensors in zip(*batches, strict=True))
    config = learners[0].config
    loss = build_engine(stacked_engine(config), config, learners[0].params).loss
    grads, losses = torch.func.vmap(torch.func.grad_and_value(loss))(stacked, a, b, labels)
    for i, learner in enumerate(learners):
        for name, p in learner.params.items():
            # Contiguous like the parameter, because fused AdamW ignores strides.
            p.grad = grads[name][i].contiguous()
        learner.apply(losses[i])
