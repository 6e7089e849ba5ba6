"""Bars, squares and circles: what they show at each epoch, and the slider between them."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

from grokinterp import plots
from grokinterp.plots import theme


WITH_SLIDER = {
    "spectrum": plots.spectrum,
    "neuron_clusters": plots.neuron_clusters,
    "neuron_grid": plots.neuron_grid,
    "attention": plots.attention,
    "logits_over_inputs": plots.logits_over_inputs,
    "embedding_circles": plots.embedding_circles,
    "logit_components": plots.logit_components,
    "readout_components": plots.readout_components,
    "score_components": plots.score_components,
    "effects": plots.effects,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_SLIDER)
def test_each_epoch_is_a_frame_and_a_step_of_the_slider(ds, name):
    fig = WITH_SLIDER[name](ds)
    assert [frame.name for frame in fig.frames] == ["0", "10", "20"]
    (slider,) = fig.layout.sliders
    assert [step.label for step in slider.steps] == ["0", "10", "20"]
    assert slider.active == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_SLIDER)
def test_the_figure_shows_the_last_frame(ds, name):
    fig = WITH_SLIDER[name](ds)
    for trace, change in zip(fig.data, fig.frames[-1].data, strict=True):
        assert trace.type == change.type
        changed = change.to_plotly_json().keys() & {"x", "y", "z"}
        assert changed
        for axis in changed:
            np.testing.assert_array_equal(trace[axis], change[axis])


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_SLIDER)
def test_a_single_snapshot_has_no_slider(ds, name):
    for one in (ds.isel(epoch=-1), ds.isel(epoch=-1, drop=True)):
        fig = WITH_SLIDER[name](one)
        assert not fig.frames
        assert not fig.layout.sliders
        assert len(fig.data) == len(WITH_SLIDER[name](ds).data)


def test_spectrum_has_cosines_and_sines_side_by_side(ds):
    fig = plots.spectrum(ds)
    assert [trace.name for trace in fig.data] == ["constant", "cos", "sin"] * 2
    assert list(fig.data[1].x) == [1, 2, 3]
    last = ds.components.isel(epoch=-1).sel(matrix="W_L", component=["sin 1", "sin 2", "sin 3"])
    np.testing.assert_allclose(fig.data[5].y, last, rtol=1e-6)
    assert fig.layout.yaxis2.title.text == "norm of the component (weight)"
    # Above its bars each key of the Dataset, in both panels.
    assert [note.text for note in fig.layout.annotations].count("<b>3</b>") == 2


def test_spectrum_of_irreps_has_a_bar_per_row(ds):
    ds = ds.assign_coords(component=["1a", "1b", "2a", "2a", "2a", "2a", "1c"])
    bars = plots.spectrum(ds).data
    assert [trace.name for trace in bars] == ["component"] * 2
    assert list(bars[0].x) == ["1a", "1b", "2a 1", "2a 2", "2a 3", "2a 4", "1c"]


def test_neuron_clusters_counts_clear_neurons_by_frequency(ds):
    histogram, counts, dots = plots.neuron_clusters(ds).data
    assert int(np.sum(histogram.y)) == 5
    assert list(counts.x) == ["1", "3", "other"]
    assert list(counts.y) == [2, 1, 1]
    assert dots.customdata.tolist() == [0, 1, 2]
    assert list(plots.neuron_clusters(ds, threshold=0.96).data[1].y) == [0, 1, 0]


def test_neuron_clusters_finds_keys_where_none_are_named(ds):
    found = ds[["neuron_frequency", "neuron_fve", "neuron_phase"]]
    assert list(plots.neuron_clusters(found).data[1].x) == ["1", "2", "3", "other"]


def test_neuron_clusters_of_a_group_without_phases_draws_no_dots(ds):
    ds.neuron_phase.values[:] = np.nan
    assert len(plots.neuron_clusters(ds).data[2].x) == 0


def test_neuron_clusters_before_anything_is_clear(ds):
    ds["neuron_fve"] = ds.neuron_fve * 0.1
    found = ds[["neuron_frequency", "neuron_fve", "neuron_phase"]]
    assert list(plots.neuron_clusters(found).data[1].y) == [0]


def test_neuron_grid_scales_each_neuron_by_its_largest(ds):
    fig = plots.neuron_grid(ds.isel(epoch=-1))
    assert fig.data[0].z.max() == pytest.approx(1.0)
    titles = [note.text for note in fig.layout.annotations]
    assert titles[0] == "<b>Neuron 0, k = 1</b>"
    assert fig.layout.coloraxis.colorbar.title.text == "activation of the neuron,<br>fraction of its maximum"


def test_a_dead_neuron_is_white(ds):
    ds.neurons.values[:, 0] = 0.0
    assert not plots.neuron_grid(ds).data[0].z.any()


def test_attention_is_on_a_scale_from_zero_to_one(ds):
    fig = plots.attention(ds.isel(epoch=-1))
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (0.0, 1.0)
    assert fig.layout.coloraxis.colorbar.title.text == "attention from = to a"
    np.testing.assert_allclose(fig.data[1].z, ds.attention.values[-1, 1], rtol=1e-6)


def test_with_a_slider_a_colour_is_a_byte_and_the_scale_keeps_the_units(ds):
    fig = plots.attention(ds)
    assert fig.data[0].z.dtype == np.uint8
    np.testing.assert_allclose(fig.data[0].z / 255, ds.attention.values[-1, 0], atol=1 / 255)
    bar = fig.layout.coloraxis.colorbar
    assert list(bar.ticktext) == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert list(bar.tickvals) == pytest.approx([0, 51, 102, 153, 204, 255])


def test_logits_are_white_at_zero(ds):
    fig = plots.logits_over_inputs(ds.isel(epoch=-1))
    assert fig.layout.coloraxis.cmin == -fig.layout.coloraxis.cmax
    assert fig.layout.coloraxis.colorbar.title.text == "logit"


def test_embedding_circles_join_neighbours_on_the_circle(ds):
    fig = plots.embedding_circles(ds)
    assert [trace.name for trace in fig.data] == ["k = 1", "k = 3"]
    # In steps of 5, the inverse of 3 modulo 7.
    assert fig.data[1].customdata.tolist() == [0, 5, 3, 1, 6, 4, 2, 0]
    steps = np.hypot(np.diff(fig.data[1].x), np.diff(fig.data[1].y))
    np.testing.assert_allclose(steps, 2 * np.sin(np.pi / 7), rtol=1e-5)
    assert fig.layout.xaxis.title.text == "cos (weight)"


@pytest.mark.slow
def test_figures_are_json_without_anything_of_the_caller(ds):
    for draw in WITH_SLIDER.values():
        assert json.loads(draw(ds).to_json())["data"]


def test_the_template_of_other_figures_is_left_alone(ds):
    before = go.Figure().layout.template.to_plotly_json()
    assert plots.attention(ds).layout.template == theme.TEMPLATE
    assert go.Figure().layout.template.to_plotly_json() == before


def test_neuron_spectra_are_in_the_order_of_their_last_best_frequency(ds):
    shares = np.array([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1], [0.0, 0.99, 0.01]])
    last = xr.DataArray(shares, dims=("neuron", "frequency"), coords={"frequency": [1, 2, 3]})
    both = xr.concat([last[::-1], last], dim=xr.DataArray([0, 10], dims="epoch", name="epoch"))
    figure = plots.neuron_spectra(xr.Dataset({"neuron_spectrum": both}))
    assert figure.data[0].z.tolist() == [[80, 10, 10], [0, 99, 1], [10, 90, 0]]
    assert [frame.name for frame in figure.frames] == ["0", "10"]
    # Earlier epochs keep the rows where the last one has them.
    assert figure.frames[0].data[0].z.tolist() == [[80, 10, 10], [10, 90, 0], [0, 99, 1]]
