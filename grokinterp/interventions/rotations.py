"""Controls on the weights: relocate a frequency, or shift its phase, in W_E, in W_U or in both.

Both are orthogonal maps of functions of the token or the answer, so weight norms do not change.
"""

import math
from collections.abc import Callable, Iterable
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from grokinterp import arguments
from grokinterp.interventions import sampling as sampling
from grokinterp.interventions import sites
from grokinterp.interventions.cache_keys import call
from grokinterp.interventions.intervention import Edit, Intervention
from grokinterp.snapshots import Snapshot
from grokinterp.tasks import Task


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
