"""Orthonormal bases whose rows come in blocks: the frequencies of Z_n, or the irreps of a group.

Projections, powers and fractions of variance explained are defined once, here. Rows are functions on a set: residues,
group elements, tokens or output classes.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from grokinterp import arguments
from grokinterp.tasks.groups import Group
from grokinterp.tasks.irreps import real_irreps
from grokinterp.tasks.operations import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """An orthonormal matrix, and the block of each of its rows.

    Attributes:
        matrix: One function per row.
        block: Block of each row. 0 is the background (the constant, and the zero of multiplication), which is never a
            key; 1, 2, ... are frequencies, or irreps in the order of `real_irreps`.
        names: Name of each row: `const`, `cos 1`, `sin 1`, ..., or `3a` for the rows of an irrep.
        block_names: Name of each block: `k=14`, or the irrep's name.

    Raises:
        ValueError: If the rows are not orthonormal, or the names do not match the rows and blocks.

    Source:
        Tracr (Lindner et al. 2023, arXiv:2301.05062) treats bases as objects in this way.
    """

    matrix: Float64[Tensor, "component n"]
    block: Int[Tensor, " component"]
    names: tuple[str, ...]
    block_names: dict[int, str]

    def __post_init__(self) -> None:
        rows = len(self.matrix)
        if not torch.allclose(self.matrix @ self.matrix.T, torch.eye(rows, dtype=torch.float64), atol=1e-9):
            msg = f"the {rows} rows of a basis must be orthonormal."
            raise ValueError(msg)
        if len(self.names) != rows or set(self.block_names) != {int(k) for k in self.block}:
            msg = f"a basis of {rows} rows needs {rows} names and a name per block, got {len(self.names)} names."
            raise ValueError(msg)

    def __repr__(self) -> str:
        return f"Basis(rows={len(self.names)}, blocks={len(self.blocks)})"

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that can be keys: all but the background, in order."""
        return tuple(k for k in sorted(self.block_names) if k != 0)

    def rows(self, blocks: Iterable[int]) -> Float64[Tensor, "component n"]:
        """The rows of the given blocks.

        Raises:
            ValueError: If a block is not in the basis.
        """
        wanted = self.check(blocks)
        return self.matrix[torch.isin(self.block, torch.tensor(wanted, dtype=self.block.dtype))]

    def check(self, blocks: Iterable[int]) -> list[int]:
        """The blocks as sorted, distinct integers.

        Raises:
            ValueError: If a block is not an integer, or is not in the basis.
        """
        wanted = arguments.integers(blocks, "keys", may_be_empty=True)
        unknown = [k for k in wanted if k not in self.block_names]
        if unknown:
            known = f"{self.blocks[0]}..{self.blocks[-1]}" if self.blocks else "which has none"
            msg = f"keys must be blocks of the task's basis, {known}, got {unknown}."
            raise ValueError(msg)
        return list(wanted)


