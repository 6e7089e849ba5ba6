"""Random choices for null controls: distinct, exhaustive if there are few, and uniform."""

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grokinterp.interventions import sampling


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 30), st.integers(0, 5))
def test_subsets_are_different_and_all_of_them_where_they_are_few(n, size, most, seed):
    pool = list(range(10, 10 + n))
    if size > n:
        return
    found = sampling.subsets(pool, size, most, np.random.default_rng(seed))
    assert len(found) == len(set(found)) == min(most, math.comb(n, size))
    assert set(found) <= set(itertools.combinations(pool, size))


@given(st.integers(0, 6), st.integers(1, 30), st.integers(0, 5))
def test_ordered_pairs_are_different_and_all_of_them_where_they_are_few(n, most, seed):
    pool = list(range(10, 10 + n))
    found = sampling.ordered_pairs(pool, most, np.random.default_rng(seed))
    assert len(found) == len(set(found)) == min(most, n * (n - 1))
    assert set(found) <= set(itertools.permutations(pool, 2))


def test_every_subset_is_as_likely_as_any_other():
    rng = np.random.default_rng(0)
    times = dict.fromkeys(itertools.combinations(range(5), 2), 0)
    for _ in range(2000):
        for subset in sampling.subsets(range(5), 2, 3, rng):
            times[subset] += 1
    assert all(abs(count - 600) < 100 for count in times.values())
