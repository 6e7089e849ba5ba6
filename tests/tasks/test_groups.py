import itertools
import math

import pytest
import torch

from grokinterp.tasks.groups import Group, alternating, cyclic, dihedral, product, symmetric, units


GROUPS = [
    *(cyclic(n) for n in (1, 2, 6, 7)),
    *(units(n) for n in (2, 7, 8, 9)),
    *(dihedral(n) for n in (1, 2, 3, 4)),
    *(symmetric(n) for n in (1, 3, 4)),
    alternating(4),
    product(cyclic(2), symmetric(3)),
]


def permutation_matrix(x: tuple[int, ...]) -> torch.Tensor:
    """The matrix that sends the i-th unit vector to the x[i]-th."""
    return torch.eye(len(x), dtype=torch.int64)[:, torch.tensor(x)]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_identity_and_inverses_are_those_of_the_table(group):
    e = group.identity
    for x, inverse in enumerate(group.inverses.tolist()):
        assert group.table[e, x] == group.table[x, e] == x
        assert group.table[x, inverse] == group.table[inverse, x] == e


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_cyclic_adds_modulo_n(n):
    assert cyclic(n).table.tolist() == [[(i + j) % n for j in range(n)] for i in range(n)]
    assert cyclic(n).logarithm.tolist() == list(range(n))


@pytest.mark.parametrize("n", [2, 3, 7, 8, 9, 10, 12])
def test_units_multiply_modulo_n(n):
    group = units(n)
    assert list(group.labels) == [x for x in range(1, n) if math.gcd(x, n) == 1]
    for (i, x), (j, y) in itertools.product(enumerate(group.labels), repeat=2):
        assert group.labels[group.table[i, j]] == x * y % n


@pytest.mark.parametrize("n", [3, 5, 7, 11, 13, 113, 4, 9, 14])
def test_discrete_logarithms_are_exponents_of_one_generator(n):
    group = units(n)
    assert group.logarithm is not None
    (generator,) = (x for x, log in zip(group.labels, group.logarithm.tolist(), strict=True) if log == 1 % group.order)
    assert [generator**log % n for log in group.logarithm.tolist()] == list(group.labels)
    assert sorted(group.logarithm.tolist()) == list(range(group.order))


@pytest.mark.parametrize("n", [8, 12, 15])
def test_units_that_are_not_cyclic_have_no_logarithm(n):
    assert units(n).logarithm is None


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_dihedral_has_its_relations(n):
    group = dihedral(n)
    at = {label: i for i, label in enumerate(group.labels)}
    turn, flip, e = at[1 % n, 0], at[0, 1], group.identity
    assert group.order == 2 * n
    power = e
    orders = []
    for exponent in range(1, n + 1):
        power = int(group.table[power, turn])
        orders.append((exponent, power == e))
    assert [exponent for exponent, is_identity in orders if is_identity] == [n]
    assert group.table[flip, flip] == e
    conjugate = group.table[group.table[flip, turn], flip]
    assert conjugate == group.inverses[turn]
    assert group.is_abelian == (n <= 2)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_symmetric_multiplies_as_permutation_matrices_do(n):
    group = symmetric(n)
    assert group.order == math.factorial(n)
    assert list(group.labels) == sorted(group.labels)
    for (i, x), (j, y) in itertools.product(enumerate(group.labels), repeat=2):
        product_label = group.labels[group.table[i, j]]
        assert torch.equal(permutation_matrix(product_label), permutation_matrix(x) @ permutation_matrix(y))


@pytest.mark.parametrize(("n", "order"), [(3, 3), (4, 12), (5, 60)])
def test_alternating_holds_the_permutations_of_determinant_one(n, order):
    group = alternating(n)
    assert group.order == order
    assert all(torch.det(permutation_matrix(x).double()).round() == 1 for x in group.labels)


def test_a_product_multiplies_side_by_side():
    left, right = cyclic(3), symmetric(3)
    group = product(left, right)
    assert group.order == 18
    for i, j, k, m in itertools.product(range(3), range(6), range(3), range(6)):
        wanted = left.table[i, k] * 6 + right.table[j, m]
        assert group.table[i * 6 + j, k * 6 + m] == wanted
    assert group.labels[1 * 6 + 2] == (left.labels[1], right.labels[2])


SUBTRACTION = (torch.arange(5)[:, None] - torch.arange(5)[None, :]) % 5
# A loop: a Latin square with an identity that is not associative.
LOOP = torch.tensor([[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]])
ADDITION = cyclic(5).table


@pytest.mark.parametrize(
    ("table", "labels", "logarithm", "message"),
    [
        (ADDITION, range(4), None, "group G must have one label per element, got 4 for 5 elements"),
        (torch.zeros(5, 5, dtype=torch.int64), range(5), None, "of group G must be a Latin square"),
        (torch.arange(5).expand(5, 5), range(5), None, "of group G must be a Latin square"),
        (SUBTRACTION, range(5), None, "group G must have an identity element"),
        (SUBTRACTION.T, range(5), None, "group G must have an identity element"),
        (LOOP, range(5), None, "group G must be associative"),
        (
            ADDITION,
            range(5),
            torch.tensor([0, 1, 2, 4, 3]),
            r"logarithm\[a b\] = logarithm\[a\] \+ logarithm\[b\]",
        ),
        (
            ADDITION,
            range(5),
            torch.zeros(5, dtype=torch.int64),
            r"logarithm of group G must be a permutation of 0\.\.4",
        ),
    ],
    ids=["labels", "constant", "columns", "right identity", "left identity", "loop", "logarithm", "constant logarithm"],
)
def test_what_is_no_group_is_refused(table, labels, logarithm, message):
    with pytest.raises(ValueError, match=message):
        Group(name="G", table=table, labels=tuple(labels), logarithm=logarithm)


@pytest.mark.parametrize(
    ("make", "n", "message"),
    [
        (cyclic, 0, "n must be an integer of at least 1, got 0"),
        (units, 1, "n must be an integer of at least 2, got 1"),
        (dihedral, 0, "n must be an integer of at least 1, got 0"),
    ],
)
def test_an_order_without_a_group_is_refused(make, n, message):
    with pytest.raises(ValueError, match=message):
        make(n)
