"""Frequencies, or irreps, as components of embeddings, neurons and logits; and edits that move or rotate them."""

import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from grokinterp import arguments
from grokinterp.basis import Basis, project_pairs, task_basis
from grokinterp.interventions import sampling as sampling
from grokinterp.interventions import sites
from grokinterp.interventions.cache_keys import call
from grokinterp.interventions.components import Component
from grokinterp.interventions.intervention import Edit, Intervention
from grokinterp.snapshots import Snapshot
from grokinterp.tasks import Task


At = Literal["W_E", "neurons", "logits"]
Terms = Literal["sum", "all"]

_SITES: Final[dict[str, str]] = {"W_E": sites.W_E, "neurons": sites.NEURONS, "logits": sites.LOGITS}


def frequency(*keys: int, at: At = "logits", terms: Terms = "sum") -> Component:
    """The given frequencies, or irreps, of the embedding, the neurons or the logits.

    In the embedding these are functions of the token. In neurons and logits, which are functions of (a, b), they are by
    default functions of the product: cos and sin(w_k(a+b)). Mean ablation keeps the mean over all pairs; in the
    embedding it keeps the constant and, for multiplication, the row of zero.

    Args:
        *keys: Frequencies, as blocks of the task's basis.
        at: `logits`; `neurons` of the last layer; or `W_E`, over the operand tokens.
        terms: For neurons and logits: `sum` for functions of the product; `all` for the eight products of
            const, cos k and sin k of a with const, cos k and sin k of b, without const const, for each key k.

    Returns:
        The component. Its null samples the same number of other frequencies; for irreps, other blocks of any size.

    Raises:
        ValueError: If there is no key, a key is below 1, or `at` or `terms` is unknown; when applied, if a key is not a
            block of the task's basis, or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 5.1: the ablation of the excluded loss. At the logits, `ablate`
        gives `progress.excluded_loss` and `keep_only` gives `progress.restricted_loss`. Irreps: Chughtai, Chan and
        Nanda 2023, arXiv:2302.03025.

    Examples:
        >>> import grokinterp as gi
        >>> without_3 = gi.interventions.ablate(frequency(3, at="W_E"))
        >>> gi.fourier.key_frequencies(without_3(gi.testing.planted_snapshot(7, keys=(1, 3))))
        (1,)
    """
    wanted = list(arguments.keys(keys))
    at, terms = arguments.one_of(at, _SITES, "at"), arguments.one_of(terms, get_args(Terms), "terms")
    if at == "W_E" and terms == "all":
        msg = "terms='all' applies to functions of a and b, at the neurons or the logits, got at='W_E'; omit it."
        raise ValueError(msg)
    keywords = {"at": at} if terms == "sum" else {"at": at, "terms": terms}
    project = sites.project_tokens if at == "W_E" else _PROJECTIONS[terms]

    def sample_null(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Component]:
        pool, own = snapshot.basis.blocks, snapshot.basis.check(wanted)
        drawn = sampling.disjoint(pool, own, draws, rng, "frequencies")
        return [frequency(*others, at=at, terms=terms) for others in drawn]

    return Component(
        name=call("frequency", *wanted, **keywords),
        site=_SITES[at],
        project=lambda snapshot, x: project(snapshot, x, wanted),
        sample_null=sample_null,
        cacheable=True,
    )


def _project_products(snapshot: Snapshot, x: Tensor, keys: list[int]) -> Tensor:
    """The projection of x [a, b, ...] onto functions of the product in the keys' blocks."""
    _bases(snapshot.task)  # raises for an incomplete table, over whose pairs the rows are not orthogonal
    products = snapshot.task.table.flatten()
    rows = snapshot.basis.rows(keys)[:, products].to(x.dtype)
    coefficients = rows / products.bincount()[products] @ x.flatten(2).flatten(0, 1)
    return (rows.T @ coefficients).reshape(x.shape)


