"""Figures: functions from a labeled Dataset to a plotly Figure, which is returned, not shown or written.

Plots import no torch, model or analysis; axis titles come from the attributes of the data.
"""

from grokinterp.plots.attention import attention as attention
from grokinterp.plots.attention import attention_over_time as attention_over_time
from grokinterp.plots.comparison import compared as compared
from grokinterp.plots.comparison import over_seeds as over_seeds
from grokinterp.plots.comparison import sweep_curves as sweep_curves
from grokinterp.plots.curves import training_curves as training_curves
from grokinterp.plots.effects import effects as effects
from grokinterp.plots.grokking_times import grokking_map as grokking_map
from grokinterp.plots.grokking_times import grokking_time as grokking_time
from grokinterp.plots.grokking_times import survival as survival
from grokinterp.plots.logits import logit_components as logit_components
from grokinterp.plots.logits import logits_over_inputs as logits_over_inputs
from grokinterp.plots.logits import readout_components as readout_components
from grokinterp.plots.monitors import monitors as monitors
from grokinterp.plots.neurons import neuron_clusters as neuron_clusters
from grokinterp.plots.neurons import neuron_grid as neuron_grid
from grokinterp.plots.neurons import neuron_spectra as neuron_spectra
from grokinterp.plots.progress import overview as overview
from grokinterp.plots.progress import progress as progress
from grokinterp.plots.spectra import excluded_by_frequency as excluded_by_frequency
from grokinterp.plots.spectra import logit_fve as logit_fve
from grokinterp.plots.spectra import score_components as score_components
from grokinterp.plots.spectra import spectrum as spectrum
from grokinterp.plots.spectra import spectrum_over_time as spectrum_over_time
from grokinterp.plots.weights import embedding_circles as embedding_circles
from grokinterp.plots.weights import weight_maps as weight_maps
from grokinterp.plots.weights import weights as weights


__all__ = [
    "attention",
    "attention_over_time",
    "compared",
    "effects",
    "embedding_circles",
    "excluded_by_frequency",
    "grokking_map",
    "grokking_time",
    "logit_components",
    "logit_fve",
    "logits_over_inputs",
    "monitors",
    "neuron_clusters",
    "neuron_grid",
    "neuron_spectra",
    "over_seeds",
    "overview",
    "progress",
    "readout_components",
    "score_components",
    "spectrum",
    "spectrum_over_time",
    "survival",
    "sweep_curves",
    "training_curves",
    "weight_maps",
    "weights",
]
