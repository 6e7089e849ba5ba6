"""Nanda et al. 2023, "Progress measures for grokking via mechanistic interpretability": all that is specific to it."""

from collections.abc import Sequence
from importlib import resources
from typing import Final

from grokinterp import fourier, logits, presets, progress
from grokinterp.measures import Measure
from grokinterp.papers.nanda2023 import ablations, circuit, figures, reruns, training
from grokinterp.papers.paper import Paper


def _curves(keys: tuple[int, ...]) -> Sequence[Measure]:
    return [
        progress.losses,
        progress.accuracies,
        progress.weight_norm,
        progress.restricted_loss(keys),
        progress.restricted_loss(keys, split="train").named("restricted_loss_train"),
        progress.restricted_accuracy(keys),
        progress.restricted_accuracy(keys, split="train").named("restricted_accuracy_train"),
        progress.excluded_loss().named("excluded_loss_2D"),
        progress.excluded_loss(form="3D").named("excluded_loss_3D"),
        progress.excluded_accuracy().named("excluded_accuracy_2D"),
        progress.excluded_loss_by_frequency(keys).named("excluded_loss_2D_by_key"),
        progress.excluded_loss_by_frequency(keys, form="3D").named("excluded_loss_3D_by_key"),
        progress.trig_loss(keys),
        fourier.gini,
        logits.coefficients,
        logits.fve(),
    ]


PAPER: Final = Paper(
    name="nanda2023",
    title="Progress measures for grokking, claim by claim",
    citation="Nanda et al. 2023 (arXiv:2301.05217)",
    config=presets.nanda2023,
    data=resources.files(__name__).joinpath("data"),
    modules={"circuit": circuit, "ablations": ablations, "training": training, "reruns": reruns},
    curves=_curves,
    figures=figures.figures,
    line_name=figures.line_name,
    axes={"fraction": "fraction trained on", "weight_decay": "weight decay", "p": "modulus p"},
    frequency_claims={"circuit.is_key", "circuit.next_frequency", "circuit.attention_frequency"},
)
