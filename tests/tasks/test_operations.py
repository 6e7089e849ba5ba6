import dataclasses
import itertools
import re

import numpy as np
import pytest
import torch

from grokinterp.basis import task_basis
from grokinterp.tasks import OPERATIONS, Task, from_group, from_table, groups, multitask, operation
from grokinterp.tasks.groups import dihedral


ORACLES = {
    "addition": lambda a, b: a + b,
    "subtraction": lambda a, b: a - b,
    "multiplication": lambda a, b: a * b,
    "x2+y2": lambda a, b: a * a + b * b,
    "x2+xy+y2": lambda a, b: a * a + a * b + b * b,
    "x2+xy+y2+x": lambda a, b: a * a + a * b + b * b + a,
    "x3+xy": lambda a, b: a * a * a + a * b,
    "x3+xy+y2": lambda a, b: a * a * a + a * b + b * b,
    "x3+xy2+y": lambda a, b: a * a * a + a * b * b + b,
    "addition_or_subtraction": lambda a, b: a - b if a % 2 else a + b,
    "addition_or_multiplication": lambda a, b: a * b if a % 2 else a + b,
}
# On permutations of five things, as functions of their arguments: x y is x after y.
IN_S5 = {
    "s5": lambda x, y: [x[y[i]] for i in range(5)],
    "s5_conjugate": lambda x, y: [x[y[x.index(i)]] for i in range(5)],
    "s5_xyx": lambda x, y: [x[y[x[i]]] for i in range(5)],
}
WITHOUT_GROUP = {*ORACLES, *IN_S5, "division_or_subtraction", "random"} - {
    "addition", "subtraction", "multiplication", "s5",
}  # fmt: skip


def test_every_operation_has_an_oracle():
    assert set(OPERATIONS) == {*ORACLES, *IN_S5, "division", "division_or_subtraction", "random"}


@pytest.mark.parametrize("p", [2, 3, 6, 7])
@pytest.mark.parametrize("name", ORACLES)
def test_the_table_is_the_operation(name, p):
    task = operation(name, p)
    assert task.table.tolist() == [[ORACLES[name](a, b) % p for b in range(p)] for a in range(p)]
    assert task.name == f"{name} mod {p}"
    assert (task.n_outputs, task.n_tokens, task.d_vocab) == (p, p, p + 1)
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


@pytest.mark.parametrize("p", [2, 3, 4, 7, 8, 97])
def test_the_quotient_is_taken_where_the_divisor_is_odd(p):
    task = operation("division_or_subtraction", p)
    assert task.shape == (p, p)
    for (a, b), c in zip(itertools.product(range(p), repeat=2), task.table.flatten().tolist(), strict=True):
        if b % 2 == 0:
            assert c == (a - b) % p
        else:
            assert 0 <= c < p
            assert c * b % p == a


@pytest.mark.parametrize("p", [6, 9, 15])
def test_an_odd_divisor_without_an_inverse_is_refused(p):
    with pytest.raises(ValueError, match=f"p must be prime or a power of 2 for division_or_sub.* got p={p}; use"):
        operation("division_or_subtraction", p)


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_S5)
def test_the_table_is_the_operation_on_permutations(name):
    elements = [list(x) for x in itertools.permutations(range(5))]
    task = operation(name, 97)
    assert (task.n_outputs, task.n_tokens, task.shape) == (120, 120, (120, 120))
    wanted = [[elements.index(IN_S5[name](x, y)) for y in elements] for x in elements[::7]]
    assert task.table[::7].tolist() == wanted


@pytest.mark.slow
def test_operations_in_s5_do_not_read_the_modulus():
    names = {name: operation(name, 2).name for name in IN_S5}
    assert names == {"s5": "product in S_5", "s5_conjugate": "x y x^-1 in S_5", "s5_xyx": "x y x in S_5"}
    assert all(torch.equal(operation(name, 2).table, operation(name, 113).table) for name in IN_S5)
    assert operation("s5", 97).require_group()[0].name == "S_5"


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


@pytest.mark.parametrize("name", sorted(WITHOUT_GROUP))
def test_an_operation_that_is_no_group_s_refuses_the_analyses_of_groups(name):
    with pytest.raises(ValueError, match=r"this analysis requires a group operation, got .*, which has no group; "):
        operation(name, 7).require_group()


def test_multiplication_modulo_a_composite_has_no_group():
    task = operation("multiplication", 6)
    assert task.group is None
    with pytest.raises(ValueError, match="this analysis requires a group operation, got 'multiplication mod 6'"):
        task.require_group()


