"""Neurons: their frequencies and phases, their spectra, and their activations over all inputs."""

from typing import Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp import arguments
from grokinterp.plots import theme
from grokinterp.plots.data import named_keys, need, over_epochs, present, small
from grokinterp.plots.heatmaps import input_grids


BINS: Final = np.linspace(0, 1, 21)


def neuron_clusters(ds: xr.Dataset, *, threshold: float = 0.85) -> go.Figure:
    """Plot how well one frequency explains each neuron, the number of neurons per frequency, and their phases.

    Args:
        ds: A snapshot or a trajectory with `neuron_frequency`, `neuron_fve` and `neuron_phase`.
        threshold: Minimum FVE for a neuron to count toward its frequency, from 0 to 1; the paper uses 0.85.

    Returns:
        A figure with three panels, and a slider if there are several epochs.

    Raises:
        KeyError: If a variable is missing.
        ValueError: If the threshold is not from 0 to 1.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 5a.
    """
    threshold = arguments.fraction(threshold, "threshold")
    names = ("neuron_frequency", "neuron_fve", "neuron_phase")
    frequency, fve, phase = (over_epochs(need(ds, name)) for name in names)
    keys = _keys(ds, frequency, fve, threshold)
    colors = theme.frequency_colors(keys)
    titles = ["Neurons by FVE", f"Neurons per frequency (FVE ≥ {threshold:g})", "Phases"]
    fig = theme.panels(titles, columns=3, horizontal_spacing=0.085)

    frames = []
    most = [1, 1]
    for k, explained, angle in zip(frequency.values, fve.values, phase.values, strict=True):
        k, is_clear = k.astype(int), explained >= threshold
        bars = np.histogram(explained, BINS)[0]
        counts = [int(((k == key) & is_clear).sum()) for key in keys]
        rest = int((is_clear & ~np.isin(k, keys)).sum())
        shown = is_clear & np.isin(k, keys) & np.isfinite(angle)
        # Steps of the golden ratio spread the neurons of one frequency out.
        offset = (np.arange(len(k)) * 0.618034) % 1 - 0.5
        frames.append(
            [
                {"y": bars},
                {"y": [*counts, rest]},
                {
                    "x": small([keys.index(i) for i in k[shown]] + offset[shown] * 0.6),
                    "y": small(angle[shown]),
                    "marker": {"color": [colors[i] for i in k[shown]], "size": 4, "opacity": 0.75},
                    "customdata": np.flatnonzero(shown).astype(np.int16),
                },
            ]
        )
        most = [max(most[0], int(bars.max())), max([most[1], *counts, rest])]

    bars, counts, dots = frames[-1]
    shades = [theme.QUIET if left >= threshold - 1e-9 else theme.OTHER for left in BINS[:-1]]
    hover = "FVE %{x:.3g}: %{y} neurons<extra></extra>"
    centers = (BINS[:-1] + BINS[1:]) / 2
    fig.add_bar(x=centers, **bars, width=0.046, marker={"color": shades}, name="neurons", hovertemplate=hover)
    ticks = [*(str(k) for k in keys), "other"]
    fills = [*(colors[k] for k in keys), theme.OTHER]
    hover = "%{x}: %{y} neurons<extra></extra>"
    fig.add_bar(x=ticks, **counts, marker={"color": fills}, name="per frequency", hovertemplate=hover, row=1, col=2)
    hover = "neuron %{customdata}: %{y:.2f} rad<extra></extra>"
    fig.add_scatter(**dots, mode="markers", name="phases", hovertemplate=hover, row=1, col=3)

    fig.update_xaxes(title_text=theme.title(fve), range=[0, 1.01], row=1, col=1)
    fig.update_yaxes(title_text="neurons", range=[0, most[0] * 1.06], row=1, col=1)
    fig.update_xaxes(title_text=theme.title(frequency), type="category", row=1, col=2)
    fig.update_yaxes(title_text="neurons", range=[0, most[1] * 1.06], row=1, col=2)
    key_ticks = {"tickvals": list(range(len(keys))), "ticktext": [str(k) for k in keys]}
    fig.update_xaxes(title_text=theme.title(frequency), range=[-0.6, len(keys) - 0.4], **key_ticks, row=1, col=3)
    turns = {"tickvals": [-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], "ticktext": ["-π", "-π/2", "0", "π/2", "π"]}
    fig.update_yaxes(title_text=theme.title(phase), range=[-3.3, 3.3], **turns, row=1, col=3)
    fig.update_layout(showlegend=False)
    theme.add_slider(fig, frequency["epoch"].values.tolist(), frames)
    return theme.apply(fig, height=440 if len(frames) > 1 else 360)


