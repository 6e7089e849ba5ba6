"""What detectors look at, of one snapshot. No label of a pair that was not trained on is compared with an answer.

They assume a structure all the same: those of the logits read them as a function of a∘b, and who knows the operation
could work out every answer. That is what one looks for grokking with; a detector that knew nothing of the task would
have the weights alone. Where a task has no group, such as random labels, they take the operation to be addition.
"""

import math
from dataclasses import replace
from typing import Final

import torch
import xarray as xr
from jaxtyping import Float64
from torch import Tensor

from grokinterp import labels
from grokinterp.fourier import frequency_norms, gini_coefficient
from grokinterp.logits import product_fractions, project_products
from grokinterp.losses import cross_entropy
from grokinterp.measures import measure
from grokinterp.snapshots import Snapshot, kept
from grokinterp.tasks import operation


# Frequencies that count as keys at a checkpoint, whatever it is.
N_KEYS: Final = 5


@measure("embedding_gini")
def embedding_gini(snapshot: Snapshot) -> xr.DataArray:
    """The Gini coefficient of the frequencies of W_E, 0 for all alike to 1 for a single one; a number."""
    return _number(gini_coefficient(_embedding_norms(_as_structured(snapshot))), "Gini coefficient of W_E", "")


@measure("readout_gini")
def readout_gini(snapshot: Snapshot) -> xr.DataArray:
    """The Gini coefficient of the frequencies of W_L over the answers, 0 to 1; a number."""
    structured = _as_structured(snapshot)
    return _number(gini_coefficient(frequency_norms(structured.W_L, structured.basis)), "Gini coefficient of W_L", "")


@measure("spectral_concentration")
def concentration(snapshot: Snapshot) -> xr.DataArray:
    """The share of W_E's squared norm, its constant left out, in its five strongest frequencies, 0 to 1; a number."""
    squares = _embedding_norms(_as_structured(snapshot)).square()
    strongest = squares.topk(min(N_KEYS, len(squares))).values.sum()
    total = squares.sum().clamp(min=torch.finfo(squares.dtype).tiny)
    return _number((strongest / total).item(), "share of the five strongest frequencies of W_E", "")


@measure("product_gini")
def product_gini(snapshot: Snapshot) -> xr.DataArray:
    """The Gini coefficient of the logits' frequencies as a function of a∘b, 0 to 1; a number.

    It does not depend on the size of the logits, and compares them with no answer. It assumes the operation: the logits
    are averaged over the pairs, trained on or not, that have one product.
    """
    shares = product_fractions(_as_structured(snapshot))
    return _number(gini_coefficient(shares.sqrt()), "Gini coefficient of the logits over a∘b", "")


@measure("current_excluded_loss")
def excluded(snapshot: Snapshot) -> xr.DataArray:
    """What the train loss rises by without the functions of a∘b of the then five strongest frequencies; a number.

    In units of log p, the loss of a guess. The frequencies are those of W_E. A difference and no ratio, since the train
    loss of a model that decays no weights runs to zero.

    Source:
        Nanda et al. 2023, arXiv:2301.05217. Differs: theirs takes the keys of the end of training, which nobody knows
        early.
    """
    structured, keys = _as_structured(snapshot), _keys(snapshot)
    removed = structured.logits - project_products(structured, keys)[structured.task.table]
    rise = _train_loss(snapshot, removed) - _train_loss(snapshot, structured.logits)
    return _number(rise / math.log(snapshot.task.n_outputs), "rise of the train loss without the keys of the time", "")


@measure("current_restricted_loss")
def restricted(snapshot: Snapshot) -> xr.DataArray:
    """How far below a guess the train loss is by the functions of a∘b of the then five strongest frequencies alone.

    1 - loss / log p, a number: 1 at best, 0 for a guess, and below that for confident errors. The frequencies are those
    of W_E.

    Source:
        Nanda et al. 2023, arXiv:2301.05217. Differs: theirs takes the keys of the end, and all pairs.
    """
    structured, keys = _as_structured(snapshot), _keys(snapshot)
    alone = project_products(structured, (0, *keys))[structured.task.table]
    value = 1 - _train_loss(snapshot, alone) / math.log(snapshot.task.n_outputs)
    return _number(value, "1 - restricted loss at the keys of the time / log p", "")


def _as_structured(snapshot: Snapshot) -> Snapshot:
    """The snapshot with a task that has a group: its own, or addition."""
    # Nothing may be kept of a snapshot that holds the snapshot itself: neither would ever be freed.
    return snapshot if snapshot.task.group is not None else _as_addition(snapshot)


@kept
def _as_addition(snapshot: Snapshot) -> Snapshot:
    task = snapshot.task
    if task.shape != (task.n_tokens, task.n_tokens) or task.n_tokens != task.n_outputs:
        msg = (
            f"a detector looks for the structure of addition where a task has none, and {task.name!r} has "
            f"{task.shape} pairs and {task.n_outputs} answers; early detection needs as many answers as operands."
        )
        raise ValueError(msg)
    return replace(snapshot, task=operation("addition", task.n_tokens))


def _embedding_norms(structured: Snapshot) -> Float64[Tensor, " frequency"]:
    return frequency_norms(structured.W_E.T, structured.basis)


def _keys(snapshot: Snapshot) -> list[int]:
    """The frequencies that are strongest in W_E."""
    structured = _as_structured(snapshot)
    norms = _embedding_norms(structured)
    blocks = torch.tensor(structured.basis.blocks)
    return sorted(blocks[norms.topk(min(N_KEYS, len(norms))).indices].tolist())


def _train_loss(snapshot: Snapshot, logits: Float64[Tensor, "a b c"]) -> float:
    is_train = snapshot.mask("train")
    return cross_entropy(logits[is_train], snapshot.task.table[is_train]).item()


def _number(value: float, long_name: str, units: str) -> xr.DataArray:
    return labels.array(value, name="signal", units=units, long_name=long_name)
