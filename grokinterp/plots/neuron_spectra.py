"""Which frequencies each neuron has: all neurons in one picture."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import slider, theme
from grokinterp.plots.data import need, over_epochs


def neuron_spectra(ds: xr.Dataset) -> go.Figure:
    """The share of each neuron's variance at each frequency, neurons in the order of their last best frequency.

    Args:
        ds: A snapshot or a trajectory with `neuron_spectrum`.

    Returns:
        A heat map with a row per neuron, and a slider where there are several epochs. Shares are drawn in
        hundredths.

    Raises:
        KeyError: If `neuron_spectrum` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.4, of single neurons.

    Examples:
        >>> import numpy as np
        >>> shares = xr.DataArray(np.eye(3), dims=("neuron", "frequency"), coords={"frequency": [1, 2, 3]})
        >>> neuron_spectra(xr.Dataset({"neuron_spectrum": shares[::-1]})).data[0].z[0].tolist()
        [100, 0, 0]
    """
    data = over_epochs(need(ds, "neuron_spectrum")).transpose("epoch", "neuron", "frequency")
    last = data.values[-1]
    order = np.lexsort((-last.max(axis=1), last.argmax(axis=1)))
    # A byte per cell: there are tens of thousands of them at each epoch.
    percent = np.rint(100 * data.values[:, order]).astype(np.uint8)
    read = "row %{y}, k = %{x}: %{z} %<extra></extra>"
    fig = theme.panels(["Neurons by frequency"], columns=1)
    fig.add_heatmap(
        z=percent[-1],
        x=data["frequency"].values.tolist(),
        coloraxis="coloraxis",
        name="neurons",
        hovertemplate=read,
    )
    fig.update_xaxes(title_text="frequency k", showgrid=False)
    fig.update_yaxes(title_text="neurons, by their last frequency", showgrid=False, autorange="reversed")
    slider.add(fig, data["epoch"].values.tolist(), [[{"z": z}] for z in percent])
    bar = {"title": {"text": f"{theme.title(need(ds, 'neuron_spectrum'))} (%)", "side": "right"}, "len": 1.0}
    fig.update_layout(coloraxis={"colorscale": theme.SEQUENTIAL, "cmin": 0, "cmax": 100, "colorbar": bar})
    return theme.apply(fig, height=520)