def _project_operands(snapshot: Snapshot, x: Tensor, keys: list[int]) -> Tensor:
    """The projection of x [a, b, ...] onto {const, k} x {const, k} for each key k, without const const."""

    def project(blocks: list[int]) -> Tensor:
        """The projection onto products of two rows with the same block, or with a background row."""
        (rows_a, i), (rows_b, j) = (
            (basis.rows(blocks).to(x.dtype), basis.block[torch.isin(basis.block, torch.tensor(blocks))])
            for basis in _bases(snapshot.task)
        )
        mask = (i[:, None] == j) | (i[:, None] == 0) | (j == 0)
        return project_pairs(x.flatten(2), rows_a, rows_b, mask).reshape(x.shape)

    return project([0, *keys]) - project([0])


_PROJECTIONS: Final = {"sum": _project_products, "all": _project_operands}


@lru_cache(maxsize=16)
def _bases(task: Task) -> tuple[Basis, Basis]:
    """The bases over the a tokens and over the b tokens.

    Raises:
        ValueError: If the task has no group, or a group element is missing among the tokens.
    """
    return task_basis(task, task.a_tokens), task_basis(task, task.b_tokens)


Weight = Literal["W_E", "W_U"]
Rotation = Callable[[Snapshot], Float64[Tensor, "component component"]]

BOTH: Final = ("W_E", "W_U")


def relocate(k: int, to: int, *, at: Iterable[Weight] = BOTH) -> Intervention:
    """Swap the weights of two frequencies.

    The coefficients of cos k and sin k are swapped with the coefficients of cos `to` and sin `to`. If both W_E and W_U
    are changed, a purely trigonometric circuit computes the same at its new frequency; if only one is, its two ends no
    longer match.

    Args:
        k: The frequency to relocate.
        to: Its new frequency.
        at: `W_E`, over the operand tokens; `W_U`, over the answers; or both.

    Returns:
        The intervention. Its null relocates other frequencies to other frequencies.

    Raises:
        ValueError: If a frequency is invalid, the two are equal, or `at` is invalid; when applied, if one is not a
            frequency with a cosine and a sine, e.g. an irrep.

    Examples:
        >>> import grokinterp as gi
        >>> relocated = relocate(3, 2)(gi.testing.planted_snapshot(7, keys=(1, 3)))
        >>> torch.allclose(relocated.logits, gi.models.planted.cosine_logits(7, (1, 2)))
        True
    """
    k, to = arguments.integer(k, "k", minimum=1), arguments.integer(to, "to", minimum=1)
    weights = arguments.some_of(at, BOTH, "at")
    if k == to:
        msg = f"to must differ from k, got {to} for both."
        raise ValueError(msg)

    def swap(snapshot: Snapshot) -> Float64[Tensor, "component component"]:
        old, new = _plane(snapshot, k), _plane(snapshot, to)
        order = torch.arange(len(snapshot.basis.matrix))
        order[old + new] = torch.tensor(new + old)
        return torch.eye(len(order), dtype=torch.float64)[order]

    def sample_null(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Intervention]:
        others = [j for j in _planes(snapshot) if j not in (k, to)]
        if len(others) < 2:
            msg = f"a control of {name} requires 2 other frequencies, got {len(others)}."
            raise ValueError(msg)
        return [relocate(i, j, at=weights) for i, j in sampling.ordered_pairs(others, draws, rng)]

    name = call("relocate", k, to, at=weights)
    return Intervention(name=name, edits=_edits(weights, swap, swap), sample_null=sample_null, cacheable=True)


