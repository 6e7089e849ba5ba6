import hashlib
import random

import numpy as np
import pytest
import torch

from grokinterp.tasks import all_pairs, operation, paper_split, uniform_split
from grokinterp.tasks.split import as_split


BOTH = pytest.mark.parametrize("draw", [uniform_split, paper_split])


def test_all_pairs_have_a_as_the_slow_index():
    task = operation("division", 5)
    a, b = all_pairs(task)
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == [(x, y) for x in range(5) for y in range(1, 5)]
    assert torch.equal(task.table.flatten() * b % 5, a)


@pytest.mark.parametrize(
    ("seed", "total", "digest", "first"),
    [
        (0, 24672933, "d3d9a8ada3891dfb", [(18, 34), (10, 83), (55, 28), (25, 51), (63, 65)]),
        (1, 24321622, "d626a29aa706024e", [(58, 58), (76, 57), (60, 23)]),
    ],
)
def test_the_paper_split_has_the_check_values_of_the_original_code(seed, total, digest, first):
    is_train = paper_split(operation("addition", 113), 0.3, seed=seed)
    indices = is_train.flatten().nonzero().flatten()
    assert (int(is_train.sum()), int((~is_train).sum())) == (3830, 8939)
    assert int(indices.sum()) == total
    assert hashlib.sha256(indices.numpy().astype("<i4").tobytes()).hexdigest()[:16] == digest
    assert all(is_train[pair] for pair in first)
    if seed == 0:
        assert not is_train[50, 67]


def test_the_paper_split_is_the_shuffle_of_its_code():
    p, fraction, seed = 7, 0.4, 3
    pairs = [(i, j, p) for i in range(p) for j in range(p)]
    random.Random(seed).shuffle(pairs)
    train = {(i, j) for i, j, _ in pairs[: int(fraction * len(pairs))]}
    found = paper_split(operation("addition", p), fraction, seed=seed).nonzero().tolist()
    assert {tuple(pair) for pair in found} == train


def test_the_uniform_split_is_the_first_part_of_a_permutation():
    task = operation("addition", 113)
    order = torch.randperm(113 * 113, generator=torch.Generator().manual_seed(598))
    found = uniform_split(task, 0.3, seed=598).flatten().nonzero().flatten()
    assert found.tolist() == sorted(order[:3830].tolist())


@BOTH
def test_a_split_follows_its_seed_and_has_the_task_s_shape(draw):
    task = operation("division", 11)
    first, again, other = (draw(task, 0.5, seed=seed) for seed in (0, 0, 1))
    assert first.shape == (11, 10)
    assert int(first.sum()) == 55
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@BOTH
def test_a_split_leaves_the_global_random_states_alone(draw, monkeypatch):
    def refuse(*_):
        pytest.fail("the global state of Python's random was used")

    # Comparing Python's state would not do: beartype draws from it.
    monkeypatch.setattr(random, "seed", refuse)
    monkeypatch.setattr(random, "shuffle", refuse)
    before = torch.get_rng_state()
    is_train = draw(operation("addition", 7), 0.5, seed=0)
    assert is_train.sum() == 24
    assert torch.equal(torch.get_rng_state(), before)


@BOTH
@pytest.mark.parametrize(
    ("fraction", "message"),
    [
        (0.0, "fraction must be a number above 0 and below 1, got 0.0"),
        (1.0, "fraction must be a number above 0 and below 1, got 1.0"),
        (-0.5, "fraction must be a number above 0 and below 1, got -0.5"),
        (float("nan"), "fraction must be a number above 0 and below 1, got nan"),
        (0.01, "fraction=0.01 of 9 pairs leaves the train split empty"),
    ],
)
def test_a_fraction_without_two_parts_is_refused(draw, fraction, message):
    with pytest.raises(ValueError, match=message):
        draw(operation("addition", 3), fraction, seed=0)


@pytest.mark.parametrize("spelled", [lambda x: x, torch.Tensor.numpy, torch.Tensor.tolist, lambda x: list(x.numpy())])
def test_a_split_is_read_from_tensors_arrays_and_lists(spelled):
    is_train = torch.eye(3, dtype=torch.bool)
    assert torch.equal(as_split(spelled(is_train), operation("addition", 3)), is_train)


@pytest.mark.parametrize(
    ("is_train", "message"),
    [
        (torch.eye(3), r"True or False at each of the task's \(3, 3\) pairs, got \(3, 3\) of torch.float32"),
        (np.eye(3, dtype=int), r"got \(3, 3\) of torch.int64"),
        (torch.eye(4, dtype=torch.bool), r"got \(4, 4\) of torch.bool"),
        ([[True], [True, False]], r"got \[\[True\], \[True, False\]\]"),
        ("train", "got 'train'"),
        (0.3, r"got \(\) of torch.float64"),
        (np.ones((3, 3), dtype=bool), "leaves the test split empty"),
        ([[False] * 3] * 3, "leaves the train split empty"),
    ],
)
def test_what_is_no_split_of_the_task_is_refused(is_train, message):
    with pytest.raises(ValueError, match=message):
        as_split(is_train, operation("addition", 3))