def neuron_spectra(ds: xr.Dataset) -> go.Figure:
    """Plot the fraction of each neuron's variance at each frequency, as a heatmap of all neurons.

    Args:
        ds: A snapshot or a trajectory with `neuron_spectrum`.

    Returns:
        A heatmap with one row per neuron, in percent, and a slider if there are several epochs. At every epoch, rows
        are sorted by the neurons' best frequency at the last one.

    Raises:
        KeyError: If `neuron_spectrum` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.4, for single neurons.

    Examples:
        >>> fractions = xr.DataArray(np.eye(3), dims=("neuron", "frequency"), coords={"frequency": [1, 2, 3]})
        >>> neuron_spectra(xr.Dataset({"neuron_spectrum": fractions[::-1]})).data[0].z[0].tolist()
        [100, 0, 0]
    """
    data = over_epochs(need(ds, "neuron_spectrum")).transpose("epoch", "neuron", "frequency")
    last = data.values[-1]
    order = np.lexsort((-last.max(axis=1), last.argmax(axis=1)))
    # One byte per cell keeps figures small: each epoch has tens of thousands of cells.
    percent = np.rint(100 * data.values[:, order]).astype(np.uint8)
    hover = "row %{y}, k = %{x}: %{z}%<extra></extra>"
    fig = theme.panels(["Neurons by frequency"], columns=1)
    frequencies = data["frequency"].values.tolist()
    fig.add_heatmap(z=percent[-1], x=frequencies, coloraxis="coloraxis", name="neurons", hovertemplate=hover)
    fig.update_xaxes(title_text="frequency k", showgrid=False)
    fig.update_yaxes(title_text="neurons, sorted by final frequency", showgrid=False, autorange="reversed")
    theme.add_slider(fig, data["epoch"].values.tolist(), [[{"z": z}] for z in percent])
    bar = {"title": {"text": f"{theme.title(data)} (%)", "side": "right"}, "len": 1.0}
    fig.update_layout(coloraxis={"colorscale": theme.SEQUENTIAL, "cmin": 0, "cmax": 100, "colorbar": bar})
    return theme.apply(fig, height=520)


def neuron_grid(ds: xr.Dataset) -> go.Figure:
    """Plot the activations of some neurons over all pairs of inputs, each as a fraction of its maximum.

    The maximum is taken at the last epoch; larger activations at earlier epochs are clipped to it.

    Args:
        ds: A snapshot or a trajectory with `neurons`. If `neuron_frequency` is present, titles include it.

    Returns:
        A figure with one panel per neuron, and a slider if there are several epochs.

    Raises:
        KeyError: If `neurons` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 4b.

    Examples:
        >>> activations = xr.DataArray(np.ones((2, 3, 3)), dims=("neuron", "a", "b"))
        >>> len(neuron_grid(xr.Dataset({"neurons": activations})).data)
        2
    """
    data = present(over_epochs(need(ds, "neurons")), "neuron")
    titles = [f"Neuron {n}" for n in data["neuron"].values]
    if "neuron_frequency" in ds and "neuron" in ds["neuron_frequency"].coords:
        last = over_epochs(ds["neuron_frequency"])[-1]
        titles = [f"Neuron {n}, k = {int(last.sel(neuron=n))}" for n in data["neuron"].values]
    # On a shared scale, the strongest neuron would leave the others pale.
    data = data.transpose("epoch", "neuron", "a", "b")
    largest = data.values[-1].max(axis=(1, 2), keepdims=True)
    fractions = data.copy(data=np.minimum(data.values / np.where(largest > 0, largest, 1.0), 1.0))
    fractions.attrs = {"long_name": f"{theme.title(data)},<br>fraction of its maximum", "units": ""}
    return input_grids(fractions, "neuron", titles)


def _keys(ds: xr.Dataset, frequency: xr.DataArray, fve: xr.DataArray, threshold: float) -> list[int]:
    """The Dataset's keys, or up to ten frequencies with the most neurons above the threshold at the last epoch."""
    named = named_keys(ds)
    if named is not None:
        return named
    frequencies, counts = np.unique(frequency.values[-1][fve.values[-1] >= threshold].astype(int), return_counts=True)
    order = np.argsort(-counts, kind="stable")[: len(theme.FREQUENCY)]
    return sorted(int(k) for k in frequencies[order])