@pytest.mark.parametrize(
    ("name", "p", "message"),
    [
        ("addition", 1, "p must be an integer of at least 2, got 1"),
        ("power", 7, "operation must be one of addition, .*, random, got 'power'"),
    ],
)
def test_an_operation_that_is_not_defined_is_refused(name, p, message):
    # In these tests the annotation would refuse the name first; users have the unwrapped function.
    plain = getattr(operation, "__wrapped__", operation)
    with pytest.raises(ValueError, match=message):
        plain(name, p)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        *[("add", "addition"), ("sub", "subtraction"), ("subtract", "subtraction"), ("mult", "multiplication")],
        *[("multiply", "multiplication"), ("mul", "multiplication"), ("div", "division"), ("divide", "division")],
        *[("+", "addition"), ("-", "subtraction"), ("*", "multiplication"), ("/", "division")],
        *[("+-", "addition_or_subtraction"), ("+*", "addition_or_multiplication"), ("x^2+y^2", "x2+y2")],
        *[("x**3+x*y**2+y", "x3+xy2+y"), ("x^3+xy+y^2", "x3+xy+y2"), ("S_5", "s5"), ("s5conj", "s5_conjugate")],
        *[("s5aba", "s5_xyx"), ("composition", "s5"), ("random_labels", "random")],
    ],
)
def test_another_project_s_name_leads_to_ours(theirs: str, ours: str, unchecked: None) -> None:
    message = f"operation must be one of addition, .* got {theirs!r}; did you mean {ours!r}?"
    with pytest.raises(ValueError, match=".*".join(map(re.escape, message.split(".*")))):
        operation(theirs, 7)


def test_a_name_like_none_of_ours_is_refused_without_a_guess(unchecked: None) -> None:
    with pytest.raises(ValueError, match=r", random, got 'gcd'\.$"):
        operation("gcd", 7)


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


def relabeled(table: torch.Tensor) -> torch.Tensor:
    """The same operation on other names of its elements."""
    new = torch.randperm(len(table), generator=torch.Generator().manual_seed(1))
    old = new.argsort()
    return new[table[old][:, old]]


x = torch.arange(7)
s3 = groups.symmetric(3)
OF_GROUPS = {
    "sum": (operation("addition", 12).table, "Z_12", 12),
    "difference": (operation("subtraction", 12).table, "Z_12", 12),
    "shifted sum": ((x[:, None] + x + 3) % 7, "Z_7", 7),
    "product modulo a prime": (operation("multiplication", 13).table, "Z_12", 12),
    "relabeled sum": (relabeled(groups.cyclic(15).table), "Z_15", 15),
    "relabeled difference": (relabeled(operation("subtraction", 9).table), "Z_9", 9),
    "S_4": (relabeled(groups.symmetric(4).table), "non-abelian group of order 24", 24),
    "quotient in S_3": (s3.table[:, s3.inverses], "non-abelian group of order 6", 6),
    "Klein's group": (groups.product(groups.cyclic(2), groups.cyclic(2)).table, "abelian group of order 4", 4),
}


@pytest.mark.parametrize(("table", "name", "order"), OF_GROUPS.values(), ids=OF_GROUPS)
def test_the_group_of_a_table_is_found_and_has_its_basis(table, name, order):
    task = from_table(table, name="custom")
    group, elements = task.require_group()
    assert (group.name, group.order) == (name, order)
    assert (group.logarithm is not None) == name.startswith("Z_")
    basis = task_basis(task)
    assert basis.matrix.shape == (len(table), len(table))
    # A character of the product is one of a and one of b: the plane of a block is kept by multiplication.
    if group.logarithm is not None and len(elements) == len(table):
        wave = torch.cos(2 * torch.pi * group.logarithm / order)
        inverse = group.logarithm if torch.equal(task.table, group.table) else -group.logarithm
        angle = 2 * torch.pi * (group.logarithm[:, None] + inverse) / order
        assert torch.allclose(wave[task.table], torch.cos(angle), atol=1e-5)


def test_a_table_of_known_residues_has_the_logarithm_of_its_operation():
    for name in ("addition", "multiplication"):
        known, found = operation(name, 13), from_table(operation(name, 13).table, name=name)
        assert torch.equal(found.group.logarithm, known.group.logarithm)
        assert torch.equal(task_basis(found).matrix, task_basis(known).matrix)


NO_GROUPS = {
    "multiplication modulo 6": operation("multiplication", 6).table,
    "2 a + 3 b": (2 * x[:, None] + 3 * x) % 7,
    "left quotient": s3.table[s3.inverses],
    "maximum": torch.maximum(x[:, None], x),
    "constant": torch.zeros(3, 3, dtype=torch.int64),
    "or": torch.tensor([[0, 1], [1, 1]]),
    "one pair": torch.tensor([[0]]),
    "random": operation("random", 9).table,
    "one column less": operation("division", 7).table,
}


@pytest.mark.parametrize("table", NO_GROUPS.values(), ids=NO_GROUPS)
def test_a_table_of_no_group_has_none_and_the_error_says_how_to_give_one(table):
    task = from_table(table, name="custom")
    assert task.group is None
    with pytest.raises(
        ValueError, match=r"'custom', which has no group; .* dataclasses\.replace\(task, group=gi\.Group"
    ):
        task.require_group()


