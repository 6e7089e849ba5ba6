import pytest
import torch
from torch.testing import assert_close

from grokinterp.tasks.groups import Group, alternating, cyclic, dihedral, product, symmetric
from grokinterp.tasks.irreps import real_irreps


def quaternions() -> Group:
    """Q_8 from its products: i j = k, j k = i, k i = j, and the squares are -1."""
    letters = {"11": 1, "1i": 2, "1j": 3, "1k": 4, "i1": 2, "j1": 3, "k1": 4, "ii": -1, "jj": -1, "kk": -1}
    letters |= {"ij": 4, "jk": 2, "ki": 3, "ji": -4, "kj": -2, "ik": -3}
    elements = [1, -1, 2, -2, 3, -3, 4, -4]

    def multiply(x: int, y: int) -> int:
        sign = (1 if x > 0 else -1) * (1 if y > 0 else -1)
        return sign * letters["1ijk"[abs(x) - 1] + "1ijk"[abs(y) - 1]]

    table = torch.tensor([[elements.index(multiply(x, y)) for y in elements] for x in elements])
    return Group(name="Q_8", table=table, labels=tuple(elements))


# The dimensions of the real irreps, and of the endomorphisms of each: 1 real, 2 complex, 4 quaternionic.
CASES = [
    (cyclic(1), [(1, 1)]),
    (cyclic(2), [(1, 1), (1, 1)]),
    (cyclic(5), [(1, 1), (2, 2), (2, 2)]),
    (cyclic(8), [(1, 1), (1, 1), (2, 2), (2, 2), (2, 2)]),
    (dihedral(3), [(1, 1), (1, 1), (2, 1)]),
    (dihedral(4), [(1, 1), (1, 1), (1, 1), (1, 1), (2, 1)]),
    (symmetric(4), [(1, 1), (1, 1), (2, 1), (3, 1), (3, 1)]),
    (alternating(4), [(1, 1), (2, 2), (3, 1)]),
    (alternating(5), [(1, 1), (3, 1), (3, 1), (4, 1), (5, 1)]),
    (quaternions(), [(1, 1), (1, 1), (1, 1), (1, 1), (4, 4)]),
    (product(cyclic(3), symmetric(3)), [(1, 1), (1, 1), (2, 1), (2, 2), (2, 2), (4, 2)]),
]
each_group = pytest.mark.parametrize(("group", "kinds"), CASES, ids=[group.name for group, _ in CASES])


@each_group
def test_irreps_have_their_number_dimensions_and_kinds(group, kinds):
    irreps = real_irreps(group)
    # The mean square of a real character is the dimension of its endomorphisms.
    found = [(irrep.dimension, round(irrep.character.square().mean().item())) for irrep in irreps]
    assert sorted(found) == sorted(kinds)
    assert [irrep.dimension for irrep in irreps] == [1, *sorted(irrep.dimension for irrep in irreps[1:])]


@each_group
def test_matrices_are_orthogonal_and_multiply_as_the_group_does(group, kinds):
    assert kinds
    for irrep in real_irreps(group):
        m = irrep.matrices
        identity = torch.eye(irrep.dimension, dtype=torch.float64).expand_as(m)
        assert_close(m @ m.mT, identity, atol=1e-9, rtol=0)
        assert_close(m[:, None] @ m[None, :], m[group.table], atol=1e-9, rtol=0)
        assert_close(irrep.character, m.diagonal(dim1=1, dim2=2).sum(dim=1), atol=1e-9, rtol=0)


@each_group
def test_functions_are_an_orthonormal_basis(group, kinds):
    functions = torch.cat([irrep.functions for irrep in real_irreps(group)])
    assert functions.shape == (group.order, group.order)
    assert sum(dimension**2 // kind for dimension, kind in kinds) == group.order
    assert_close(functions @ functions.T, torch.eye(group.order, dtype=torch.float64), atol=1e-9, rtol=0)


@each_group
def test_functions_span_the_matrix_entries(group, kinds):
    irreps = real_irreps(group)
    assert len(irreps) == len(kinds)
    for irrep in irreps:
        entries = irrep.matrices.reshape(group.order, -1).T
        projected = entries @ irrep.functions.T @ irrep.functions
        assert_close(projected, entries, atol=1e-9, rtol=0)
        assert torch.linalg.matrix_rank(entries) == len(irrep.functions)
        # Two-sided ideals: the span is closed under translation from either side.
        for translated in (irrep.functions[:, group.table[-1]], irrep.functions[:, group.table[:, -1]]):
            assert_close(translated @ irrep.functions.T @ irrep.functions, translated, atol=1e-9, rtol=0)


def test_the_trivial_irrep_comes_first_and_names_count_up():
    irreps = real_irreps(symmetric(4))
    assert [irrep.name for irrep in irreps] == ["1a", "1b", "2a", "3a", "3b"]
    assert_close(irreps[0].character, torch.ones(24, dtype=torch.float64), atol=1e-9, rtol=0)


def test_characters_of_s4_are_those_of_its_table():
    group = symmetric(4)
    # One permutation per cycle type: e, (01), (01)(23), (012), (0123).
    classes = [(0, 1, 2, 3), (1, 0, 2, 3), (1, 0, 3, 2), (1, 2, 0, 3), (1, 2, 3, 0)]
    at = [group.labels.index(x) for x in classes]
    found = {tuple(irrep.character[at].round().int().tolist()) for irrep in real_irreps(group)}
    assert found == {(1, 1, 1, 1, 1), (1, -1, 1, 1, -1), (2, 0, 2, -1, 0), (3, 1, -1, 0, -1), (3, -1, -1, 0, 1)}


def test_irreps_of_s5_have_the_dimensions_of_the_literature():
    irreps = real_irreps(symmetric(5))
    assert [irrep.dimension for irrep in irreps] == [1, 1, 4, 4, 5, 5, 6]
    assert [len(irrep.functions) for irrep in irreps] == [1, 1, 16, 16, 25, 25, 36]


def test_a_large_cyclic_group_has_every_frequency():
    irreps = real_irreps(cyclic(113))
    assert [irrep.dimension for irrep in irreps] == [1] + [2] * 56


def test_names_go_on_after_z():
    names = [irrep.name for irrep in real_irreps(cyclic(59))]
    assert names[1:27] == [f"2{chr(ord('a') + i)}" for i in range(26)]
    assert names[27:] == ["2aa", "2ab", "2ac"]


def test_the_same_group_gives_the_same_irreps():
    first, second = (real_irreps(dihedral(5)) for _ in range(2))
    assert all(torch.equal(x.matrices, y.matrices) for x, y in zip(first, second, strict=True))
