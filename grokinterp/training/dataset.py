"""The task and the training set of a run: training pairs, their labels and their difficulty."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from grokinterp.config import RunConfig
from grokinterp.runs.layout import Layout
from grokinterp.runs.tensors import TrainingSet, read_task
from grokinterp.tasks import Task
from grokinterp.tasks.operations import as_task
from grokinterp.tasks.split import AnySplit, as_split


# Added to the seed of label noise, because the split is drawn from the same seed and must be independent of it.
_NOISE_SEED_OFFSET = 0x6E6F697365


Order = Callable[[Tensor, Tensor], Tensor]
"""From the tokens of a [a, 1] and b [1, b] to the difficulty [a, b] of each pair, 0 to 1."""


def resolve_task(config: RunConfig, task: Task | None, layout: Layout) -> Task:
    """The task that the config builds or, for a custom task, the argument or the task saved in the run directory.

    Raises:
        ValueError: If a task is passed although the config names an operation, or a custom task is missing.
    """
    task = None if task is None else as_task(task)
    if config.task.operation != "custom":
        if task is not None:
            msg = f"passing task requires TaskConfig(operation='custom'), got operation={config.task.operation!r}."
            raise ValueError(msg)
        return config.task.build()
    if task is None and layout.task.exists():
        return read_task(layout.task)
    return config.task.build() if task is None else task


def build_training_set(
    config: RunConfig, task: Task, *, is_train: AnySplit | None = None, order: Order | None = None
) -> TrainingSet:
    """The training pairs, labels and difficulties of a new run.

    Args:
        config: The run's config.
        task: The task to learn.
        is_train: Custom training pairs, for the split rule `custom`.
        order: Custom difficulty, for the curriculum order `custom`.

    Raises:
        ValueError: If `is_train` or `order` is passed although the config does not ask for it, is missing although it
            does, or does not fit the task.
    """
    mask = build_split(config, task, is_train)
    return TrainingSet(
        is_train=mask, answers=build_labels(config, task, mask), difficulty=build_difficulty(config, task, order)
    )


def build_split(config: RunConfig, task: Task, is_train: AnySplit | None) -> Bool[Tensor, "a b"]:
    """The mask of training pairs: the config's split, or the custom one. Raises as `build_training_set`."""
    if is_train is not None and config.split.rule != "custom":
        msg = f"passing is_train requires SplitConfig(rule='custom'), got rule={config.split.rule!r}."
        raise ValueError(msg)
    return config.split.build(task, config.seed) if is_train is None else as_split(is_train, task)


def build_labels(config: RunConfig, task: Task, is_train: Bool[Tensor, "a b"]) -> Int[Tensor, "a b"]:
    """The label of each pair: the task's answer, with label noise on training pairs only."""
    labels = task.table.clone()
    if config.regularization.label_noise:
        labels[is_train] = noisy_labels(
            task.table[is_train], config.regularization.label_noise, n_outputs=task.n_outputs, seed=config.seed
        )
    return labels


def build_difficulty(config: RunConfig, task: Task, order: Order | None) -> Float64[Tensor, "a b"] | None:
    """The difficulty of each pair, or None without a curriculum.

    Raises:
        ValueError: If `order` is passed although the config does not ask for it, is missing although it does, or does
            not return numbers from 0 to 1.
    """
    name = config.curriculum.order
    if (order is not None) != (name == "custom"):
        msg = f"order= and Curriculum(order='custom') require each other, got order={order} and {config.curriculum}."
        raise ValueError(msg)
    if name == "none":
        return None
    if order is None:
        return difficulty(task).double()
    difficulties = order(task.a_tokens[:, None], task.b_tokens[None, :]).double()
    if difficulties.shape != task.shape or not bool(((difficulties >= 0) & (difficulties <= 1)).all()):
        msg = (
            f"order must return a number from 0 to 1 for each of the task's {task.shape} pairs, got "
            f"{tuple(difficulties.shape)} from {difficulties.min():.3g} to {difficulties.max():.3g}."
        )
        raise ValueError(msg)
    return difficulties


def difficulty(task: Task) -> Float64[Tensor, "a b"]:
    """The curriculum order `operand_size`: the mean of a and b divided by the largest operand, 0 to 1.

    Operands count as their tokens; for modular arithmetic these are the residues mod p.

    Source:
        An earlier grokking framework's curriculum for addition, mean(a, b) / (p - 1). It is included for comparison:
        modular arithmetic does not distinguish small residues from large ones.

    Examples:
        >>> from grokinterp.tasks import operation
        >>> difficulty(operation("addition", 3)).tolist()
        [[0.0, 0.25, 0.5], [0.25, 0.5, 0.75], [0.5, 0.75, 1.0]]
    """
    a, b = task.a_tokens.double()[:, None], task.b_tokens.double()[None, :]
    largest = max(a.max().item(), b.max().item(), 1.0)
    return (a + b) / 2 / largest


def noisy_labels(labels: Int[Tensor, " batch"], fraction: float, *, n_outputs: int, seed: int) -> Int[Tensor, " batch"]:
    """A copy of labels in which a fraction is replaced by wrong classes.

    Args:
        labels: Correct classes.
        fraction: Fraction of labels to replace, 0 to 1, rounded to a whole number of labels.
        n_outputs: Number of classes; wrong ones are drawn uniformly.
        seed: Random seed.

    Raises:
        ValueError: If there is only one class.

    Examples:
        >>> noisy_labels(torch.zeros(8, dtype=torch.long), 0.5, n_outputs=3, seed=0).bool().sum().item()
        4
    """
    if n_outputs < 2:
        msg = f"label noise requires at least 2 classes, got n_outputs={n_outputs}."
        raise ValueError(msg)
    generator = torch.Generator().manual_seed(seed + _NOISE_SEED_OFFSET)
    replaced = torch.randperm(len(labels), generator=generator)[: round(fraction * len(labels))]
    offset = torch.randint(1, n_outputs, replaced.shape, generator=generator)
    noisy = labels.clone()
    noisy[replaced] = (labels[replaced] + offset.to(labels)) % n_outputs
    return noisy
