"""Orthonormal bases whose rows come in blocks: the frequencies of Z_n, or the irreps of a group.

Everything the library does with frequencies is project, exclude or measure blocks, and is written once,
here. Rows are functions on a set: on residues, on group elements, on tokens or on output classes.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
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
        block: Of each row; 0 is the background (the constant, and the zero of multiplication), which is never key,
            and 1, 2, ... are frequencies, or irreps in the order of `real_irreps`.
        names: Of each row: `const`, `cos 1`, `sin 1`, ... or `3a` for the rows of an irrep.
        block_names: Of each block by number: `k=14`, or the irrep's name.

    Raises:
        ValueError: If the rows are not orthonormal or the names do not fit.

    Source:
        Tracr (Lindner et al. 2023, arXiv:2301.05062) has bases as objects in this sense.
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
        if len(self.names) != rows or set(self.block_names) != set(self.block.tolist()):
            msg = f"a basis of {rows} rows needs {rows} names and a name per block, got {len(self.names)} names."
            raise ValueError(msg)

    def __repr__(self) -> str:
        return f"Basis(rows={len(self.names)}, blocks={len(self.blocks)})"

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that can be key: all but the background, in order."""
        return tuple(k for k in sorted(self.block_names) if k != 0)

    def rows(self, blocks: Iterable[int]) -> Float64[Tensor, "component n"]:
        """The rows of some blocks.

        Raises:
            ValueError: If a block is not in the basis.
        """
        wanted = self.check(blocks)
        return self.matrix[torch.isin(self.block, torch.tensor(wanted, dtype=self.block.dtype))]

    def check(self, blocks: Iterable[int]) -> list[int]:
        """The blocks as sorted integers without repetition.

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
    """The frequencies of Z_n: 1 to (n-1)/2, and n/2 where n is even.

    Examples:
        >>> frequencies(7), frequencies(8)
        ((1, 2, 3), (1, 2, 3, 4))
    """
    return tuple(range(1, arguments.integer(n, "n", minimum=1) // 2 + 1))


def fourier_basis(n: int) -> Basis:
    """The real Fourier basis of Z_n: const, cos 1, sin 1, cos 2, ...

    For even n the last block, n/2, is a single row that alternates in sign.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, the code's `make_fourier_basis`. Differs: for even n theirs
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
        # Reducing k x modulo n first keeps the angle, and so the row, exact to the last bits.
        angle = 2 * math.pi * (k * x % n) / n
        waves = {"cos": angle.cos()} if 2 * k == n else {"cos": angle.cos(), "sin": angle.sin()}
        for wave, row in waves.items():
            rows.append(row / row.norm())
            block.append(k)
            names.append(f"{wave} {k}")
    return Basis(
        matrix=torch.stack(rows),
        block=torch.tensor(block),
        names=tuple(names),
        block_names={0: "const"} | {k: f"k={k}" for k in frequencies(n)},
    )


def irrep_basis(group: Group) -> Basis:
    """The functions on a group, one block per real irrep.

    For a cyclic group these are the blocks of `fourier_basis` up to their order.

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
        names=tuple(irreps[i].name for i in block.tolist()),
        block_names={i: irrep.name for i, irrep in enumerate(irreps)},
    )


def group_basis(group: Group) -> Basis:
    """The Fourier basis over the logarithm of a cyclic group, the irrep basis of any other."""
    if group.logarithm is None:
        return irrep_basis(group)
    basis = fourier_basis(group.order)
    return Basis(
        matrix=basis.matrix[:, group.logarithm], block=basis.block, names=basis.names, block_names=basis.block_names
    )


def task_basis(task: Task, tokens: Int[Tensor, " n"] | None = None) -> Basis:
    """The basis of a task's group as functions of tokens or output classes.

    Addition and subtraction have the Fourier basis of Z_p, multiplication and division that of the discrete
    logarithm. What is no group element (the zero of multiplication) is a row of the background block.

    Args:
        task: A task with a group.
        tokens: The set the functions live on, in order; default: all tokens, which are also the outputs.
            `task.b_tokens` leaves the zero out for division.

    Returns:
        The basis over those tokens.

    Raises:
        ValueError: If the task has no group, or `tokens` leaves a group element out.

    Examples:
        >>> from grokinterp.tasks.operations import operation
        >>> task_basis(operation("multiplication", 5)).names
        ('const', '0', 'cos 1', 'sin 1', 'cos 2')
    """
    group, elements = task.require_group()
    tokens = torch.arange(task.n_tokens) if tokens is None else tokens
    place = {token: i for i, token in enumerate(tokens.tolist())}
    missing = [token for token in elements.tolist() if token not in place]
    if missing:
        msg = f"a basis of {task.name} needs every group element among the tokens, got none of {missing}."
        raise ValueError(msg)
    basis = group_basis(group)
    others = [token for token in tokens.tolist() if token not in set(elements.tolist())]
    where = torch.tensor([place[token] for token in elements.tolist()])
    matrix = torch.zeros(len(basis.matrix) + len(others), len(tokens), dtype=torch.float64)
    background = int((basis.block == 0).sum())
    matrix[:background, where] = basis.matrix[:background]
    for i, token in enumerate(others):
        matrix[background + i, place[token]] = 1
    matrix[background + len(others) :, where] = basis.matrix[background:]
    zeros = torch.zeros(background + len(others), dtype=basis.block.dtype)
    return Basis(
        matrix=matrix,
        block=torch.cat([zeros, basis.block[background:]]),
        names=(*basis.names[:background], *(str(token) for token in others), *basis.names[background:]),
        block_names=basis.block_names,
    )


def coefficients(x: Float[Tensor, "*rest n"], basis: Basis) -> Float64[Tensor, "*rest component"]:
    """What x holds of each row, along its last axis.

    Examples:
        >>> coefficients(torch.tensor([1.0, -1.0, 1.0, -1.0]), fourier_basis(4)).abs().round(decimals=6).tolist()
        [0.0, 0.0, 0.0, 2.0]
    """
    return x.double() @ basis.matrix.to(x.device).T


def project(x: Float[Tensor, "*rest n"], basis: Basis, blocks: Iterable[int]) -> Float64[Tensor, "*rest n"]:
    """The part of x, along its last axis, that lies in some blocks."""
    rows = basis.rows(blocks).to(x.device)
    return (x.double() @ rows.T) @ rows


def exclude(x: Float[Tensor, "*rest n"], basis: Basis, blocks: Iterable[int]) -> Float64[Tensor, "*rest n"]:
    """What is left of x, along its last axis, without some blocks; `project + exclude` is x."""
    return x.double() - project(x, basis, blocks)


def power(x: Float[Tensor, "*rest n"], basis: Basis) -> Float64[Tensor, "*rest block"]:
    """The squared norm of x in each block, the background first; the sum is that of x (Parseval)."""
    squared = coefficients(x, basis) ** 2
    totals = torch.zeros(*squared.shape[:-1], len(basis.block_names), dtype=torch.float64, device=x.device)
    return totals.index_add(-1, basis.block.to(x.device), squared)


def fve(x: Float[Tensor, "*rest n"], basis: Basis) -> Float64[Tensor, "*rest block"]:
    """The share of x's variance in each block that can be key, from 0 to 1; 0 where x is all background.

    The variance is the power outside the background, so the shares of a basis that spans everything sum to 1.
    """
    varying = power(x, basis)[..., 1:]
    total = varying.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, varying / total.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
