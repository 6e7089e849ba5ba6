"""Train/test splits, and the tokens of all pairs."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from grokinterp import arguments
from grokinterp.tasks.operations import Task


AnySplit = Bool[Tensor, "a b"] | Bool[np.ndarray, "a b"] | Sequence[Sequence[bool]]
"""True at the training pairs."""


def as_split(is_train: object, task: Task) -> Bool[Tensor, "a b"]:
    """The training pairs of a task as a checked boolean tensor.

    Args:
        is_train: True at the training pairs, False at the test pairs: a tensor, an array or nested lists.
        task: The task.

    Raises:
        ValueError: If it is not one boolean per pair of the task, or if train or test has no pairs.

    Examples:
        >>> from grokinterp.tasks.operations import operation
        >>> as_split([[True, False], [False, False]], operation("addition", 2))
        tensor([[ True, False],
                [False, False]])
    """
    try:
        mask = is_train.cpu() if isinstance(is_train, Tensor) else torch.as_tensor(np.array(is_train))
        got = f"{tuple(mask.shape)} of {mask.dtype}"
    except (TypeError, ValueError):  # not an array of numbers
        mask, got = torch.empty(0), arguments.shown(is_train)
    # Integers would select rows instead of pairs.
    if mask.shape != task.shape or mask.dtype != torch.bool:
        msg = f"is_train must be True or False at each of the task's {task.shape} pairs, got {got}."
        raise ValueError(msg)
    if not 0 < mask.sum() < mask.numel():
        split = "test" if mask.any() else "train"
        msg = f"is_train leaves the {split} split empty; mark some but not all of the {mask.numel()} pairs."
        raise ValueError(msg)
    return mask


def all_pairs(task: Task) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """The a and b tokens of every pair; b varies fastest.

    Examples:
        >>> from grokinterp.tasks.operations import operation
        >>> [tokens[:4].tolist() for tokens in all_pairs(operation("addition", 3))]
        [[0, 0, 0, 1], [0, 1, 2, 0]]
    """
    a, b = torch.meshgrid(task.a_tokens, task.b_tokens, indexing="ij")
    return a.flatten(), b.flatten()


def uniform_split(task: Task, fraction: float, *, seed: int) -> Bool[Tensor, "a b"]:
    """A random split, drawn with torch's generator.

    Args:
        task: The task to split.
        fraction: Fraction of pairs in train, rounded down to a whole number of pairs.
        seed: Seed of the `torch.Generator`.

    Returns:
        True at the training pairs.

    Raises:
        ValueError: If the fraction is outside (0, 1), or train or test has no pairs.

    Source:
        TransformerLens' Grokking_Demo, with seed 598: the first `int(fraction * n)` of `torch.randperm(n)`.
    """
    n = task.table.numel()
    order = torch.randperm(n, generator=torch.Generator().manual_seed(arguments.seed(seed)))
    return _mask(task, order[: _n_train(task, fraction)])


def paper_split(task: Task, fraction: float, *, seed: int) -> Bool[Tensor, "a b"]:
    """The split of Nanda et al.: Python's shuffle of all pairs in order.

    Args:
        task: The task to split.
        fraction: Fraction of pairs in train, rounded down to a whole number of pairs.
        seed: Seed of Python's `random.Random`.

    Returns:
        True at the training pairs.

    Raises:
        ValueError: If the fraction is outside (0, 1), or train or test has no pairs.

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
        split = "train" if n_train == 0 else "test"
        msg = f"fraction={fraction} of {n} pairs leaves the {split} split empty; choose a fraction closer to 0.5."
        raise ValueError(msg)
    return n_train


def _mask(task: Task, indices: Tensor) -> Bool[Tensor, "a b"]:
    is_train = torch.zeros(task.table.numel(), dtype=torch.bool)
    is_train[indices] = True
    return is_train.reshape(task.shape)
