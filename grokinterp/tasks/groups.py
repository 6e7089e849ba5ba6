"""Finite groups as Cayley tables."""

import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from grokinterp import arguments


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """A finite group, given by its Cayley table.

    Attributes:
        name: Name of the group, e.g. `Z_113` or `S_5`.
        table: Product of elements i and j at [i, j]; elements are 0..n-1.
        labels: Name of each element, in order.
        logarithm: For a cyclic group, the exponent of each element with respect to one generator; else None.

    Raises:
        ValueError: If the table is not a group's Cayley table, or the logarithm is not an isomorphism to Z_n.
    """

    name: str
    table: Int[Tensor, "n n"] = field(repr=False)
    labels: tuple[Hashable, ...] = field(repr=False)
    logarithm: Int[Tensor, " n"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        n = self.order
        elements = torch.arange(n)
        if len(self.labels) != n:
            msg = f"group {self.name} must have one label per element, got {len(self.labels)} for {n} elements."
            raise ValueError(msg)
        latin = all(torch.equal(t.sort(dim=1).values, elements.expand(n, n)) for t in (self.table, self.table.T))
        if not latin:
            msg = f"the Cayley table of group {self.name} must be a Latin square: each element once per row and column."
            raise ValueError(msg)
        identities = (self.table == elements).all(dim=1).nonzero().flatten()
        if len(identities) != 1 or not torch.equal(self.table[:, identities[0]], elements):
            msg = f"the Cayley table of group {self.name} must have an identity element, got none."
            raise ValueError(msg)
        # (a b) c == a (b c), one a at a time to need n^2 memory and not n^3.
        if not all(torch.equal(self.table[self.table[a]], self.table[a][self.table]) for a in range(n)):
            msg = f"the Cayley table of group {self.name} must be associative."
            raise ValueError(msg)
        if self.logarithm is not None:
            log = self.logarithm
            is_bijective = torch.equal(log.sort().values, elements)
            if not is_bijective or not torch.equal(log[self.table], (log[:, None] + log[None, :]) % n):
                msg = (
                    f"the logarithm of group {self.name} must be a permutation of 0..{n - 1} with "
                    f"logarithm[a b] = logarithm[a] + logarithm[b] mod {n}."
                )
                raise ValueError(msg)

    @property
    def order(self) -> int:
        """The number of elements."""
        return len(self.table)

    @property
    def identity(self) -> int:
        """The index of the identity element."""
        return int((self.table == torch.arange(self.order)).all(dim=1).nonzero().item())

    @property
    def inverses(self) -> Int[Tensor, " n"]:
        """The index of each element's inverse."""
        return (self.table == self.identity).int().argmax(dim=1)

    @property
    def is_abelian(self) -> bool:
        """True if the product is commutative."""
        return torch.equal(self.table, self.table.T)


def cyclic(n: int) -> Group:
    """The integers modulo n under addition.

    Examples:
        >>> cyclic(5).table[3, 4].item()
        2
    """
    n = arguments.integer(n, "n", minimum=1)
    x = torch.arange(n)
    return Group(name=f"Z_{n}", table=(x[:, None] + x[None, :]) % n, labels=tuple(range(n)), logarithm=x)


def units(n: int) -> Group:
    """The residues coprime to n under multiplication, with discrete logarithms if the group is cyclic.

    Examples:
        >>> units(7).labels, units(7).logarithm.tolist()
        ((1, 2, 3, 4, 5, 6), [0, 2, 1, 4, 5, 3])
    """
    n = arguments.integer(n, "n", minimum=2)
    labels = [x for x in range(1, n + 1) if math.gcd(x, n) == 1]
    order = len(labels)
    logarithm = None
    for generator in labels:
        powers = [pow(generator, exponent, n) for exponent in range(order)]
        if len(set(powers)) == order:
            logarithm = torch.tensor([powers.index(x % n) for x in labels])
            break
    return _from_product(f"Z_{n}^x", labels, lambda x, y: x * y % n, logarithm)


def dihedral(n: int) -> Group:
    """The 2n symmetries of a regular n-gon; element (r, f) is f reflections followed by r rotations."""
    n = arguments.integer(n, "n", minimum=1)
    labels = [(r, f) for f in range(2) for r in range(n)]
    return _from_product(f"D_{n}", labels, lambda x, y: ((x[0] + (-1) ** x[1] * y[0]) % n, (x[1] + y[1]) % 2))


def symmetric(n: int) -> Group:
    """All permutations of n elements in lexicographic order; (x y)[i] = x[y[i]].

    Examples:
        >>> symmetric(5).order
        120
    """
    n = arguments.integer(n, "n", minimum=1)
    return _from_product(f"S_{n}", list(itertools.permutations(range(n))), _compose)


def alternating(n: int) -> Group:
    """The even permutations of n elements."""
    n = arguments.integer(n, "n", minimum=1)
    even = [x for x in itertools.permutations(range(n)) if _inversions(x) % 2 == 0]
    return _from_product(f"A_{n}", even, _compose)


def product(left: Group, right: Group) -> Group:
    """The direct product; element i * right.order + j is the pair (i, j)."""
    m = right.order
    table = left.table[:, None, :, None] * m + right.table[None, :, None, :]
    n = left.order * m
    labels = tuple(itertools.product(left.labels, right.labels))
    return Group(name=f"{left.name} x {right.name}", table=table.reshape(n, n), labels=labels)


def from_cayley(table: Int[Tensor, "n n"]) -> Group:
    """The group with a given Cayley table; a cyclic group gets its logarithm.

    The name is `Z_n` for a cyclic group; for any other group it states the order and whether the group is abelian.

    Raises:
        ValueError: If the table is not a group's Cayley table.

    Examples:
        >>> from_cayley(units(7).table).name, from_cayley(symmetric(3).table).name
        ('Z_6', 'non-abelian group of order 6')
    """
    n = len(table)
    group = Group(name="table", table=table, labels=tuple(range(n)))
    for generator in range(n):
        powers = [group.identity]
        while (power := int(table[powers[-1], generator])) != powers[0]:
            powers.append(power)
        if len(powers) == n:
            return replace(group, name=f"Z_{n}", logarithm=torch.tensor(powers).argsort())
    return replace(group, name=f"{'' if group.is_abelian else 'non-'}abelian group of order {n}")


def _compose(x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x[i] for i in y)


def _inversions(x: tuple[int, ...]) -> int:
    return sum(x[i] > x[j] for i in range(len(x)) for j in range(i + 1, len(x)))


def _from_product(
    name: str, labels: Sequence[Any], multiply: Callable[[Any, Any], Any], logarithm: Tensor | None = None
) -> Group:
    index = {label: i for i, label in enumerate(labels)}
    table = torch.tensor([[index[multiply(x, y)] for y in labels] for x in labels])
    return Group(name=name, table=table, labels=tuple(labels), logarithm=logarithm)
