"""Pictures by component and by frequency: maps of the logits and of W_L, scores of attention, effects on the loss."""

import numpy as np
import pytest
import xarray as xr

from grokinterp import plots
from grokinterp.plots import theme
from grokinterp.plots.data import COLORS


LONG = ["const", *(f"{wave} {k}" for k in range(1, 57) for wave in ("cos", "sin"))]
IRREPS = ["1a", "1b", "2a", "2a", "2a", "2a", "1c"]


def squares(keys, *, floor=1e-9):
    """Logits of p = 113 that have a square for each key on the diagonal, and next to nothing elsewhere."""
    norms = np.full((113, 113), floor)
    for k in keys:
        norms[2 * k - 1 : 2 * k + 1, 2 * k - 1 : 2 * k + 1] = 1000.0
    coords = {"component": LONG, "row": LONG}
    return xr.Dataset({"logit_components": xr.DataArray(norms, dims=("component", "row"), coords=coords)})


def notes(fig):
    return [note.text for note in fig.layout.annotations[1:]]


def test_logit_components_is_a_square_of_norms_whose_colours_are_their_logarithms(ds):
    fig = plots.logit_components(ds.isel(epoch=-1))
    last = ds.logit_components.values[-1]
    np.testing.assert_allclose(fig.data[0].customdata, last, rtol=1e-6)
    np.testing.assert_allclose(fig.data[0].z, np.log10(last), rtol=1e-6)
    assert list(fig.data[0].x) == list(fig.data[0].y) == ds.component.values.tolist()
    assert fig.data[0].hovertemplate == "%{y} of a, %{x} of b: %{customdata:.3g}<extra></extra>"
    assert (fig.layout.yaxis.scaleanchor, fig.layout.yaxis.autorange) == ("x", "reversed")
    assert fig.layout.coloraxis.colorbar.title.text == "norm over classes (logit)"
    assert fig.layout.xaxis.title.text == "component of b (cos and sin of frequency k)"