GOOD_TABLES = [
    [[0, 1, 2], [2, 0, 5]],
    ((0, 1, 2), (2, 0, 5)),
    np.array([[0, 1, 2], [2, 0, 5]], dtype=np.uint8),
    torch.tensor([[0, 2], [1, 0], [2, 5]], dtype=torch.int16).T,
    [np.array([0, 1, 2]), torch.tensor([2, 0, 5])],
    [range(3), (2, np.int64(0), torch.tensor(5))],
]


@pytest.mark.parametrize("table", GOOD_TABLES, ids=str)
def test_a_table_is_lists_arrays_or_tensors_of_integers(table):
    task = from_table(table, name="custom")
    assert task.table.tolist() == [[0, 1, 2], [2, 0, 5]]
    assert task.table.dtype == torch.int64


BAD_TABLES = [
    torch.full((2, 2), 0.5),
    np.ones((2, 2)),
    [[0.0, 1.0]],
    torch.ones(2, 2, dtype=torch.bool),
    [[True, 1]],
    [[-1, 0]],
    np.array([[2**64 - 1]], dtype=np.uint64),
    [],
    [[]],
    torch.zeros(0, 3, dtype=torch.int64),
    [0, 1, 2],
    torch.arange(3),
    torch.zeros(2, 2, 2, dtype=torch.int64),
    [[1, 2], [3]],
    [[1, None]],
    "text",
    None,
    5,
    torch.zeros(2, 2, dtype=torch.int64, device="meta"),
]


@pytest.mark.parametrize("table", BAD_TABLES, ids=str)
def test_a_table_of_anything_else_is_refused_in_one_line(table):
    with pytest.raises(ValueError, match=r"table must be a rectangle of integers from 0, .*, got ") as refused:
        from_table(table, name="custom")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_outputs": 2}, r"every answer of T must be in 0\.\.1, got 0\.\.2; raise n_outputs"),
        ({"table": torch.tensor([[0, -1], [1, 2]])}, r"every answer of T must be in 0\.\.2, got -1\.\.2"),
        ({"group": dihedral(1)}, "T must have both a group and its elements, or neither"),
        ({"elements": torch.arange(2)}, "T must have both a group and its elements, or neither"),
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
    with pytest.raises(ValueError, match="must be the product or quotient in its group Z_5"):
        dataclasses.replace(good, table=table)


@pytest.mark.parametrize(
    ("elements", "n_outputs"), [([0, 1, 2, 3], 5), ([0, 1, 2, 3, 3], 5), ([0, 1, 2, 3, 7], 5), ([0, 1, 2, 3, 4], 6)]
)
def test_elements_that_are_not_tokens_and_answers_are_refused(elements: list[int], n_outputs: int) -> None:
    good = operation("addition", 5)
    with pytest.raises(
        ValueError, match="each of the 5 group elements of addition mod 5 must be a token and an output class"
    ):
        dataclasses.replace(good, elements=torch.tensor(elements), n_outputs=n_outputs)


def test_a_group_of_one_element_has_no_frequencies() -> None:
    with pytest.raises(ValueError, match="requires a group with frequencies, got 'division mod 2'"):
        operation("division", 2).require_group()


def test_the_rows_of_several_operations_are_those_of_each() -> None:
    names = ("division", "addition", "random")
    task = multitask(names, 5, seed=3)
    for i, name in enumerate(names):
        alone = operation(name, 5, seed=3)
        for a in range(5):
            for b in range(1, 5):
                answer = alone.table[a, alone.b_tokens.tolist().index(b)]
                assert task.table[5 * i + a, task.b_tokens.tolist().index(b)] == answer
    assert (task.name, task.n_outputs, task.n_tokens) == ("division, addition, random mod 5", 5, 20)


def test_operator_and_first_operand_are_one_token_of_their_own() -> None:
    task = multitask(("addition", "subtraction"), 5)
    assert task.a_tokens.tolist() == list(range(5, 15))
    assert task.b_tokens.tolist() == list(range(5))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("addition",), r"names must be two or more different operations of addition, .*, random, got \['addition'\]"),
        (("addition", "addition"), r"two or more different operations of .* got \['addition', 'addition'\]"),
        (("addition", "s5"), r"two or more different operations of .*, got \['addition', 's5'\]"),
        (("addition", "mult"), r"names must be one of addition, .*, got 'mult'; did you mean 'multiplication'\?"),
    ],
)
def test_operations_that_make_no_task_are_refused(names: tuple[str, ...], message: str, unchecked: None) -> None:
    with pytest.raises(ValueError, match=message):
        multitask(names, 120)


def test_analyses_of_groups_refuse_several_operations() -> None:
    with pytest.raises(ValueError, match="got 'addition, subtraction mod 5', which has no group"):
        multitask(("addition", "subtraction"), 5).require_group()
