"""Monitors: measures that need no key frequencies, so they can be computed during training.

Pass them to `gi.trajectory` to measure a run's checkpoints, or to `gi.train(..., monitors=[...])` to measure every
logged epoch of a run in training.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from grokinterp import attention, progress
from grokinterp.measures import Measure
from grokinterp.monitors import activations, gradients
from grokinterp.monitors.gradients import alignment, softmax_collapse, zero_losses
from grokinterp.monitors.weights import effective_rank, matrix, spectral_entropy, stable_rank, weight_sparsity


activation_mean = activations.mean
activation_std = activations.std
activation_sparsity = activations.sparsity
activation_norm = activations.norm
gradient_norm = gradients.norm
gradient_alignment = gradients.alignment_by_parameter

_ALL: Final = (
    activation_mean,
    activation_std,
    activation_sparsity,
    activation_norm,
    attention.mean,
    attention.std,
    gradient_norm,
    gradient_alignment,
    alignment,
    progress.weight_norm,
    weight_sparsity(),
    effective_rank,
    stable_rank,
    spectral_entropy,
    softmax_collapse,
    zero_losses,
)

MONITORS: Final[Mapping[str, Measure]] = MappingProxyType({monitor.name: monitor for monitor in _ALL})
"""All monitors by name, with default arguments."""


__all__ = [
    "MONITORS",
    "activation_mean",
    "activation_norm",
    "activation_sparsity",
    "activation_std",
    "alignment",
    "effective_rank",
    "gradient_alignment",
    "gradient_norm",
    "matrix",
    "softmax_collapse",
    "spectral_entropy",
    "stable_rank",
    "weight_sparsity",
    "zero_losses",
]
