"""Causal interventions: ablate, keep, replace, patch, relocate or rotate components of a model.

A component (`head`, `cluster`, `frequency`, ...) and an operation (`ablate`, `keep_only`, ...) make an intervention.
Called with a model, it returns an edited Snapshot that any measure accepts; `on` is a context manager; `run_with_hooks`
applies it to the TransformerLens model itself. `losses`, `effects` and `control` are measures of an intervention, for
a snapshot or in a `trajectory`.
"""

from grokinterp.interventions.components import Component as Component
from grokinterp.interventions.components import cluster as cluster
from grokinterp.interventions.components import directions as directions
from grokinterp.interventions.components import head as head
from grokinterp.interventions.components import neurons as neurons
from grokinterp.interventions.components import readout as readout
from grokinterp.interventions.components import skip as skip
from grokinterp.interventions.controls import control as control
from grokinterp.interventions.controls import null_losses as null_losses
from grokinterp.interventions.frequencies import frequency as frequency
from grokinterp.interventions.intervention import Intervention as Intervention
from grokinterp.interventions.intervention import run_with_hooks as run_with_hooks
from grokinterp.interventions.measures import accuracies as accuracies
from grokinterp.interventions.measures import effects as effects
from grokinterp.interventions.measures import losses as losses
from grokinterp.interventions.measures import under as under
from grokinterp.interventions.operations import ablate as ablate
from grokinterp.interventions.operations import keep_only as keep_only
from grokinterp.interventions.operations import patch as patch
from grokinterp.interventions.operations import replace as replace
from grokinterp.interventions.rotations import phase_shift as phase_shift
from grokinterp.interventions.rotations import relocate as relocate


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
