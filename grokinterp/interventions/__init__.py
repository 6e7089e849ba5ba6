"""Causal interventions: ablate, keep, replace, patch, relocate or rotate components of a model.

A component (`head`, `cluster`, `frequency`, ...) and an operation (`ablate`, `keep_only`, ...) make an intervention.
Called with a model, it returns an edited Snapshot that any measure accepts; `on` is a context manager; `run_with_hooks`
applies it to the TransformerLens model itself. `losses`, `effects` and `control` are measures of an intervention, for
a snapshot or in a `trajectory`.
"""

from grokinterp.interventions.components import Component, cluster, directions, head, neurons, readout, skip
from grokinterp.interventions.controls import control, null_losses
from grokinterp.interventions.frequencies import frequency, phase_shift, relocate
from grokinterp.interventions.intervention import Intervention, run_with_hooks
from grokinterp.interventions.measures import accuracies, effects, losses, under
from grokinterp.interventions.operations import ablate, keep_only, patch, replace


__all__ = [
    "Component",
    "Intervention",
    "ablate",
    "accuracies",
    "cluster",
    "control",
    "directions",
    "effects",
    "frequency",
    "head",
    "keep_only",
    "losses",
    "neurons",
    "null_losses",
    "patch",
    "phase_shift",
    "readout",
    "relocate",
    "replace",
    "run_with_hooks",
    "skip",
    "under",
]
