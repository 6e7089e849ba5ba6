"""All pairs in order, and which of them are trained on."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from grokinterp import arguments
from grokinterp.tasks.operations import Task


AnySplit = Bool[Tensor, "a b"] | Bool[np.ndarray, "a b"] | Sequence[Sequence[bool]]
"""True at the training pairs: a tensor, an array or nested lists."""


def as_split(is_train: object, task: Task) -> Bool[Tensor, "a b"]:
    """The training pairs of a task as a tensor: the reader of every split.

    Args:
        is_train: True at the pairs trained on and False at the others: a tensor, an array or nested lists.
        task: Whose pairs they are.

    Raises:
        ValueError: If it is not True or False at each pair of the task, or leaves a part empty.

    Examples:
        >>> from grokinterp.tasks.operations import operation
        >>> as_split([[True, False], [False, False]], operation("addition", 2))
        tensor([[ True, False],
                [False, False]])
    """
    try:
        found = is_train.cpu() if isinstance(is_train, Tensor) else torch.from_numpy(np.array(is_train))
        got = f"{tuple(found.shape)} of {found.dtype}"
    except (TypeError, ValueError):  # no array of numbers
        found, got = torch.empty(0), arguments.shown(is_train)
    # Numbers would pick rows, and not pairs.
    if found.shape != task.shape or found.dtype != torch.bool:
        msg = f"is_train must be True or False at each of the task's {task.shape} pairs, got {got}."
        raise ValueError(msg)
    if not 0 < found.sum() < found.numel():
        part = "test" if found.any() else "train"
        msg = f"is_train leaves the {part} part empty; choose some of the {found.numel()} pairs."
        raise ValueError(msg)
    return found


def all_pairs(task: Task) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """The tokens of every pair, a the slow index.

    Examples:
        >>> from grokinterp.tasks.operations import operation
        >>> [tokens[:4].tolist() for tokens in all_pairs(operation("addition", 3))]
        [[0, 0, 0, 1], [0, 1, 2, 0]]
    """
    a, b = torch.meshgrid(task.a_tokens, task.b_tokens, indexing="ij")
    return a.flatten(), b.flatten()


def uniform_split(task: Task, fraction: float, *, seed: int) -> Bool[Tensor, "a b"]:
    """A random part of the pairs, drawn with torch's generator.

    Args:
        task: Gives the shape.
        fraction: Of the pairs that are trained on, rounded down to a whole number of them.
        seed: Of a `torch.Generator`.

    Returns:
        True at the pairs trained on.

    Raises:
        ValueError: If the fraction is outside (0, 1) or leaves a part empty.

    Source:
        TransformerLens' Grokking_Demo draws its split this way with seed 598: the first
        `int(fraction * n)` of `torch.randperm(n)`.
    """
    n = task.table.numel()
    order = torch.randperm(n, generator=torch.Generator().manual_seed(arguments.seed(seed)))
    return _mask(task, order[: _n_train(task, fraction)])


def paper_split(task: Task, fraction: float, *, seed: int) -> Bool[Tensor, "a b"]:
    """The split of Nanda et al.: Python's shuffle of all pairs in order.

    Args:
        task: Gives the shape.
        fraction: Of the pairs that are trained on, rounded down to a whole number of them.
        seed: Of Python's `random.Random`.

    Returns:
        True at the pairs trained on.

    Raises:
        ValueError: If the fraction is outside (0, 1) or leaves a part empty.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, the code's `gen_train_test`: `random.seed(seed)`, then
        `random.shuffle` of the list of pairs. Their mainline run has p = 113, fraction 0.3, seed 0.
    """
    order = list(range(task.table.numel()))
    random.Random(arguments.seed(seed)).shuffle(order)
    return _mask(task, torch.tensor(order[: _n_train(task, fraction)]))


def _n_train(task: Task, fraction: float) -> int:
    fraction = arguments.number(fraction, "fraction", above=0, below=1)
    n = task.table.numel()
    n_train = int(fraction * n)
    if not 0 < n_train < n:
        part = "train" if n_train == 0 else "test"
        msg = f"fraction={fraction} of {n} pairs leaves the {part} part empty; choose one nearer to a half."
        raise ValueError(msg)
    return n_train


def _mask(task: Task, indices: Tensor) -> Bool[Tensor, "a b"]:
    is_train = torch.zeros(task.table.numel(), dtype=torch.bool)
    is_train[indices] = True
    return is_train.reshape(task.shape)
