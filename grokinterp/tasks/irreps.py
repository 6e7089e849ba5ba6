"""Real irreducible representations and characters of a finite group, computed from its Cayley table.

The matrices that commute with left multiplication are the right multiplications. A generic symmetric one splits the
functions on the group into irreducible eigenspaces. Copies of one irrep have equal characters.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from grokinterp.tasks.groups import Group


@dataclass(frozen=True, kw_only=True, eq=False)
class Irrep:
    """A real irreducible representation.

    Attributes:
        name: Dimension, and a letter that counts the irreps of that dimension, e.g. `4b`; `1a` is trivial.
        dimension: Dimension of the real vector space that it acts on.
        character: Trace of the matrix of each element.
        matrices: One orthogonal matrix per element, a homomorphism.
        functions: Orthonormal functions on the group (rows) that span all matrix entries.
    """

    name: str
    dimension: int
    character: Float64[Tensor, " n"]
    matrices: Float64[Tensor, "n dimension dimension"]
    functions: Float64[Tensor, "component n"]


def real_irreps(group: Group) -> tuple[Irrep, ...]:
    """All real irreducible representations: the trivial one first, then by dimension.

    Irreducible over the real numbers: the complex characters of a cyclic group at frequencies k and -k form one irrep
    of dimension 2, spanned by cos and sin.

    Args:
        group: A finite group. The cost is one eigendecomposition of an n x n matrix.

    Returns:
        The irreps. Their `functions` together are an orthonormal basis of the functions on the group.

    Examples:
        >>> from grokinterp.tasks.groups import symmetric
        >>> [irrep.dimension for irrep in real_irreps(symmetric(4))]
        [1, 1, 2, 3, 3]
    """
    n = group.order
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(n, generator=generator, dtype=torch.float64)
    weights = weights + weights[group.inverses]
    # commuting[x, y] = w(x^-1 y): a weighted sum of right multiplications, symmetric since w(g) = w(g^-1).
    commuting = weights[group.table[group.inverses]]
    values, vectors = torch.linalg.eigh(commuting)
    starts = torch.cat([torch.tensor([True]), values.diff() > 1e-8 * values.abs().max().clamp(min=1)])
    eigenspaces = [vectors[:, starts.cumsum(0) == i + 1] for i in range(int(starts.sum()))]

    by_character: list[tuple[Tensor, Tensor, list[Tensor]]] = []
    for space in eigenspaces:
        # (L_g f)(x) = f(g^-1 x), so the matrix of g in this space is V^T V[g^-1 x].
        matrices = torch.einsum("xi,gxj->gij", space, space[group.table[group.inverses]])
        character = torch.einsum("gii->g", matrices)
        for known, _, spaces in by_character:
            if torch.allclose(known, character, atol=1e-6):
                spaces.append(space)
                break
        else:
            by_character.append((character, matrices, [space]))

    def order(entry: tuple[Tensor, Tensor, list[Tensor]]) -> tuple[bool, int, list[float]]:
        character = entry[0]
        is_trivial = torch.allclose(character, torch.ones_like(character))
        return (not is_trivial, round(character[group.identity].item()), (-character).round(decimals=6).tolist())

    irreps = []
    seen: dict[int, int] = {}
    for character, matrices, spaces in sorted(by_character, key=order):
        dimension = matrices.shape[-1]
        seen[dimension] = seen.get(dimension, 0) + 1
        name, functions = f"{dimension}{_letters(seen[dimension])}", torch.cat(spaces, dim=1).T.contiguous()
        irreps.append(
            Irrep(name=name, dimension=dimension, character=character, matrices=matrices, functions=functions)
        )
    return tuple(irreps)


def _letters(i: int) -> str:
    """1 -> a, 26 -> z, 27 -> aa."""
    word = ""
    while i:
        i, rest = divmod(i - 1, 26)
        word = chr(ord("a") + rest) + word
    return word
