"""Causal controls at the weights: a frequency moved to another, or turned by an angle, in W_E, in W_U or in both.

Both are orthogonal maps of the functions on the tokens, or on the answers: weights keep their norms.
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
    """Move a frequency's weights to another, whose own come in its place.

    The coefficients of cos k and sin k change places with those of cos `to` and sin `to`. With both weights a circuit
    that only uses waves works at its new frequency as at the old one; with one of them its two ends no longer fit.

    Args:
        k: The frequency that is moved.
        to: Where to.
        at: `W_E`, over the operands' tokens; `W_U`, over the answers; or both.

    Returns:
        The intervention. Its null moves other frequencies to others.

    Raises:
        ValueError: If a frequency is invalid, the two are the same or `at` is none of these; when applied, if one is no
            frequency with a cosine and a sine, as irreps are not.

    Examples:
        >>> import grokinterp as gi
        >>> moved = relocate(3, 2)(gi.testing.planted_snapshot(7, keys=(1, 3)))
        >>> torch.allclose(moved.logits, gi.models.planted.cosine_logits(7, (1, 2)))
        True
    """
    k, to = arguments.integer(k, "k", minimum=1), arguments.integer(to, "to", minimum=1)
    weights = arguments.some_of(at, BOTH, "at")
    if k == to:
        msg = f"to must be another frequency than k={k}."
        raise ValueError(msg)

    def swap(snapshot: Snapshot) -> Float64[Tensor, "component component"]:
        old, new = _plane(snapshot, k), _plane(snapshot, to)
        order = torch.arange(len(snapshot.basis.matrix))
        order[old + new] = torch.tensor(new + old)
        return torch.eye(len(order), dtype=torch.float64)[order]

    def null(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Intervention]:
        others = [j for j in _planes(snapshot) if j not in (k, to)]
        if len(others) < 2:
            msg = f"a control of {name} needs 2 other frequencies, got {len(others)}."
            raise ValueError(msg)
        return [relocate(i, j, at=weights) for i, j in sampling.ordered_pairs(others, draws, rng)]

    name = call("relocate", k, to, at=weights)
    return Intervention(name=name, edits=_edits(weights, swap, swap), null=null, cacheable=True)


def phase_shift(k: int, angle: float, *, at: Iterable[Weight] = BOTH) -> Intervention:
    """Turn a frequency's phase: w_k x becomes w_k x + angle for each operand x.

    At `W_E` alone it turns the model's wave of the answer, cos w_k(a+b-c) into cos(w_k(a+b-c) + 2 angle). `W_U` turns
    by what the phases of both operands come to (2 angle; for a - b nothing), so that with both a circuit that only
    uses waves keeps its function.

    Args:
        k: The frequency.
        angle: In radians.
        at: `W_E`, over the operands' tokens; `W_U`, over the answers; or both.

    Returns:
        The intervention. Its null turns other frequencies by the same angle.

    Raises:
        ValueError: If k or the angle is invalid, or `at` is none of these; when applied, if k is no frequency with a
            cosine and a sine, as irreps are not.

    Examples:
        >>> import grokinterp as gi
        >>> snap = gi.testing.planted_snapshot(7, keys=(1, 3))
        >>> torch.allclose(phase_shift(3, 1.0)(snap).logits, snap.logits)
        True
        >>> turned = phase_shift(3, math.pi / 2, at=("W_E",))(snap)  # minus the wave of 3 in its place
        >>> without_3 = gi.models.planted.cosine_logits(7, (1,))
        >>> torch.allclose(turned.logits + snap.logits, 2 * without_3)
        True
    """
    k, angle = arguments.integer(k, "k", minimum=1), arguments.number(angle, "angle")
    weights = arguments.some_of(at, BOTH, "at")

    def turn(snapshot: Snapshot, by: float) -> Float64[Tensor, "component component"]:
        cos, sin = _plane(snapshot, k)
        rotation = torch.eye(len(snapshot.basis.matrix), dtype=torch.float64)
        rotation[cos, cos] = rotation[sin, sin] = math.cos(by)
        rotation[cos, sin], rotation[sin, cos] = math.sin(by), -math.sin(by)
        return rotation

    def null(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Intervention]:
        others = [j for j in _planes(snapshot) if j != k]
        if not others:
            msg = f"a control of {name} needs another frequency, got none."
            raise ValueError(msg)
        return [phase_shift(j, angle, at=weights) for (j,) in sampling.subsets(others, 1, draws, rng)]

    name = call("phase_shift", k, angle, at=weights)
    return Intervention(
        name=name,
        edits=_edits(
            weights,
            lambda snapshot: turn(snapshot, angle),
            lambda snapshot: turn(snapshot, _turns_of_the_answer(snapshot.task) * angle),
        ),
        null=null,
        cacheable=True,
    )


def _edits(weights: Iterable[Weight], of_tokens: Rotation, of_answers: Rotation) -> dict[str, Edit]:
    """Rotations of coefficients as edits of W_E [token, ...], and of W_U or logits, whose last axis is the answers."""
    edits: dict[str, tuple[str, Edit]] = {
        "W_E": (sites.W_E, lambda snapshot, x: _rotate(snapshot, of_tokens).to(x.dtype) @ x),
        "W_U": (sites.W_U, lambda snapshot, x: x @ _rotate(snapshot, of_answers).to(x.dtype).T),
    }
    return dict(edits[weight] for weight in weights)


def _rotate(snapshot: Snapshot, rotation: Rotation) -> Float64[Tensor, "n n"]:
    """A rotation of coefficients as one of values."""
    matrix = snapshot.basis.matrix
    return matrix.T @ rotation(snapshot) @ matrix


def _planes(snapshot: Snapshot) -> list[int]:
    """The frequencies that have a cosine and a sine."""
    names = set(snapshot.basis.names)
    return [k for k in snapshot.basis.blocks if {f"cos {k}", f"sin {k}"} <= names]


def _plane(snapshot: Snapshot, k: int) -> list[int]:
    """The rows of cos k and sin k in the basis."""
    planes = _planes(snapshot)
    if k not in planes:
        has = f"those are {planes[0]}..{planes[-1]}" if planes else "there is none"
        msg = f"k must be a frequency of {snapshot.task.name} with a cosine and a sine, got {k}; {has}."
        raise ValueError(msg)
    return [snapshot.basis.names.index(f"{wave} {k}") for wave in ("cos", "sin")]


def _turns_of_the_answer(task: Task) -> int:
    """How often the answer's phase turns when both operands' turn once: twice for a product, not for a quotient."""
    _, elements = task.require_group()
    a, b = ((tokens[:, None] == elements).int().argmax(dim=0) for tokens in (task.a_tokens, task.b_tokens))
    answers_to_twice_the_same = task.table[a, b].unique()
    return 0 if len(answers_to_twice_the_same) == 1 else 2