def frequencies(n: int) -> tuple[int, ...]:
    """The frequencies of Z_n: 1 to (n-1)/2, and n/2 if n is even.

    Examples:
        >>> frequencies(7), frequencies(8)
        ((1, 2, 3), (1, 2, 3, 4))
    """
    return tuple(range(1, arguments.integer(n, "n", minimum=1) // 2 + 1))


def fourier_basis(n: int) -> Basis:
    """The real Fourier basis of Z_n: const, cos 1, sin 1, cos 2, ...

    For even n the last block, n/2, is a single row of alternating sign.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, the code's `make_fourier_basis`. Differs: for even n their code
        divides the zero vector sin(pi x) by its norm.

    Examples:
        >>> basis = fourier_basis(5)
        >>> basis.names, basis.block.tolist()
        (('const', 'cos 1', 'sin 1', 'cos 2', 'sin 2'), [0, 1, 1, 2, 2])
    """
    n = arguments.integer(n, "n", minimum=1)
    x = torch.arange(n, dtype=torch.float64)
    rows, block, names = [torch.full((n,), 1 / math.sqrt(n), dtype=torch.float64)], [0], ["const"]
    for k in frequencies(n):
        # Reducing k x modulo n first keeps the angle exact to the last bits.
        angle = 2 * math.pi * (k * x % n) / n
        functions = {"cos": angle.cos()} if 2 * k == n else {"cos": angle.cos(), "sin": angle.sin()}
        for name, row in functions.items():
            rows.append(row / row.norm())  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            block.append(k)
            names.append(f"{name} {k}")
    return Basis(
        matrix=torch.stack(rows),
        block=torch.tensor(block),
        names=tuple(names),
        block_names={0: "const"} | {k: f"k={k}" for k in frequencies(n)},
    )


def irrep_basis(group: Group) -> Basis:
    """The functions on a group, one block per real irrep.

    For a cyclic group these are the blocks of `fourier_basis`, in a different order.

    Examples:
        >>> from grokinterp.tasks.groups import symmetric
        >>> irrep_basis(symmetric(3)).block.tolist()
        [0, 1, 2, 2, 2, 2]
    """
    irreps = real_irreps(group)
    block = torch.cat([torch.full((len(irrep.functions),), i) for i, irrep in enumerate(irreps)])
    return Basis(
        matrix=torch.cat([irrep.functions for irrep in irreps]),
        block=block,
        names=tuple(irreps[int(i)].name for i in block),
        block_names={i: irrep.name for i, irrep in enumerate(irreps)},
    )


def group_basis(group: Group) -> Basis:
    """The Fourier basis over the logarithm for a cyclic group, the irrep basis for any other group."""
    if group.logarithm is None:
        return irrep_basis(group)
    basis = fourier_basis(group.order)
    return replace(basis, matrix=basis.matrix[:, group.logarithm])


def task_basis(task: Task, tokens: Int[Tensor, " n"] | None = None) -> Basis:
    """The basis of a task's group as functions of tokens or output classes.

    Addition and subtraction have the Fourier basis of Z_p; multiplication and division have the Fourier basis of the
    discrete logarithm. A token that is not a group element (the zero of multiplication) is a row of the background.

    Args:
        task: A task with a group.
        tokens: The tokens that the functions are defined on, in order; default: all tokens, which are also the outputs.
            `task.b_tokens` leaves zero out for division.

    Returns:
        The basis over those tokens.

    Raises:
        ValueError: If the task has no group, or a group element is missing from `tokens`.

    Examples:
        >>> from grokinterp.tasks.operations import operation
        >>> task_basis(operation("multiplication", 5)).names
        ('const', '0', 'cos 1', 'sin 1', 'cos 2')
    """
    group, elements = task.require_group()
    listed = [int(token) for token in (torch.arange(task.n_tokens) if tokens is None else tokens)]
    index = {token: i for i, token in enumerate(listed)}
    group_tokens = [int(token) for token in elements]
    missing = [token for token in group_tokens if token not in index]
    if missing:
        msg = f"a basis of {task.name} needs every group element among the tokens, but {missing} are missing."
        raise ValueError(msg)
    basis = group_basis(group)
    others = [token for token in listed if token not in set(group_tokens)]
    columns = torch.tensor([index[token] for token in group_tokens])
    matrix = torch.zeros(len(basis.matrix) + len(others), len(listed), dtype=torch.float64)
    background = int((basis.block == 0).sum())
    matrix[:background, columns] = basis.matrix[:background]
    for i, token in enumerate(others):
        matrix[background + i, index[token]] = 1
    matrix[background + len(others) :, columns] = basis.matrix[background:]
    zeros = torch.zeros(background + len(others), dtype=basis.block.dtype)
    return Basis(
        matrix=matrix,
        block=torch.cat([zeros, basis.block[background:]]),
        names=(*basis.names[:background], *(str(token) for token in others), *basis.names[background:]),
        block_names=basis.block_names,
    )


def coefficients(x: Float[Tensor, "*rest n"], basis: Basis) -> Float64[Tensor, "*rest component"]:
    """The coefficient of each row in x, along the last axis.

    Examples:
        >>> coefficients(torch.tensor([1.0, -1.0, 1.0, -1.0]), fourier_basis(4)).abs().round(decimals=6).tolist()
        [0.0, 0.0, 0.0, 2.0]
    """
    return x.double() @ basis.matrix.to(x.device).T


def project(x: Float[Tensor, "*rest n"], basis: Basis, blocks: Iterable[int]) -> Float64[Tensor, "*rest n"]:
    """The projection of x onto the given blocks, along the last axis."""
    rows = basis.rows(blocks).to(x.device)
    return (x.double() @ rows.T) @ rows


def exclude(x: Float[Tensor, "*rest n"], basis: Basis, blocks: Iterable[int]) -> Float64[Tensor, "*rest n"]:
    """What remains of x without its projection onto the given blocks, along the last axis."""
    return x.double() - project(x, basis, blocks)


def power(x: Float[Tensor, "*rest n"], basis: Basis) -> Float64[Tensor, "*rest block"]:
    """The squared norm of x in each block, background first; the sum is the squared norm of x (Parseval)."""
    squared = coefficients(x, basis) ** 2
    totals = torch.zeros(*squared.shape[:-1], len(basis.block_names), dtype=torch.float64, device=x.device)
    return totals.index_add(-1, basis.block.to(x.device), squared)


def fve(x: Float[Tensor, "*rest n"], basis: Basis) -> Float64[Tensor, "*rest block"]:
    """The fraction of x's variance in each block but the background, 0 to 1; 0 if x is all background.

    The variance is the power outside the background, so the fractions sum to 1 for a basis that spans everything.
    """
    varying = power(x, basis)[..., 1:]
    total = varying.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, varying / total.clamp(min=torch.finfo(torch.float64).tiny), 0.0)


def pair_coefficients(
    x: Float[Tensor, "a b rest"], rows_a: Float[Tensor, "component a"], rows_b: Float[Tensor, "row b"]
) -> Float[Tensor, "component row rest"]:
    """The coefficients of functions of (a, b) in the products of a row over a and a row over b."""
    # One operand at a time: both at once would first form the products of the rows, p^4 numbers.
    return torch.einsum("jb,ibn->ijn", rows_b, torch.einsum("ia,abn->ibn", rows_a, x))


def project_pairs(
    x: Float[Tensor, "a b rest"],
    rows_a: Float[Tensor, "component a"],
    rows_b: Float[Tensor, "row b"],
    mask: Bool[Tensor, "component row"] | None = None,
) -> Float[Tensor, "a b rest"]:
    """The projection of functions of (a, b) onto the products of rows over a and rows over b, or some of them."""
    coefficients = pair_coefficients(x, rows_a, rows_b)
    if mask is not None:
        coefficients = coefficients * mask[:, :, None]
    return torch.einsum("ia,ibn->abn", rows_a, torch.einsum("jb,ijn->ibn", rows_b, coefficients))


def product_means(x: Float[Tensor, "a b rest"], task: Task) -> Float64[Tensor, "s rest"]:
    """The mean of functions of (a, b) over the pairs with each answer; zero for an answer that no pair has."""
    answers = task.table.flatten()
    sums = torch.zeros(task.n_outputs, x.shape[2], dtype=torch.float64)
    sums.index_add_(0, answers, x.flatten(0, 1).double())
    return sums / answers.bincount(minlength=task.n_outputs).clamp(min=1)[:, None]
