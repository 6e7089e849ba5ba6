"""Pictures of what was watched in training: monitors, attention, a run on one page, weights, survival."""

import numpy as np
import pytest
import xarray as xr

from grokinterp import plots
from grokinterp.plots import theme


def lines(fig, panel):
    """The traces of one panel by name; panels are counted from 1."""
    axis = "x" if panel == 1 else f"x{panel}"
    return {trace.name: trace for trace in fig.data if (trace.xaxis or "x") == axis}


@pytest.fixture
def metrics(ds):
    """What a run logs."""
    return ds.assign(squared_weight_norm=ds.weight_norm.sum("parameter", keep_attrs=True) * 2)


def test_monitors_has_a_panel_per_quantity_and_a_line_per_parameter_or_hook(ds, metrics):
    fig = plots.monitors(metrics[["gradient_norm", "activation_sparsity", "squared_weight_norm"]])
    assert [note.text for note in fig.layout.annotations] == [
        "<b>Gradient norm</b>",
        "<b>Activation sparsity</b>",
        "<b>Squared weight norm</b>",
    ]
    assert list(lines(fig, 1)) == ds.parameter.values.tolist()
    assert list(lines(fig, 2)) == ds.hook.values.tolist()
    assert list(lines(fig, 3)) == [""]
    np.testing.assert_allclose(lines(fig, 1)["mlp.W_in"].y, ds.gradient_norm.sel(parameter="mlp.W_in"), rtol=1e-6)
    assert lines(fig, 1)["mlp.W_in"].line.color == lines(fig, 1)["mlp.b_in"].line.color == theme.MATRIX["W_in"]
    assert [lines(fig, 1)[name].line.dash for name in ("mlp.W_in", "mlp.b_in")] == ["solid", "dot"]
    assert (fig.layout.yaxis.type, fig.layout.yaxis2.type, fig.layout.yaxis3.type) == ("log", None, "log")


def test_each_label_of_monitors_is_once_in_the_legend(ds):
    fig = plots.monitors(ds[["gradient_norm", "weight_norm", "activation_sparsity"]])
    shown = [trace.name for trace in fig.data if trace.showlegend]
    assert shown == [*ds.parameter.values, *ds.hook.values]


def test_layers_differ_by_their_dash_and_entropies_have_a_linear_axis():
    coords = {"epoch": [0, 1], "parameter": ["embed.W_E", "mlp.W_in", "blocks.1.mlp.W_in"]}
    rank = xr.DataArray(np.ones((2, 3)), dims=("epoch", "parameter"), coords=coords, attrs={"units": "nats"})
    fig = plots.monitors(xr.Dataset({"spectral_entropy": rank, "loss_of_it": rank}))
    assert [trace.line.dash for trace in fig.data[:3]] == ["solid", "solid", "dash"]
    assert (fig.layout.yaxis.type, fig.layout.yaxis2.type) == (None, "log")


def test_a_parameter_that_another_quantity_brought_in_is_no_line(ds):
    rank = ds.gradient_norm.sel(parameter=["attn.W_Q"]).rename("stable_rank")
    both = xr.merge([ds.gradient_norm, rank], join="outer")
    assert list(lines(plots.monitors(both), 2)) == ["attn.W_Q"]


def test_monitors_needs_something_over_epochs(ds):
    with pytest.raises(ValueError, match=r"\(epoch, parameter\) or \(epoch, hook\), got attention_mean\."):
        plots.monitors(ds[["attention_mean"]])


def test_attention_over_time_has_a_panel_per_head_and_a_line_and_a_band_per_position(ds):
    fig = plots.attention_over_time(ds)
    assert [note.text for note in fig.layout.annotations] == ["<b>Head 0</b>", "<b>Head 1</b>"]
    of_head = [trace for trace in fig.data if trace.xaxis == "x2"]
    assert [trace.name for trace in of_head] == [None, "to a", None, "to b", None, "to ="]
    band, line = of_head[2:4]
    mean, spread = (ds[name].sel(layer=0, head=1, key="b").values for name in ("attention_mean", "attention_std"))
    np.testing.assert_allclose(line.y, mean, rtol=1e-6)
    edges = np.concatenate([np.maximum(mean - spread, 0), np.minimum(mean + spread, 1)[::-1]])
    np.testing.assert_allclose(band.y, edges, rtol=1e-6)
    assert band.x.tolist() == [0, 10, 20, 20, 10, 0]
    assert [trace.name for trace in fig.data if trace.showlegend] == ["to a", "to b", "to ="]


