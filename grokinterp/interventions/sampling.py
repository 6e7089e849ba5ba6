"""Random choices for null controls: distinct, and exhaustive where there are few."""

import itertools
import math
from collections.abc import Sequence

import numpy as np


def subsets(pool: Sequence[int], size: int, draws: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Different subsets of one size, at random; each of them once where there are no more than `draws`.

    A subset that is drawn twice would count twice in a permutation test, and make its p smaller than it can be.

    Examples:
        >>> subsets([2, 5, 6], 2, 20, np.random.default_rng(0))
        [(2, 5), (2, 6), (5, 6)]
    """
    if math.comb(len(pool), size) <= draws:
        return list(itertools.combinations(pool, size))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < draws:
        chosen = rng.choice(len(pool), size, replace=False)
        found.setdefault(tuple(pool[i] for i in sorted(chosen.tolist())))
    return list(found)


def ordered_pairs(pool: Sequence[int], draws: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Different ordered pairs of different members, at random; each of them once where there are no more than `draws`.

    Examples:
        >>> ordered_pairs([2, 5], 20, np.random.default_rng(0))
        [(2, 5), (5, 2)]
    """
    every = list(itertools.permutations(pool, 2))
    if len(every) <= draws:
        return every
    return [every[i] for i in rng.choice(len(every), draws, replace=False)]
