"""The neurons by their frequency: how clear it is, how many each has, and at which phases they stand."""

from typing import Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import slider, theme
from grokinterp.plots.data import named_keys, need, over_epochs


BINS: Final = np.linspace(0, 1, 21)


def neuron_clusters(ds: xr.Dataset, *, threshold: float = 0.85) -> go.Figure:
    """How well one frequency explains each neuron, how many neurons each has, and their phases.

    Args:
        ds: A snapshot or a trajectory with `neuron_frequency`, `neuron_fve` and `neuron_phase`.
        threshold: Only neurons of which their frequency explains at least this share are counted to it; 0.85
            is that of the paper.

    Returns:
        A figure of three panels, and a slider where there are several epochs.

    Raises:
        KeyError: If one of the variables is missing.
        ValueError: If the threshold is not from 0 to 1.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 5a.
    """
    threshold = arguments.fraction(threshold, "threshold")
    names = ("neuron_frequency", "neuron_fve", "neuron_phase")
    frequency, fve, phase = (over_epochs(need(ds, name)) for name in names)
    keys = _keys(ds, frequency, fve, threshold)
    colours = theme.frequency_colours(keys)
    titles = ["Neurons by clarity", f"Neurons per frequency (FVE ≥ {threshold:g})", "Phases"]
    fig = theme.panels(titles, columns=3, horizontal_spacing=0.085)

    frames = []
    most = [1, 1]
    for k, share, angle in zip(frequency.values, fve.values, phase.values, strict=True):
        k, is_clear = k.astype(int), share >= threshold
        bars = np.histogram(share, BINS)[0]
        counts = [int(((k == key) & is_clear).sum()) for key in keys]
        rest = int((is_clear & ~np.isin(k, keys)).sum())
        shown = is_clear & np.isin(k, keys) & np.isfinite(angle)
        # Neurons of one frequency stand side by side in the order of their numbers.
        offset = (np.arange(len(k)) * 0.618034) % 1 - 0.5
        frames.append(
            [
                {"y": bars},
                {"y": [*counts, rest]},
                {
                    "x": np.array([keys.index(i) for i in k[shown]] + offset[shown] * 0.6, dtype=np.float32),
                    "y": angle[shown].astype(np.float32),
                    "marker": {"color": [colours[i] for i in k[shown]], "size": 4, "opacity": 0.75},
                    "customdata": np.flatnonzero(shown).astype(np.int16),
                },
            ]
        )
        most = [max(most[0], int(bars.max())), max([most[1], *counts, rest])]

    bars, counts, dots = frames[-1]
    shades = [theme.QUIET if left >= threshold - 1e-9 else theme.OTHER for left in BINS[:-1]]
    read = "FVE %{x:.3g}: %{y} neurons<extra></extra>"
    centres = (BINS[:-1] + BINS[1:]) / 2
    fig.add_bar(x=centres, **bars, width=0.046, marker={"color": shades}, name="neurons", hovertemplate=read)
    ticks = [*(str(k) for k in keys), "other"]
    fills = [*(colours[k] for k in keys), theme.OTHER]
    read = "%{x}: %{y} neurons<extra></extra>"
    fig.add_bar(x=ticks, **counts, marker={"color": fills}, name="per frequency", hovertemplate=read, row=1, col=2)
    read = "neuron %{customdata}: %{y:.2f} rad<extra></extra>"
    fig.add_scatter(**dots, mode="markers", name="phases", hovertemplate=read, row=1, col=3)

    fig.update_xaxes(title_text=theme.title(fve), range=[0, 1.01], row=1, col=1)
    fig.update_yaxes(title_text="neurons", range=[0, most[0] * 1.06], row=1, col=1)
    fig.update_xaxes(title_text=theme.title(frequency), type="category", row=1, col=2)
    fig.update_yaxes(title_text="neurons", range=[0, most[1] * 1.06], row=1, col=2)
    labels_of_keys = {"tickvals": list(range(len(keys))), "ticktext": [str(k) for k in keys]}
    fig.update_xaxes(title_text=theme.title(frequency), range=[-0.6, len(keys) - 0.4], **labels_of_keys, row=1, col=3)
    turns = {"tickvals": [-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], "ticktext": ["-π", "-π/2", "0", "π/2", "π"]}
    fig.update_yaxes(title_text=theme.title(phase), range=[-3.3, 3.3], **turns, row=1, col=3)
    fig.update_layout(showlegend=False)
    slider.add(fig, frequency["epoch"].values.tolist(), frames)
    return theme.apply(fig, height=440 if len(frames) > 1 else 360)


def _keys(ds: xr.Dataset, frequency: xr.DataArray, fve: xr.DataArray, threshold: float) -> list[int]:
    """The Dataset's keys; else the frequencies, ten at most, that have most clear neurons at the last epoch."""
    named = named_keys(ds)
    if named is not None:
        return named
    found, counts = np.unique(frequency.values[-1][fve.values[-1] >= threshold].astype(int), return_counts=True)
    order = np.argsort(-counts, kind="stable")[: len(theme.FREQUENCY)]
    return sorted(int(k) for k in found[order])
