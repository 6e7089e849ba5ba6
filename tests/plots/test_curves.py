"""Lines over epochs: their names, colours, axes and gaps."""

import numpy as np
import pytest

from grokinterp import plots
from grokinterp.plots import theme


def names(fig):
    return [trace.name for trace in fig.data]


def test_training_curves_has_each_split_in_its_colour_in_both_panels(ds):
    fig = plots.training_curves(ds)
    assert names(fig) == ["train", "test", "train", "test"]
    assert [trace.line.color for trace in fig.data] == [theme.SPLIT["train"], theme.SPLIT["test"]] * 2
    assert [trace.showlegend for trace in fig.data] == [None, None, False, False]
    assert fig.layout.yaxis.title.text == "loss (nats)"
    assert fig.layout.yaxis2.title.text == "accuracy"
    assert fig.layout.xaxis.title.text == "epoch"
    assert (fig.layout.yaxis.type, fig.layout.yaxis2.type) == ("log", None)


def test_training_curves_can_have_epochs_on_a_log_axis(ds):
    assert plots.training_curves(ds).layout.xaxis.type is None
    assert plots.training_curves(ds, log_x=True).layout.xaxis.type == "log"


def test_zero_and_negative_losses_are_gaps_on_a_log_axis(ds):
    ds.loss.values[0, :] = 0.0
    ds.loss.values[1, :] = -1e-17
    line = plots.training_curves(ds).data[0].y
    assert np.isnan(line[:2]).all()
    assert np.isfinite(line[2])


def test_progress_draws_the_papers_four_panels(ds):
    fig = plots.progress(ds)
    assert names(fig) == [
        *("excluded, train pairs", "train", "test"),
        *("restricted, all pairs", "train", "test"),
        *("W_E", "W_L", "all weights"),
    ]
    titles = [fig.layout[axis].title.text for axis in ("yaxis", "yaxis2", "yaxis3", "yaxis4")]
    assert titles == ["loss (nats)", "loss (nats)", "Gini coefficient", "sum of squared weights (weight²)"]
    assert [fig.layout[axis].type for axis in ("yaxis", "yaxis2", "yaxis3", "yaxis4")] == ["log", "log", None, None]
    np.testing.assert_allclose(fig.data[-1].y, ds.weight_norm.sum("parameter"), rtol=1e-6)


def test_phases_that_were_reached_are_shaded_in_every_panel_and_named(ds, phases):
    fig = plots.progress(ds, phases=phases)
    assert names(fig)[-2:] == ["memorization, epochs 0 to 10", "circuit formation, from epoch 10"]
    assert len(fig.layout.shapes) == 2 * 4
    assert {(shape.x0, shape.x1) for shape in fig.layout.shapes} == {(0.0, 10.0), (10.0, 20.0)}


def test_phases_must_be_phases(ds):
    with pytest.raises(KeyError, match=r"must have 'phase_start': pass the result of gi\.phases\.detect"):
        plots.progress(ds, phases=ds)


def test_weights_has_a_line_per_matrix_and_dashes_biases(ds):
    fig = plots.weights(ds)
    assert names(fig) == ["W_E", "W_pos", "W_Q", "W_in", "b_in", "W_out", "W_U"]
    dash = {trace.name: trace.line.dash for trace in fig.data}
    assert dash["b_in"] == "dot"
    assert dash["W_in"] == "solid"
    assert fig.layout.yaxis.title.text == "sum of squared weights (weight²)"
    assert plots.weights(ds, log_y=False).layout.yaxis.type is None


def test_biases_that_begin_at_zero_do_not_stretch_the_axis(ds):
    ds.weight_norm.loc[{"parameter": "mlp.b_in", "epoch": 0}] = 1e-30
    low, high = plots.weights(ds).layout.yaxis.range
    assert -4 < low < high < 1
    ds.weight_norm.values[:] = 0.0
    assert plots.weights(ds).layout.yaxis.range is None


def test_keys_are_coloured_in_front_of_the_others(ds):
    fig = plots.spectrum_over_time(ds)
    assert names(fig) == ["others", "k = 1", "k = 3"] * 2
    assert [trace.line.color for trace in fig.data[:3]] == [theme.OTHER, *theme.FREQUENCY[:2]]
    assert [trace.line.color for trace in plots.spectrum_over_time(ds, keys=[2]).data[:3]].count(theme.OTHER) == 2


def test_without_named_keys_the_largest_at_the_end_are_coloured(ds):
    assert names(plots.logit_fve(ds[["logit_fve"]]))[-1] == "all in color"
    assert "others" not in names(plots.logit_fve(ds[["logit_fve"]]))


def test_logit_fve_sums_the_keys(ds):
    fig = plots.logit_fve(ds)
    assert names(fig) == ["others", "k = 1", "k = 3", "all keys"]
    np.testing.assert_allclose(fig.data[-1].y, ds.logit_fve.sel(frequency=[1, 3]).sum("frequency"), rtol=1e-6)
    assert fig.layout.yaxis.title.text == "FVE of the logits"


def test_excluded_by_frequency_compares_with_the_loss_where_there_is_one(ds):
    assert names(plots.excluded_by_frequency(ds))[-2:] == ["train loss", "test loss"]
    alone = plots.excluded_by_frequency(ds[["excluded_loss_by_frequency"]])
    assert names(alone) == ["k = 1", "k = 2", "k = 3"]
    assert alone.layout.yaxis.title.text == "excluded loss of one frequency (nats)"
    assert alone.layout.yaxis.type == "log"


@pytest.mark.slow
def test_a_single_snapshot_is_a_point(ds):
    for draw in (
        plots.training_curves,
        plots.progress,
        plots.weights,
        plots.spectrum_over_time,
        plots.logit_fve,
        plots.excluded_by_frequency,
        plots.compared,
    ):
        for one in (ds.isel(epoch=1), ds.isel(epoch=1, drop=True)):
            assert {trace.mode for trace in draw(one).data} == {"markers"}
    assert plots.weights(ds.isel(epoch=1)).data[0].x.tolist() == [10]


def test_labels_that_another_variable_brought_in_are_not_drawn(ds):
    norm = ds[["weight_norm"]].rename(parameter="matrix")
    joined = norm.merge(ds[["gini", "spectrum"]], join="outer")
    assert joined.sizes["matrix"] > 2
    assert names(plots.spectrum_over_time(joined, keys=[1, 3])) == ["others", "k = 1", "k = 3"] * 2