def test_attention_without_its_std_has_no_bands_and_layers_have_panels_of_their_own(ds):
    mean = xr.concat([ds.attention_mean, ds.attention_mean.assign_coords(layer=[1])], dim="layer")
    fig = plots.attention_over_time(xr.Dataset({"attention_mean": mean}))
    assert len(fig.data) == 4 * 3
    assert fig.layout.annotations[2].text == "<b>Layer 1, head 0</b>"


def test_overview_has_four_panels_with_the_curves_of_the_metrics(ds, metrics):
    fig = plots.overview(metrics)
    titles = ["Accuracy", "Loss", "Weights", "Test accuracy"]
    assert [note.text for note in fig.layout.annotations[:4]] == [f"<b>{title}</b>" for title in titles]
    assert [list(lines(fig, panel)) for panel in (1, 2, 3, 4)] == [["train", "test"]] * 2 + [["all weights"], ["test"]]
    np.testing.assert_allclose(lines(fig, 2)["test"].y, ds.loss.sel(split="test"), rtol=1e-6)
    np.testing.assert_allclose(lines(fig, 3)["all weights"].y, metrics.squared_weight_norm, rtol=1e-6)
    np.testing.assert_allclose(lines(fig, 4)["test"].y, ds.accuracy.sel(split="test"), rtol=1e-6)
    assert fig.layout.yaxis2.type == "log"
    (threshold,) = fig.layout.shapes
    assert (threshold.y0, threshold.yref) == (0.99, "y4")


def test_overview_takes_the_norm_of_a_trajectory_too(ds):
    fig = plots.overview(ds)
    np.testing.assert_allclose(lines(fig, 3)["all weights"].y, ds.weight_norm.sum("parameter"), rtol=1e-6)
    with pytest.raises(KeyError, match="the plot needs 'weight_norm'"):
        plots.overview(ds.drop_vars("weight_norm"))


@pytest.mark.slow
@pytest.mark.parametrize("log_x", [False, True])
def test_overview_marks_when_the_run_memorized_and_grokked(ds, log_x):
    times = xr.Dataset({"memorized": 10.0, "grokked": 20.0}, attrs={"memorized_at": 0.8, "grokked_at": 0.9})
    fig = plots.overview(ds, times=times, log_x=log_x)
    threshold, memorized, grokked = fig.layout.shapes
    assert threshold.y0 == 0.9
    assert (memorized.x0, memorized.xref, grokked.x0, grokked.xref) == (10, "x", 20, "x4")
    notes = {note.text: note for note in fig.layout.annotations}
    assert notes["memorized (≥ 0.8), epoch 10"].x == (1 if log_x else 10)
    assert notes["grokked (≥ 0.9), epoch 20"].xanchor == "right"
    assert fig.layout.xaxis.type == ("log" if log_x else None)
    assert list(fig.layout.xaxis.range) == pytest.approx([1, np.log10(20)] if log_x else [0, 20])
    never = plots.overview(ds, times=times.assign(grokked=np.nan), log_x=log_x)
    assert len(never.layout.shapes) == 2


def test_weight_maps_has_a_panel_per_head_and_a_slider_over_checkpoints(ds):
    fig = plots.weight_maps(ds)
    assert [note.text for note in fig.layout.annotations] == [
        "<b>entry of W_Q, head 0</b>",
        "<b>entry of W_Q, head 1</b>",
    ]
    assert [frame.name for frame in fig.frames] == ["0", "10", "20"]
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == ("head width", "residual stream")
    # The strongest byte is the largest entry of all epochs, and 0 is in the middle.
    top = np.quantile(np.abs(ds.weight.values), 0.999)
    expected = np.rint((ds.weight.values[-1, 1] / top + 1) / 2 * 255)
    assert np.abs(fig.data[1].z.astype(float) - expected.clip(0, 255)).max() <= 1


