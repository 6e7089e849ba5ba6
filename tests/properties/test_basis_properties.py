"""What holds for every basis and every x: orthonormality, Parseval, project + exclude = identity, idempotence."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from grokinterp.basis import Basis, coefficients, exclude, fourier_basis, frequencies, fve, irrep_basis, power, project
from grokinterp.tasks.groups import alternating, cyclic, dihedral, product, symmetric, units


GROUPS = [symmetric(3), symmetric(4), dihedral(4), alternating(4), product(cyclic(3), dihedral(3)), units(15)]
# Made beforehand: beartype draws from Python's random, which hypothesis forbids inside a strategy.
BASES = [*map(irrep_basis, GROUPS), *map(fourier_basis, range(2, 61))]
SEEDS = st.integers(0, 2**31)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Basis, torch.Tensor, list[int]]:
    """A basis, some functions on its set, and some of its blocks, the background perhaps among them."""
    basis = draw(st.sampled_from(BASES))
    generator = torch.Generator().manual_seed(draw(SEEDS))
    x = torch.randn(3, basis.matrix.shape[1], generator=generator, dtype=torch.float64)
    blocks = draw(st.lists(st.sampled_from(sorted(basis.block_names)), unique=True))
    return basis, x * 10.0 ** draw(st.integers(-3, 3)), blocks


def tolerance(x: torch.Tensor) -> dict[str, float]:
    return {"atol": 1e-10 * max(1.0, x.abs().max().item()), "rtol": 1e-10}


@given(st.integers(1, 200))
def test_every_fourier_basis_is_orthonormal_with_two_rows_per_frequency(n):
    basis = fourier_basis(n)
    assert_close(basis.matrix @ basis.matrix.T, torch.eye(n, dtype=torch.float64), atol=1e-12, rtol=0)
    assert basis.blocks == frequencies(n)
    assert basis.block.bincount().tolist() == [1, *(1 if 2 * k == n else 2 for k in frequencies(n))]


@given(problems())
def test_parseval(problem):
    basis, x, _ = problem
    assert_close(power(x, basis).sum(dim=-1), x.square().sum(dim=-1), **tolerance(x**2))
    assert_close(coefficients(x, basis) @ basis.matrix, x, **tolerance(x))


@given(problems())
def test_what_is_projected_and_what_is_excluded_make_the_whole(problem):
    basis, x, blocks = problem
    assert_close(project(x, basis, blocks) + exclude(x, basis, blocks), x, **tolerance(x))
    others = [block for block in basis.block_names if block not in blocks]
    assert_close(project(x, basis, others), exclude(x, basis, blocks), **tolerance(x))


@given(problems())
def test_projecting_and_excluding_twice_change_nothing_more(problem):
    basis, x, blocks = problem
    once = project(x, basis, blocks)
    assert_close(project(once, basis, blocks), once, **tolerance(x))
    rest = exclude(x, basis, blocks)
    assert_close(exclude(rest, basis, blocks), rest, **tolerance(x))
    assert_close(project(rest, basis, blocks), torch.zeros_like(x), **tolerance(x))


@given(problems())
def test_power_is_the_squared_norm_of_each_projection(problem):
    basis, x, _ = problem
    norms = torch.stack([project(x, basis, [block]).square().sum(dim=-1) for block in sorted(basis.block_names)], -1)
    assert_close(power(x, basis), norms, **tolerance(x**2))


@given(problems())
def test_shares_of_the_variance_sum_to_one_and_do_not_see_the_mean(problem):
    basis, x, _ = problem
    shares = fve(x, basis)
    assert (shares >= 0).all()
    assert_close(shares.sum(dim=-1), torch.ones(len(x), dtype=torch.float64), atol=1e-9, rtol=0)
    varying = exclude(x, basis, [0])
    assert_close(fve(x + project(x, basis, [0]) * 5, basis), fve(varying, basis), atol=1e-9, rtol=0)


@given(st.integers(2, 60), SEEDS, st.integers(0, 59))
def test_a_shift_keeps_the_power_of_every_frequency(n, seed, shift):
    x = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert_close(power(x.roll(shift), fourier_basis(n)), power(x, fourier_basis(n)), atol=1e-10, rtol=0)
