"""What a run is trained on: its task, its training pairs, their labels and their difficulty."""

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


# Added to the seed of label noise, so that it is no function of the split, which is drawn from the same one.
_NOISE_STREAM = 0x6E6F697365


Order = Callable[[Tensor, Tensor], Tensor]
"""From the tokens of a [a, 1] and of b [1, b] to the difficulty [a, b] of each pair, from 0 to 1."""


def task_of(config: RunConfig, task: Task | None, layout: Layout) -> Task:
    """The config's task, or the one handed over, or the one that the run has from the time when it was.

    Raises:
        ValueError: If a task is handed over where the config has its own, or none where it has not.
    """
    task = None if task is None else as_task(task)
    if config.task.operation != "custom":
        if task is not None:
            msg = f"a task of your own needs TaskConfig(operation='custom'), got operation={config.task.operation!r}."
            raise ValueError(msg)
        return config.task.build()
    if task is None and layout.task.exists():
        return read_task(layout.task)
    return config.task.build() if task is None else task


def training_set_of(
    config: RunConfig, task: Task, *, is_train: AnySplit | None = None, order: Order | None = None
) -> TrainingSet:
    """The pairs that a new run is trained on, what is asked of them, and how difficult they are.

    Args:
        config: The run's.
        task: What is learned.
        is_train: Pairs of one's own, for the split rule `custom`.
        order: Difficulty of one's own, for the curriculum's order `custom`.

    Returns:
        The training set; label noise replaces answers of training pairs alone.

    Raises:
        ValueError: If pairs or an order are handed over where the config has its own, or none where it has not; or
            they do not fit the task.
    """
    chosen = split_of(config, task, is_train)
    return TrainingSet(
        is_train=chosen, answers=answers_of(config, task, chosen), difficulty=difficulty_of(config, task, order)
    )


def split_of(config: RunConfig, task: Task, is_train: AnySplit | None) -> Bool[Tensor, "a b"]:
    """The config's split, or pairs of one's own.

    Raises:
        ValueError: If pairs are handed over where the config has its own, or none where it has not.
    """
    if is_train is not None and config.split.rule != "custom":
        msg = f"training pairs of your own need SplitConfig(rule='custom'), got rule={config.split.rule!r}."
        raise ValueError(msg)
    return config.split.build(task, config.seed) if is_train is None else as_split(is_train, task)


def answers_of(config: RunConfig, task: Task, is_train: Bool[Tensor, "a b"]) -> Int[Tensor, "a b"]:
    """What is asked at each pair: the task's table, but for label noise at training pairs."""
    answers = task.table.clone()
    if config.regularization.label_noise:
        answers[is_train] = noisy_labels(
            task.table[is_train], config.regularization.label_noise, n_outputs=task.n_outputs, seed=config.seed
        )
    return answers


def difficulty_of(config: RunConfig, task: Task, order: Order | None) -> Float64[Tensor, "a b"] | None:
    """The difficulty of each pair, by the config's order or one's own; none without a curriculum.

    Raises:
        ValueError: If an order is handed over where the config has its own, or none where it has not; or it does not
            give numbers from 0 to 1.
    """
    wanted = config.curriculum.order
    if (order is not None) != (wanted == "custom"):
        msg = f"an order of your own goes with Curriculum(order='custom'), got order={wanted!r} and {order}."
        raise ValueError(msg)
    if wanted == "none":
        return None
    if order is None:
        return difficulty(task).double()
    found = order(task.a_tokens[:, None], task.b_tokens[None, :]).double()
    if found.shape != task.shape or not bool(((found >= 0) & (found <= 1)).all()):
        msg = (
            f"an order must give each of the task's {task.shape} pairs a number from 0 to 1, got "
            f"{tuple(found.shape)} from {found.min():.3g} to {found.max():.3g}."
        )
        raise ValueError(msg)
    return found


def difficulty(task: Task) -> Float64[Tensor, "a b"]:
    """The mean of a and b over the largest operand, from 0 to 1: the order `operand_size`.

    Operands are read as their tokens, which are the residues modulo p where the task has these.

    Source:
        The curriculum of an earlier grokking framework, for addition: mean(a, b) / (p - 1). It is kept for comparison:
        residues have no size that modular arithmetic knows of.

    Examples:
        >>> from grokinterp.tasks import operation
        >>> difficulty(operation("addition", 3)).tolist()
        [[0.0, 0.25, 0.5], [0.25, 0.5, 0.75], [0.5, 0.75, 1.0]]
    """
    a, b = task.a_tokens.double()[:, None], task.b_tokens.double()[None, :]
    largest = max(a.max().item(), b.max().item(), 1.0)
    return (a + b) / 2 / largest


def noisy_labels(labels: Int[Tensor, " batch"], share: float, *, n_outputs: int, seed: int) -> Int[Tensor, " batch"]:
    """Labels of which a share, rounded to a whole number of them, is replaced by wrong ones.

    Args:
        labels: The right classes; they are left alone.
        share: From 0 to 1.
        n_outputs: Classes; a wrong one is drawn evenly from all but the right one.
        seed: Of the draw.

    Raises:
        ValueError: If there is no wrong class.

    Examples:
        >>> noisy_labels(torch.zeros(8, dtype=torch.long), 0.5, n_outputs=3, seed=0).bool().sum().item()
        4
    """
    if n_outputs < 2:
        msg = f"label noise needs a wrong class to draw, got n_outputs={n_outputs}."
        raise ValueError(msg)
    generator = torch.Generator().manual_seed(seed + _NOISE_STREAM)
    replaced = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    further = torch.randint(1, n_outputs, replaced.shape, generator=generator)
    noisy = labels.clone()
    noisy[replaced] = (labels[replaced] + further.to(labels)) % n_outputs
    return noisy