def phase_shift(k: int, angle: float, *, at: Iterable[Weight] = BOTH) -> Intervention:
    """Rotate the (cos, sin) plane of a frequency: w_k x becomes w_k x + angle for each operand x.

    At `W_E` alone, the logits' component cos w_k(a+b-c) becomes cos(w_k(a+b-c) + 2 angle). `W_U` is rotated by the sum
    of both operands' phases (2 angle; 0 for a - b), so if both are changed, a purely trigonometric circuit computes the
    same.

    Args:
        k: The frequency.
        angle: Angle in radians.
        at: `W_E`, over the operand tokens; `W_U`, over the answers; or both.

    Returns:
        The intervention. Its null rotates other frequencies by the same angle.

    Raises:
        ValueError: If k, the angle or `at` is invalid; when applied, if k is not a frequency with a cosine and a sine,
            e.g. an irrep.

    Examples:
        >>> import grokinterp as gi
        >>> snap = gi.testing.planted_snapshot(7, keys=(1, 3))
        >>> torch.allclose(phase_shift(3, 1.0)(snap).logits, snap.logits)
        True
        >>> flipped = phase_shift(3, math.pi / 2, at=("W_E",))(snap)  # changes the sign of frequency 3
        >>> without_3 = gi.models.planted.cosine_logits(7, (1,))
        >>> torch.allclose(flipped.logits + snap.logits, 2 * without_3)
        True
    """
    k, angle = arguments.integer(k, "k", minimum=1), arguments.number(angle, "angle")
    weights = arguments.some_of(at, BOTH, "at")

    def rotation(snapshot: Snapshot, by: float) -> Float64[Tensor, "component component"]:
        cos, sin = _plane(snapshot, k)
        matrix = torch.eye(len(snapshot.basis.matrix), dtype=torch.float64)
        matrix[cos, cos] = matrix[sin, sin] = math.cos(by)
        matrix[cos, sin], matrix[sin, cos] = math.sin(by), -math.sin(by)
        return matrix

    def sample_null(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Intervention]:
        others = [j for j in _planes(snapshot) if j != k]
        if not others:
            msg = f"a control of {name} requires a frequency other than {k}, got none."
            raise ValueError(msg)
        return [phase_shift(j, angle, at=weights) for (j,) in sampling.subsets(others, 1, draws, rng)]

    def answer_rotation(snapshot: Snapshot) -> Float64[Tensor, "component component"]:
        return rotation(snapshot, _answer_phase(snapshot.task) * angle)

    name = call("phase_shift", k, angle, at=weights)
    edits = _edits(weights, lambda snapshot: rotation(snapshot, angle), answer_rotation)
    return Intervention(name=name, edits=edits, sample_null=sample_null, cacheable=True)


def _edits(weights: Iterable[Weight], of_tokens: Rotation, of_answers: Rotation) -> dict[str, Edit]:
    """Edits of W_E [token, ...] and W_U [..., answer] that rotate their coefficients."""

    def rotate(snapshot: Snapshot, rotation: Rotation) -> Float64[Tensor, "n n"]:
        matrix = snapshot.basis.matrix
        return matrix.T @ rotation(snapshot) @ matrix

    edits: dict[str, tuple[str, Edit]] = {
        "W_E": (sites.W_E, lambda snapshot, x: rotate(snapshot, of_tokens).to(x.dtype) @ x),
        "W_U": (sites.W_U, lambda snapshot, x: x @ rotate(snapshot, of_answers).to(x.dtype).T),
    }
    return dict(edits[weight] for weight in weights)


def _planes(snapshot: Snapshot) -> list[int]:
    """The frequencies with a cosine and a sine."""
    names = set(snapshot.basis.names)
    return [k for k in snapshot.basis.blocks if {f"cos {k}", f"sin {k}"} <= names]


def _plane(snapshot: Snapshot, k: int) -> list[int]:
    """The rows of cos k and sin k in the basis."""
    planes = _planes(snapshot)
    if k not in planes:
        valid = f"valid are {planes[0]}..{planes[-1]}" if planes else "there is none"
        msg = f"k must be a frequency of {snapshot.task.name} with a cosine and a sine, got {k}; {valid}."
        raise ValueError(msg)
    return [snapshot.basis.names.index(f"{function} {k}") for function in ("cos", "sin")]


def _answer_phase(task: Task) -> int:
    """The answer's phase shift if both operands' phases shift by 1: 2 for a product, 0 for a quotient."""
    _, elements = task.require_group()
    a, b = ((tokens[:, None] == elements).int().argmax(dim=0) for tokens in (task.a_tokens, task.b_tokens))
    # A quotient gives the identity for all pairs of equal operands.
    return 0 if len(task.table[a, b].unique()) == 1 else 2
