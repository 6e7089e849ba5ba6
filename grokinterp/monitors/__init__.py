"""Monitors: measures that need no key frequencies, so they can be computed during training.

Pass them to `gi.trajectory` to measure a run's checkpoints, or to `gi.train(..., monitors=[...])` to measure every
logged epoch of a run in training.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from grokinterp import attention, progress
from grokinterp.measures import Measure
from grokinterp.monitors import activations as activations
from grokinterp.monitors import collapse as collapse
from grokinterp.monitors import gradients as gradients
from grokinterp.monitors import weights as weights
from grokinterp.monitors.activations import mean as activation_mean
from grokinterp.monitors.activations import norm as activation_norm
from grokinterp.monitors.activations import sparsity as activation_sparsity
from grokinterp.monitors.activations import std as activation_std
from grokinterp.monitors.collapse import softmax_collapse as softmax_collapse
from grokinterp.monitors.collapse import zero_losses as zero_losses
from grokinterp.monitors.gradients import alignment as alignment
from grokinterp.monitors.gradients import alignment_by_parameter as gradient_alignment
from grokinterp.monitors.gradients import norm as gradient_norm
from grokinterp.monitors.weights import effective_rank as effective_rank
from grokinterp.monitors.weights import matrix as matrix
from grokinterp.monitors.weights import spectral_entropy as spectral_entropy
from grokinterp.monitors.weights import stable_rank as stable_rank
from grokinterp.monitors.weights import weight_sparsity as weight_sparsity


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
