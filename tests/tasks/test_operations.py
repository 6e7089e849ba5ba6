import dataclasses

import pytest
import torch

from grokinterp.tasks import OPERATIONS, Task, from_group, from_table, operation
from grokinterp.tasks.groups import dihedral


ORACLES = {
    "addition": lambda a, b: a + b,
    "subtraction": lambda a, b: a - b,
    "multiplication": lambda a, b: a * b,
    "x2+y2": lambda a, b: a * a + b * b,
    "x2+xy+y2": lambda a, b: a * a + a * b + b * b,
    "x2+xy+y2+x": lambda a, b: a * a + a * b + b * b + a,
    "x3+xy": lambda a, b: a * a * a + a * b,
    "x3+xy2+y": lambda a, b: a * a * a + a * b * b + b,
}


def test_every_operation_has_an_oracle():
    assert set(OPERATIONS) == set(ORACLES) | {"division", "random"}


@pytest.mark.parametrize("p", [2, 3, 6, 7])
@pytest.mark.parametrize("name", ORACLES)
def test_the_table_is_the_operation(name, p):
    task = operation(name, p)
    assert task.table.tolist() == [[ORACLES[name](a, b) % p for b in range(p)] for a in range(p)]
    assert task.name == f"{name} mod {p}"
    assert (task.n_outputs, task.n_tokens, task.equals_token, task.d_vocab) == (p, p, p, p + 1)
    assert task.a_tokens.tolist() == task.b_tokens.tolist() == list(range(p))


@pytest.mark.parametrize("p", [2, 3, 7, 97])
def test_division_undoes_multiplication_and_leaves_zero_out(p):
    task = operation("division", p)
    assert task.shape == (p, p - 1)
    assert task.b_tokens.tolist() == list(range(1, p))
    assert torch.equal(task.table * task.b_tokens % p, task.a_tokens[:, None].expand(task.shape))


def test_division_needs_a_prime():
    with pytest.raises(ValueError, match="p must be prime for division, got p=9; use multiplication or a prime p"):
        operation("division", 9)


def test_random_answers_follow_the_seed():
    task, again, other = (operation("random", 23, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(task.table, again.table)
    assert not torch.equal(task.table, other.table)
    assert set(task.table.flatten().tolist()) == set(range(23))
    assert task.group is None


@pytest.mark.parametrize(
    ("name", "p", "sign"),
    [
        ("addition", 7, 1),
        ("addition", 6, 1),
        ("subtraction", 7, -1),
        ("subtraction", 6, -1),
        ("multiplication", 7, 1),
        ("division", 7, -1),
    ],
)
def test_the_table_is_the_product_or_quotient_in_the_group(name, p, sign):
    task = operation(name, p)
    group, elements = task.require_group()
    column = {token: j for j, token in enumerate(task.b_tokens.tolist())}
    for i, x in enumerate(elements.tolist()):
        for j, y in enumerate(elements.tolist()):
            right = j if sign == 1 else group.inverses[j]
            assert task.table[x, column[y]] == elements[group.table[i, right]]


def test_multiplication_modulo_a_composite_has_no_group():
    task = operation("multiplication", 6)
    assert task.group is None
    with pytest.raises(ValueError, match="needs a task that is a group's operation, got 'multiplication mod 6'"):
        task.require_group()


@pytest.mark.parametrize(
    ("name", "p", "message"),
    [
        ("addition", 1, "p must be at least 2, got p=1"),
        ("power", 7, "operation must be one of addition, .*, random, got 'power'"),
    ],
)
def test_an_operation_that_is_not_defined_is_refused(name, p, message):
    # In these tests the annotation would refuse the name first; users have the unwrapped function.
    plain = getattr(operation, "__wrapped__", operation)
    with pytest.raises(ValueError, match=message):
        plain(name, p)


def test_the_task_of_a_group_is_its_table():
    group = dihedral(4)
    task = from_group(group)
    assert torch.equal(task.table, group.table)
    assert task.name == "product in D_4"
    assert (task.n_outputs, task.n_tokens, task.d_vocab, task.shape) == (8, 8, 9, (8, 8))
    assert task.require_group()[0] is group


def test_a_task_from_a_table_reads_row_and_column_numbers():
    task = from_table(torch.tensor([[0, 1, 4], [1, 1, 2]]), name="custom")
    assert (task.n_outputs, task.n_tokens, task.shape) == (5, 3, (2, 3))
    assert (task.a_tokens.tolist(), task.b_tokens.tolist()) == ([0, 1], [0, 1, 2])
    assert task.group is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_outputs": 2}, r"every answer of T must be in 0\.\.1, got 0\.\.2; raise n_outputs"),
        ({"table": torch.tensor([[0, -1], [1, 2]])}, r"every answer of T must be in 0\.\.2, got -1\.\.2"),
        ({"group": dihedral(1)}, "T needs both a group and its elements, or neither"),
        ({"elements": torch.arange(2)}, "T needs both a group and its elements, or neither"),
        ({"n_tokens": 1}, r"every token of T must be in 0\.\.0, got 0\.\.1; raise n_tokens"),
    ],
)
def test_a_task_that_does_not_hang_together_is_refused(change, message):
    good = {
        "name": "T",
        "table": torch.tensor([[0, 1], [1, 2]]),
        "n_outputs": 3,
        "n_tokens": 2,
        "a_tokens": torch.arange(2),
        "b_tokens": torch.arange(2),
    }
    Task(**good)
    with pytest.raises(ValueError, match=message):
        Task(**(good | change))


def test_a_table_that_is_not_the_group_s_operation_is_refused() -> None:
    good = operation("addition", 5)
    table = good.table.clone()
    table[0, 1], table[0, 2] = 2, 1
    with pytest.raises(ValueError, match="must be the product or the quotient in its group Z_5"):
        dataclasses.replace(good, table=table)


@pytest.mark.parametrize(
    ("elements", "n_outputs"), [([0, 1, 2, 3], 5), ([0, 1, 2, 3, 3], 5), ([0, 1, 2, 3, 7], 5), ([0, 1, 2, 3, 4], 6)]
)
def test_elements_that_are_not_tokens_and_answers_are_refused(elements: list[int], n_outputs: int) -> None:
    good = operation("addition", 5)
    with pytest.raises(ValueError, match="needs a token for each of the 5 elements of its group"):
        dataclasses.replace(good, elements=torch.tensor(elements), n_outputs=n_outputs)


def test_a_group_of_one_element_has_no_frequencies() -> None:
    with pytest.raises(ValueError, match="needs a group with frequencies, got 'division mod 2'"):
        operation("division", 2).require_group()