def test_of_a_and_of_b_are_not_confused():
    norms = xr.DataArray(
        [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        dims=("component", "row"),
        coords={"component": ["const", "0", "cos 1"], "row": ["const", "cos 1"]},
    )
    fig = plots.logit_components(xr.Dataset({"logit_components": norms.T}))
    assert fig.data[0].customdata.tolist() == norms.values.tolist()
    assert list(fig.data[0].y) == ["const", "0", "cos 1"]


def test_colours_of_logit_components_span_a_thousandfold():
    fig = plots.logit_components(squares([14]))
    scale = fig.layout.coloraxis
    assert (scale.cmin, scale.cmax) == pytest.approx((0, 3))
    assert list(scale.colorbar.ticktext) == ["10<sup>0</sup>", "10<sup>1</sup>", "10<sup>2</sup>", "10<sup>3</sup>"]


def test_norms_of_zero_are_gaps_and_logits_may_be_nothing_at_all(ds):
    ds.logit_components.values[-1, 0] = 0.0
    fig = plots.logit_components(ds.isel(epoch=-1))
    assert np.isnan(fig.data[0].z[0]).all()
    assert np.isfinite(fig.data[0].z[1:]).all()
    ds.logit_components.values[:] = 0.0
    assert not plots.logit_components(ds).data[0].z.any()


def test_long_axes_are_labelled_by_some_frequencies_between_their_cos_and_sin():
    axis = plots.logit_components(squares([14])).layout.xaxis
    assert axis.ticktext[:4] == ("const", "5", "10", "15")
    assert axis.tickvals[:4] == (0, 9.5, 19.5, 29.5)


def test_squares_are_named_beside_them_and_neighbours_on_different_sides():
    fig = plots.logit_components(squares([14, 41, 42, 56]))
    assert notes(fig) == ["<b>14</b>", "<b>41</b>", "<b>42</b>", "<b>56</b>"]
    assert [note.xanchor for note in fig.layout.annotations[1:]] == ["left", "left", "right", "right"]
    assert (fig.layout.annotations[1].x, fig.layout.annotations[1].y) == (28.5, 27.5)


def test_named_keys_come_before_the_largest_squares():
    ds = squares([14, 41])
    ds.logit_components.attrs["key_frequencies"] = "[41, 52]"
    # At 52 there is nothing to be seen.
    assert notes(plots.logit_components(ds)) == ["<b>41</b>"]


def test_logits_in_a_basis_of_irreps_have_no_frequencies(ds):
    ds = ds.assign_coords(component=IRREPS, row=IRREPS)
    fig = plots.logit_components(ds.isel(epoch=-1))
    assert list(fig.data[0].x)[2:4] == ["2a 1", "2a 2"]
    assert fig.layout.xaxis.ticktext == ("1a", "1b", "2a", "1c")
    assert fig.layout.xaxis.tickvals == (0, 1, 3.5, 6)
    assert fig.layout.xaxis.title.text == "component of b"
    assert not notes(fig)


def test_readout_components_are_white_at_zero_and_every_row_is_its_neurons(ds):
    fig = plots.readout_components(ds.isel(epoch=-1))
    order = [int(neuron) for neuron in fig.data[0].y]
    assert sorted(order) == ds.neuron.values.tolist()
    np.testing.assert_allclose(fig.data[0].z, ds.readout_components.values[-1][order], rtol=1e-6)
    assert fig.layout.coloraxis.cmin == -fig.layout.coloraxis.cmax
    assert [colour for _, colour in fig.layout.coloraxis.colorscale] == theme.DIVERGING
    assert fig.layout.coloraxis.colorbar.title.text == "weight of the component (weight)"


def test_neurons_are_in_the_order_of_their_frequency_and_its_phase(ds):
    written = np.zeros((5, 7))
    written[0, 5:] = 1, 1
    written[1, 1:3] = 0, 3
    written[2, 5:] = 1, -1
    written[3, 1:3] = 2, 0
    written[4, 0] = 1
    ds.readout_components.values[-1] = written
    assert list(plots.readout_components(ds).data[0].y) == ["4", "3", "1", "2", "0"]


def test_many_neurons_are_not_numbered():
    names = ["const", "cos 1", "sin 1"]
    for count, shown in ((60, None), (61, False)):
        written = xr.DataArray(np.ones((count, 3)), dims=("neuron", "component"), coords={"component": names})
        ds = xr.Dataset({"readout_components": written.assign_coords(neuron=range(count))})
        assert plots.readout_components(ds).layout.yaxis.showticklabels is shown


def test_score_components_has_a_panel_per_head_on_one_scale(ds):
    fig = plots.score_components(ds)
    assert [trace.name for trace in fig.data] == ["constant", "cos", "sin"] * 2
    assert [trace.marker.color for trace in fig.data[1:3]] == [COLORS["cos"], COLORS["sin"]]
    last = ds.score_components.isel(epoch=-1).sel(head=1, component=["sin 1", "sin 2", "sin 3"])
    np.testing.assert_allclose(fig.data[5].y, last, rtol=1e-6)
    assert fig.layout.yaxis.range == fig.layout.yaxis2.range
    assert fig.layout.yaxis.title.text == "attention score (logit)"


def test_the_largest_frequency_of_each_head_is_named_whatever_the_sign(ds):
    ds.score_components.values[:] = 0.1
    ds.score_components.loc[{"head": 0, "component": "sin 2"}] = -3.0
    ds.score_components.loc[{"head": 1, "component": "cos 3"}] = 2.0
    fig = plots.score_components(ds)
    assert [note.text for note in fig.layout.annotations if note.text.startswith("<b>") and note.text[3].isdigit()] == [
        "<b>2</b>",
        "<b>3</b>",
    ]
    low, high = fig.layout.yaxis.range
    assert low < -3 < 2 < high


def test_scores_in_a_basis_of_irreps_are_bars_without_a_name(ds):
    fig = plots.score_components(ds.assign_coords(component=IRREPS))
    assert list(fig.data[0].x)[1:3] == ["1b", "2a 1"]
    assert [note.text for note in fig.layout.annotations] == ["<b>Head 0</b>", "<b>Head 1</b>"]


def test_effects_are_points_on_stems_from_the_loss_of_the_whole_model(ds):
    whole, stem, without, stem_alone, alone = plots.effects(ds).data
    last = ds.isel(epoch=-1).sel(split="all")
    np.testing.assert_allclose(without.y, last.loss_without, rtol=1e-6)
    np.testing.assert_allclose(alone.y, last.loss_alone, rtol=1e-6)
    np.testing.assert_allclose(whole.y, [float(last.loss)] * 2, rtol=1e-6)
    np.testing.assert_allclose(stem.y[0::3], float(last.loss), rtol=1e-6)
    np.testing.assert_array_equal(stem.y[1::3], without.y)
    assert np.isnan(stem.y[2::3]).all()
    assert (without.marker.color, alone.marker.color) == (theme.MEASURE["excluded"], theme.MEASURE["restricted"])
    assert (stem.line.color, stem_alone.line.color) == (without.marker.color, alone.marker.color)


def test_effects_are_on_a_logarithmic_axis_of_all_epochs(ds):
    fig = plots.effects(ds)
    assert fig.layout.yaxis.type == "log"
    assert fig.layout.yaxis.title.text == "loss under the operation on one frequency (nats)"
    assert fig.layout.xaxis.ticktext == ("1", "2", "3")
    drawn = [ds[name].sel(split="all") for name in ("loss_without", "loss_alone", "loss")]
    low, high = (10**end for end in fig.layout.yaxis.range)
    assert low < min(float(loss.min()) for loss in drawn)
    assert high > max(float(loss.max()) for loss in drawn)


def test_effects_without_the_loss_have_no_stems(ds):
    assert [trace.name for trace in plots.effects(ds[["loss_without", "loss_alone"]]).data] == [
        "frequency ablated",
        "frequency alone",
    ]


def test_an_effect_of_zero_has_no_point(ds):
    ds.loss_without.values[-1, 0] = 0.0
    without = plots.effects(ds).data[2]
    assert np.isnan(without.y[0])
    assert np.isfinite(without.y[1:]).all()


def test_effects_of_the_one_split_there_is_beside_the_loss_of_the_same(ds):
    only = ds[["loss_without", "loss_alone"]].sel(split=["test"])
    np.testing.assert_allclose(plots.effects(only).data[0].y, only.loss_without.values[-1, :, 0], rtol=1e-6)
    whole, _, without, *_ = plots.effects(ds.sel(split=["test"])).data
    np.testing.assert_allclose(whole.y[0], ds.loss.sel(split="test")[-1], rtol=1e-6)
    np.testing.assert_allclose(without.y, only.loss_without.values[-1, :, 0], rtol=1e-6)


def test_effects_on_pairs_of_which_there_is_no_loss_are_drawn_by_themselves(ds):
    of_all = ds[["loss_without", "loss_alone"]].sel(split="all", drop=True)
    assert len(plots.effects(of_all.assign(loss=ds.loss.sel(split=["train", "test"]))).data) == 2
    whole = plots.effects(of_all.assign(loss=ds.loss.sel(split="all", drop=True))).data[0]
    np.testing.assert_allclose(whole.y[0], ds.loss.sel(split="all")[-1], rtol=1e-6)


def test_effects_need_all_pairs_or_one_split(ds):
    with pytest.raises(ValueError, match="loss_without must have the split 'all' or a single split, got train, test"):
        plots.effects(ds.sel(split=["train", "test"]))


def test_frequencies_that_were_not_measured_are_not_drawn(ds):
    few = ds[["loss_without", "loss_alone"]].sel(frequency=[1, 3])
    joined = few.merge(ds[["spectrum"]], join="outer")
    assert joined.sizes["frequency"] == 3
    assert plots.effects(joined).layout.xaxis.ticktext == ("1", "3")