def test_checkpoints_can_be_compared_side_by_side(ds):
    ds.weight.attrs["parameter"] = "blocks.0.attn.W_Q"
    fig = plots.weight_maps(ds, side_by_side=True)
    assert len(fig.data) == 6
    assert not fig.frames
    titles = [note.text for note in fig.layout.annotations]
    of_panels = ((0, 0), (0, 10), (0, 20), (1, 0))
    assert titles[:4] == [f"<b>attn.W_Q, head {head}, epoch {epoch}</b>" for head, epoch in of_panels]
    np.testing.assert_allclose(fig.data[4].z, ds.weight.sel(head=1, epoch=10), rtol=1e-6)
    assert fig.layout.coloraxis.cmin == -fig.layout.coloraxis.cmax


def test_a_matrix_without_heads_is_one_panel(ds):
    fig = plots.weight_maps(ds.sel(head=0).isel(epoch=[2]))
    assert len(fig.data) == 1
    np.testing.assert_allclose(fig.data[0].z, ds.weight.sel(head=0, epoch=20), rtol=1e-6)


@pytest.fixture
def curve():
    """Two groups: one that all grokked by 300, and one of which half was still watched at 500."""
    nan = np.nan
    values = {
        "survival": [[1.0, 0.5, 0.0, nan], [1.0, 1.0, 0.5, 0.5]],
        "lower": [[1.0, 0.2, 0.0, nan], [1.0, 1.0, 0.1, 0.1]],
        "upper": [[1.0, 0.8, 0.0, nan], [1.0, 1.0, 0.9, 0.9]],
    }
    dims, coords = ("group", "epoch"), {"group": ["fast", "slow"], "epoch": [0.0, 100.0, 300.0, 500.0]}
    ds = xr.Dataset({name: (dims, numbers) for name, numbers in values.items()}, coords=coords)
    return ds.assign(runs=("group", [4.0, 2.0]), censored=("group", [0.0, 1.0]), p_value=0.03125)


def test_survival_goes_down_in_steps_as_far_as_runs_were_watched(curve):
    fig = plots.survival(curve)
    by_name = {trace.name: trace for trace in fig.data if trace.line.shape == "hv"}
    assert list(by_name) == ["fast (4 of 4 grokked)", "slow (1 of 2 grokked)"]
    assert by_name["fast (4 of 4 grokked)"].x.tolist() == [0, 100, 300]
    assert by_name["slow (1 of 2 grokked)"].y.tolist() == [1, 1, 0.5, 0.5]
    assert fig.layout.annotations[0].text == "<b>Not yet grokked (log-rank test: p = 0.031)</b>"


def test_a_band_of_survival_has_the_steps_of_its_ends(curve):
    band = plots.survival(curve).data[0]
    assert band.fill == "toself"
    assert band.x.tolist() == [0, 100, 100, 300, 300, 300, 300, 100, 100, 0]
    np.testing.assert_allclose(band.y, [1, 1, 0.2, 0.2, 0, 0, 0.8, 0.8, 1, 1], rtol=1e-6)


def test_runs_that_were_stopped_are_a_cross_at_the_end_of_their_curve(curve):
    (cross,) = [trace for trace in plots.survival(curve).data if trace.mode == "markers"]
    assert (cross.x.tolist(), cross.y.tolist()) == ([500], [0.5])


def test_survival_may_lack_bands_counts_and_a_test(curve):
    fig = plots.survival(curve[["survival"]])
    assert [trace.name for trace in fig.data if trace.mode == "lines"] == ["fast", "slow"]
    with pytest.raises(KeyError, match="the plot needs 'survival'"):
        plots.survival(curve.drop_vars("survival"))
