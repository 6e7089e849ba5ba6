"""The measures of the detectors, computed on one snapshot without comparing any test pair's label with an answer.

They still use the task: measures of the logits treat them as a function of a∘b, so they know the operation, from which
every answer follows; a detector without such knowledge could use only the weights. For a task without a group, e.g.
random labels, they assume addition.
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
from grokinterp.snapshots import Snapshot, cached
from grokinterp.tasks import operation


# Number of frequencies that count as keys at every checkpoint.
N_KEYS: Final = 5


@measure("embedding_gini", version=1)
def embedding_gini(snapshot: Snapshot) -> xr.DataArray:
    """Gini coefficient of the frequency norms of W_E, from 0 if all are equal to 1 if only one is nonzero; a scalar."""
    return _scalar(gini_coefficient(_embedding_norms(_as_structured(snapshot))), "Gini coefficient of W_E")


@measure("readout_gini", version=1)
def readout_gini(snapshot: Snapshot) -> xr.DataArray:
    """Gini coefficient of the frequency norms of W_L over the outputs, 0 to 1; a scalar."""
    structured = _as_structured(snapshot)
    return _scalar(gini_coefficient(frequency_norms(structured.W_L, structured.basis)), "Gini coefficient of W_L")


@measure("spectral_concentration", version=1)
def concentration(snapshot: Snapshot) -> xr.DataArray:
    """Fraction of W_E's squared norm, without the constant, in its five largest frequencies, 0 to 1; a scalar."""
    squares = _embedding_norms(_as_structured(snapshot)).square()
    largest = squares.topk(min(N_KEYS, len(squares))).values.sum()
    total = squares.sum().clamp(min=torch.finfo(squares.dtype).tiny)
    return _scalar((largest / total).item(), "fraction of W_E in its five largest frequencies")


@measure("product_gini", version=1)
def product_gini(snapshot: Snapshot) -> xr.DataArray:
    """Gini coefficient of the logits' frequency norms as a function of a∘b, 0 to 1; a scalar.

    It does not depend on the scale of the logits and compares them with no answer. It assumes the operation: logits
    are averaged over all pairs with the same a∘b, in the training set or not.
    """
    fractions = product_fractions(_as_structured(snapshot))
    return _scalar(gini_coefficient(fractions.sqrt()), "Gini coefficient of the logits over a∘b")


@measure("current_excluded_loss", version=1)
def excluded(snapshot: Snapshot) -> xr.DataArray:
    """Increase of the train loss without the logits' components in the current keys, in units of log p; a scalar.

    The keys are the five largest frequencies of W_E at this checkpoint; log p is the loss of uniform logits. It is a
    difference and not a ratio, since without weight decay the train loss approaches zero.

    Source:
        Nanda et al. 2023, arXiv:2301.05217. Differs: the paper uses the keys at the end of training, which are not
        known early.
    """
    structured = _as_structured(snapshot)
    removed = structured.logits - project_products(structured, _keys(structured))[structured.task.table]
    increase = _train_loss(snapshot, removed) - _train_loss(snapshot, structured.logits)
    return _scalar(increase / math.log(snapshot.task.n_outputs), "increase of the train loss without the current keys")


@measure("current_restricted_loss", version=1)
def restricted(snapshot: Snapshot) -> xr.DataArray:
    """1 - train loss / log p with only the constant and the current keys in the logits; a scalar.

    It is at most 1, 0 for uniform logits, and negative for confident errors. The keys are the five largest frequencies
    of W_E at this checkpoint.

    Source:
        Nanda et al. 2023, arXiv:2301.05217. Differs: the paper uses the keys at the end of training, and all pairs.
    """
    structured = _as_structured(snapshot)
    projected = project_products(structured, (0, *_keys(structured)))[structured.task.table]
    value = 1 - _train_loss(snapshot, projected) / math.log(snapshot.task.n_outputs)
    return _scalar(value, "1 - restricted loss at the current keys / log p")


def _as_structured(snapshot: Snapshot) -> Snapshot:
    """The snapshot with a task that has a group: its own, or addition."""
    # Caching the snapshot on itself would keep both alive forever.
    return snapshot if snapshot.task.group is not None else _as_addition(snapshot)


@cached
def _as_addition(snapshot: Snapshot) -> Snapshot:
    task = snapshot.task
    if task.shape != (task.n_tokens, task.n_tokens) or task.n_tokens != task.n_outputs:
        msg = (
            f"early detection needs as many outputs as operands if the task has no group, to read it as addition, "
            f"got {task.name!r} with {task.shape} pairs and {task.n_outputs} outputs; use a task of a group."
        )
        raise ValueError(msg)
    return replace(snapshot, task=operation("addition", task.n_tokens))


def _embedding_norms(structured: Snapshot) -> Float64[Tensor, " frequency"]:
    return frequency_norms(structured.W_E.T, structured.basis)


def _keys(structured: Snapshot) -> list[int]:
    """The largest frequencies of W_E."""
    norms = _embedding_norms(structured)
    blocks = torch.tensor(structured.basis.blocks)
    return sorted(blocks[norms.topk(min(N_KEYS, len(norms))).indices].tolist())


def _train_loss(snapshot: Snapshot, logits: Float64[Tensor, "a b c"]) -> float:
    is_train = snapshot.mask("train")
    return cross_entropy(logits[is_train], snapshot.task.table[is_train]).item()


def _scalar(value: float, long_name: str) -> xr.DataArray:
    return labels.array(value, name="signal", units="", long_name=long_name)
