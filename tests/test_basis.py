import math

import pytest
import torch
from torch.testing import assert_close

from grokinterp.basis import (
    Basis,
    coefficients,
    exclude,
    fourier_basis,
    frequencies,
    fve,
    group_basis,
    irrep_basis,
    power,
    project,
    task_basis,
)
from grokinterp.tasks import from_group, operation
from grokinterp.tasks.groups import alternating, cyclic, dihedral, product, symmetric, units


SIZES = [*range(1, 41), 59, 97, 112, 113]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(
    ("n", "wanted"), [(1, ()), (2, (1,)), (3, (1,)), (4, (1, 2)), (7, (1, 2, 3)), (8, (1, 2, 3, 4))]
)
def test_frequencies_go_up_to_the_top_one(n, wanted):
    assert frequencies(n) == wanted


def test_the_top_frequency_of_the_paper_s_modulus_is_there():
    assert frequencies(113)[-1] == 56 == (113 - 1) // 2
    assert frequencies(112)[-1] == 56 == 112 // 2
    assert fourier_basis(113).names[-2:] == ("cos 56", "sin 56")
    assert fourier_basis(112).names[-2:] == ("sin 55", "cos 56")


@pytest.mark.parametrize("n", SIZES)
def test_the_fourier_basis_is_orthonormal_and_complete(n):
    matrix = fourier_basis(n).matrix
    assert matrix.shape == (n, n)
    assert_close(matrix @ matrix.T, torch.eye(n, dtype=torch.float64), atol=1e-13, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 113])
def test_rows_are_the_waves_of_their_names(n):
    basis = fourier_basis(n)
    wave = {"cos": math.cos, "sin": math.sin}
    for row, block, name in zip(basis.matrix, basis.block.tolist(), basis.names, strict=True):
        kind, k = (*name.split(), "0")[:2]
        assert block == int(k)
        values = [1.0 if kind == "const" else wave[kind](2 * math.pi * int(k) * x / n) for x in range(n)]
        wanted = torch.tensor(values, dtype=torch.float64)
        assert_close(row, wanted / wanted.norm(), atol=1e-12, rtol=0)
    assert basis.block_names == {0: "const"} | {k: f"k={k}" for k in frequencies(n)}


def test_the_alternating_row_of_an_even_n_is_alone_in_its_block():
    basis = fourier_basis(6)
    assert basis.block.bincount().tolist() == [1, 2, 2, 1]
    assert_close(basis.rows([3])[0] * math.sqrt(6), torch.tensor([1.0, -1, 1, -1, 1, -1], dtype=torch.float64))


@pytest.mark.parametrize("n", [2, 5, 8, 11, 30])
def test_the_irreps_of_a_cyclic_group_are_the_frequencies_up_to_their_order(n):
    fourier, irreps = fourier_basis(n), irrep_basis(cyclic(n))
    planes = {k: fourier.rows([k]).T @ fourier.rows([k]) for k in (0, *fourier.blocks)}
    matches = {}
    for block in (0, *irreps.blocks):
        plane = irreps.rows([block]).T @ irreps.rows([block])
        (matches[block],) = (k for k, other in planes.items() if torch.allclose(plane, other, atol=1e-9))
    assert matches[0] == 0
    assert sorted(matches.values()) == sorted(planes)


@pytest.mark.parametrize(
    "group", [symmetric(4), dihedral(5), alternating(4), product(cyclic(2), cyclic(2))], ids=lambda group: group.name
)
def test_the_irrep_basis_is_invariant_under_the_group(group):
    basis = irrep_basis(group)
    assert basis.matrix.shape == (group.order, group.order)
    x = normal(group.order)
    for g in range(group.order):
        assert_close(power(x[group.table[g]], basis), power(x, basis), atol=1e-9, rtol=0)


def test_a_cyclic_group_has_the_fourier_basis_over_its_logarithm():
    group = units(11)
    basis, fourier = group_basis(group), fourier_basis(10)
    assert torch.equal(basis.matrix, fourier.matrix[:, group.logarithm])
    assert basis.names == fourier.names
    assert group_basis(dihedral(3)).names == irrep_basis(dihedral(3)).names


@pytest.mark.parametrize("p", [3, 5, 13])
def test_the_basis_of_multiplication_has_waves_in_the_discrete_logarithm(p):
    basis = task_basis(operation("multiplication", p))
    root = next(g for g in range(1, p) if len({pow(g, j, p) for j in range(p - 1)}) == p - 1)
    exponent = {pow(root, j, p): j for j in range(p - 1)}
    assert basis.names[:2] == ("const", "0")
    assert_close(basis.matrix[1], torch.eye(p, dtype=torch.float64)[0])
    for k in basis.blocks:
        for wave in (math.cos, math.sin):
            values = [wave(2 * math.pi * k * exponent[x] / (p - 1)) if x else 0.0 for x in range(p)]
            row = torch.tensor(values, dtype=torch.float64)
            assert_close(project(row, basis, [k]), row, atol=1e-12, rtol=0)
    assert basis.blocks == frequencies(p - 1)
    assert_close(basis.matrix @ basis.matrix.T, torch.eye(p, dtype=torch.float64), atol=1e-12, rtol=0)


def test_the_basis_of_division_over_its_b_tokens_leaves_the_zero_out():
    task = operation("division", 7)
    basis = task_basis(task, task.b_tokens)
    assert basis.matrix.shape == (6, 6)
    assert "0" not in basis.names
    assert_close(basis.matrix, task_basis(task).matrix[[0, *range(2, 7)]][:, 1:])


