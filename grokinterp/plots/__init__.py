"""Pictures: functions from a labelled Dataset to a plotly Figure, which is returned and neither shown nor written.

Nothing here knows torch, a model or an analysis; titles of axes come from the attributes of what is drawn.
"""

from grokinterp.plots.attention_over_time import attention_over_time as attention_over_time
from grokinterp.plots.causes import effects as effects
from grokinterp.plots.circles import embedding_circles as embedding_circles
from grokinterp.plots.clusters import neuron_clusters as neuron_clusters
from grokinterp.plots.comparison import compared as compared
from grokinterp.plots.components import logit_components as logit_components
from grokinterp.plots.components import readout_components as readout_components
from grokinterp.plots.curves import training_curves as training_curves
from grokinterp.plots.frequencies import excluded_by_frequency as excluded_by_frequency
from grokinterp.plots.frequencies import logit_fve as logit_fve
from grokinterp.plots.grids import attention as attention
from grokinterp.plots.grids import logits_over_inputs as logits_over_inputs
from grokinterp.plots.grids import neuron_grid as neuron_grid
from grokinterp.plots.grokking import grokking_epochs as grokking_epochs
from grokinterp.plots.measures import progress as progress
from grokinterp.plots.monitors import monitors as monitors
from grokinterp.plots.neuron_spectra import neuron_spectra as neuron_spectra
from grokinterp.plots.norms import weights as weights
from grokinterp.plots.overview import overview as overview
from grokinterp.plots.seeds import over_seeds as over_seeds
from grokinterp.plots.spectra import score_components as score_components
from grokinterp.plots.spectra import spectrum as spectrum
from grokinterp.plots.spectra import spectrum_over_time as spectrum_over_time
from grokinterp.plots.survival import survival as survival
from grokinterp.plots.sweep_curves import sweep_curves as sweep_curves
from grokinterp.plots.sweeps import grokking_map as grokking_map
from grokinterp.plots.sweeps import grokking_time as grokking_time
from grokinterp.plots.weight_maps import weight_maps as weight_maps


__all__ = [
    "attention",
    "attention_over_time",
    "compared",
    "effects",
    "embedding_circles",
    "excluded_by_frequency",
    "grokking_epochs",
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
