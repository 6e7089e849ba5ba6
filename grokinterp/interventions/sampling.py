"""Random sampling for null controls: without repetition, and exhaustive if there are few possibilities."""

import itertools
import math
from collections.abc import Sequence

import numpy as np


def disjoint(
    pool: Sequence[int], own: Sequence[int], draws: int, rng: np.random.Generator, what: str
) -> list[tuple[int, ...]]:
    """Random subsets of a pool, of the same size as a component and without its elements.

    Raises:
        ValueError: If too few elements are left; `what` names them in the error.
    """
    excluded = set(own)
    left = [i for i in pool if i not in excluded]
    if len(left) < len(own):
        msg = f"a control requires {len(own)} other {what}, got {len(left)}; choose fewer."
        raise ValueError(msg)
    return subsets(left, len(own), draws, rng)


def subsets(pool: Sequence[int], size: int, draws: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Distinct random subsets of one size; all of them if there are at most `draws`.

    A repeated subset would count twice in a permutation test and make its p too small.

    Examples:
        >>> subsets([2, 5, 6], 2, 20, np.random.default_rng(0))
        [(2, 5), (2, 6), (5, 6)]
    """
    if math.comb(len(pool), size) <= draws:
        return list(itertools.combinations(pool, size))
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < draws:
        chosen = rng.choice(len(pool), size, replace=False)
        drawn.setdefault(tuple(pool[i] for i in sorted(chosen.tolist())))
    return list(drawn)


def ordered_pairs(pool: Sequence[int], draws: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Distinct random ordered pairs of different elements; all of them if there are at most `draws`.

    Examples:
        >>> ordered_pairs([2, 5], 20, np.random.default_rng(0))
        [(2, 5), (5, 2)]
    """
    pairs = list(itertools.permutations(pool, 2))
    return pairs if len(pairs) <= draws else [pairs[i] for i in rng.choice(len(pairs), draws, replace=False)]
