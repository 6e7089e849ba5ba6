"""What a run begins with: its task, its training pairs, and what is asked of them."""

from collections.abc import Callable

from jaxtyping import Bool, Float64, Int
from torch import Tensor

from grokinterp.config import RunConfig
from grokinterp.runs.layout import Layout
from grokinterp.runs.tensors import TrainingSet, read_task
from grokinterp.tasks import Task
from grokinterp.tasks.operations import as_task
from grokinterp.tasks.split import AnySplit, as_split
from grokinterp.training.aids import noisy_labels
from grokinterp.training.curricula import difficulty


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
    if config.aids.label_noise:
        answers[is_train] = noisy_labels(
            task.table[is_train], config.aids.label_noise, n_outputs=task.n_outputs, seed=config.seed
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