def test_a_basis_follows_the_order_of_its_tokens():
    task = operation("multiplication", 7)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    assert_close(task_basis(task, order).matrix, task_basis(task).matrix[:, order])


def test_a_basis_of_tasks_without_what_it_needs_is_refused():
    with pytest.raises(ValueError, match=r"needs every group element among the tokens, but \[0, 6\]"):
        task_basis(operation("addition", 7), torch.arange(1, 6))
    with pytest.raises(ValueError, match="requires a group operation, got 'random mod 7'"):
        task_basis(operation("random", 7))


def test_the_basis_of_addition_is_that_of_its_residues():
    for name in ("addition", "subtraction"):
        assert torch.equal(task_basis(operation(name, 12)).matrix, fourier_basis(12).matrix)
    group = dihedral(3)
    assert_close(task_basis(from_group(group)).matrix, irrep_basis(group).matrix)


@pytest.mark.parametrize("p", [7, 8])
def test_projected_product_means_are_the_paper_s_projection_over_all_pairs(p):
    """The paper: P_k L = c_k (c_k . L) + s_k (s_k . L) with unit vectors cos and sin of w_k (a+b) over the pairs."""
    logits = normal(p, p, p, seed=1)
    a, b = torch.meshgrid(torch.arange(p), torch.arange(p), indexing="ij")
    keys = (1, p // 2)
    wanted = torch.zeros_like(logits)
    for k in keys:
        for wave in (torch.cos, torch.sin):
            direction = wave(2 * math.pi * k * (a + b).double() / p)
            if direction.norm() > 1e-9:  # at k = p/2 there is no sine
                direction = direction / direction.norm()
                wanted += direction[..., None] * torch.einsum("ab,abc->c", direction, logits)
    sums = (a + b) % p
    means = torch.stack([logits[sums == s].mean(dim=0) for s in range(p)])
    found = project(means.T, fourier_basis(p), keys).T[sums]
    assert_close(found, wanted, atol=1e-12, rtol=0)
    assert wanted.norm() > 1


def test_float32_is_projected_in_float64():
    x, basis = normal(3, 113, dtype=torch.float32), fourier_basis(113)
    for result in (coefficients(x, basis), project(x, basis, [5]), exclude(x, basis, [5]), power(x, basis)):
        assert result.dtype == torch.float64
    assert_close(power(x, basis).sum(dim=-1), x.double().square().sum(dim=-1), atol=1e-12, rtol=1e-14)


def test_the_power_of_a_wave_is_in_its_block():
    x = 3.0 * torch.cos(2 * math.pi * 4 * torch.arange(9, dtype=torch.float64) / 9 + 0.7) + 2.0
    wanted = torch.tensor([9 * 4.0, 0, 0, 0, 9 * 4.5], dtype=torch.float64)
    assert_close(power(x, fourier_basis(9)), wanted, atol=1e-12, rtol=0)
    assert_close(fve(x, fourier_basis(9)), torch.tensor([0, 0, 0, 1.0], dtype=torch.float64), atol=1e-12, rtol=0)


def test_fve_of_what_does_not_vary_is_zero():
    x = torch.stack([torch.zeros(5), torch.arange(5.0)])
    shares = fve(x, fourier_basis(5))
    assert shares[0].tolist() == [0.0, 0.0]
    assert_close(shares[1].sum(), torch.tensor(1.0, dtype=torch.float64))


def test_no_blocks_project_to_nothing():
    x = normal(4, 7)
    assert_close(project(x, fourier_basis(7), []), torch.zeros_like(x))
    assert_close(exclude(x, fourier_basis(7), ()), x)


def test_rows_are_those_of_the_blocks_in_order_and_once():
    basis = fourier_basis(9)
    assert torch.equal(basis.rows([3, 1, 3]), basis.matrix[[1, 2, 5, 6]])
    assert basis.check((3, 1, 3)) == [1, 3]
    assert basis.blocks == (1, 2, 3, 4)


@pytest.mark.parametrize("blocks", [[5], [1, 5, -1]])
def test_blocks_that_the_basis_lacks_are_refused(blocks):
    with pytest.raises(ValueError, match=r"keys must be blocks of the task's basis, 1\.\.4, got \[.*5\]"):
        project(normal(9), fourier_basis(9), blocks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix": 1.001 * torch.eye(2, dtype=torch.float64)}, "the 2 rows of a basis must be orthonormal"),
        ({"matrix": torch.ones(2, 2, dtype=torch.float64) / 2**0.5}, "the 2 rows of a basis must be orthonormal"),
        ({"names": ("x",)}, "a basis of 2 rows needs 2 names and a name per block, got 1 names"),
        ({"block_names": {0: "const"}}, "a basis of 2 rows needs 2 names and a name per block"),
        ({"block_names": {0: "const", 1: "k=1", 2: "k=2"}}, "a basis of 2 rows needs 2 names and a name per block"),
    ],
)
def test_a_matrix_that_is_no_basis_is_refused(change, message):
    good = {
        "matrix": torch.eye(2, dtype=torch.float64),
        "block": torch.tensor([0, 1]),
        "names": ("x", "y"),
        "block_names": {0: "const", 1: "k=1"},
    }
    Basis(**good)
    with pytest.raises(ValueError, match=message):
        Basis(**(good | change))
