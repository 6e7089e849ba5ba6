"""Curves of several runs, and of a run beside published ones."""

import numpy as np
import pytest
import xarray as xr

from grokinterp import plots
from grokinterp.plots import theme


@pytest.fixture
def ours(ds):
    """The losses of a run over epochs alone."""
    by_split = {f"{split}_loss": ds.loss.sel(split=split, drop=True) for split in ("test", "train")}
    named = {name: loss.assign_attrs(long_name=name.replace("_", " ")) for name, loss in by_split.items()}
    return xr.Dataset({**named, "excluded_loss": ds.excluded_loss, "restricted_loss": ds.restricted_loss})


@pytest.fixture
def published():
    """Two curves whose vertices are at different epochs, and one that is of nothing here."""
    nan = np.nan
    return xr.Dataset(
        {
            "test_loss": ("epoch", [5.0, nan, 25.0, nan, 1e-7]),
            "excluded_loss": ("epoch", [nan, 0.3, nan, 6.0, nan]),
            "accuracy": ("epoch", [0.0, 0.1, 0.2, 0.5, 1.0]),
        },
        coords={"epoch": [0.0, 3.5, 7.0, 14.0, 50.0]},
    )


def by_name(fig):
    return {trace.name: trace for trace in fig.data}


def test_compared_draws_every_curve_over_epochs_alone_in_its_colour(ours, ds):
    fig = plots.compared(ours.assign(accuracy=ds.accuracy))
    lines = by_name(fig)
    assert list(lines) == ["test loss", "train loss", "excluded loss", "restricted loss"]
    assert lines["test loss"].line.color == theme.SPLIT["test"]
    assert lines["train loss"].line.color == theme.SPLIT["train"]
    assert lines["excluded loss"].line.color == theme.MEASURE["excluded"]
    assert lines["restricted loss"].line.color == theme.MEASURE["restricted"]
    np.testing.assert_allclose(lines["test loss"].y, ours.test_loss, rtol=1e-6)
    assert lines["test loss"].x.tolist() == [0, 10, 20]
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == ("epoch", "loss (nats)")
    assert fig.layout.yaxis.type == "log"


def test_published_curves_are_dashed_thinner_and_under_ours_in_the_same_colour(ours, published):
    fig = plots.compared(ours, published=published)
    lines = by_name(fig)
    assert list(lines)[:2] == ["test loss, published", "excluded loss, published"]
    for name in ("test loss", "excluded loss"):
        theirs, own = lines[f"{name}, published"], lines[name]
        assert theirs.line.color == own.line.color
        assert theirs.line.dash == "dash"
        assert theirs.line.width < own.line.width
        assert theirs.showlegend is False
    assert list(lines)[-1] == "published (dashed)"
    assert lines["published (dashed)"].line.dash == "dash"


def test_published_vertices_are_joined_over_the_epochs_that_have_none(ours, published):
    theirs = by_name(plots.compared(ours, published=published))["excluded loss, published"]
    assert theirs.x.tolist() == [3.5, 14.0]
    np.testing.assert_allclose(theirs.y, [0.3, 6.0])


def test_what_is_not_above_zero_is_a_gap_on_a_log_axis_alone(ours):
    ours.test_loss.values[:2] = 0.0, -1e-17
    line = plots.compared(ours).data[0].y
    assert np.isnan(line).tolist() == [True, True, False]
    fig = plots.compared(ours, log_y=False)
    assert fig.layout.yaxis.type is None
    np.testing.assert_allclose(fig.data[0].y, ours.test_loss, rtol=1e-6)


def test_published_curves_that_are_not_ours_or_have_no_vertex_are_left_out(ours, published):
    published["test_loss"] = published.test_loss * np.nan
    lines = by_name(plots.compared(ours, published=published))
    assert [name for name in lines if "published" in name] == ["excluded loss, published", "published (dashed)"]
    with pytest.raises(ValueError, match=r"published must have a curve named test_loss or .*, got accuracy\."):
        plots.compared(ours, published=published[["accuracy"]])


def test_a_single_number_beside_curves_is_none(ours):
    assert "best" not in by_name(plots.compared(ours.assign(best=0.1)))


def test_compared_needs_curves_of_one_unit(ours, ds):
    with pytest.raises(ValueError, match=r"needs a variable over epoch alone, got loss, gini\."):
        plots.compared(ds[["loss", "gini"]])
    with pytest.raises(ValueError, match=r"must have one unit, got 'nats', 'weight\^2'; plot them separately\."):
        plots.compared(ours.assign(norm=ds.weight_norm.sum("parameter", keep_attrs=True)))


def test_curves_of_unlike_names_share_their_unit_alone(ours):
    fig = plots.compared(ours.assign(trig=ours.test_loss.assign_attrs(long_name="fit by waves")))
    assert fig.layout.yaxis.title.text == "nats"
    assert plots.compared(ours[["test_loss"]]).layout.yaxis.title.text == "test loss (nats)"


def test_no_two_curves_have_one_colour():
    names = ["W_E", "excluded_14", "excluded_35", "test_loss", "test_loss_again", "other", "another"]
    colours = theme.curve_colors(names)
    assert len(set(colours.values())) == len(names)
    assert colours["W_E"] == theme.MATRIX["W_E"]
    assert set(theme.curve_colors(map(str, range(30))).values()) >= {theme.QUIET}


def test_over_seeds_has_a_panel_per_variable_and_a_line_per_seed_and_split(ds):
    fig = plots.over_seeds(ds.assign(accuracy_of_runs=ds.loss_of_runs.assign_attrs(units="", long_name="accuracy")))
    seeds = ["0", "1", "0, perturbed"]
    assert [trace.name for trace in fig.data] == [*seeds * 4, "train", "test"]
    assert [trace.line.dash for trace in fig.data] == [*(["dot"] * 3 + ["solid"] * 3) * 2, "dot", "solid"]
    assert [trace.line.color for trace in fig.data[:12]] == list(theme.FREQUENCY[:3]) * 4
    assert [note.text for note in fig.layout.annotations] == ["<b>Loss of each run</b>", "<b>Accuracy</b>"]
    assert (fig.layout.yaxis.type, fig.layout.yaxis2.type) == ("log", None)
    assert (fig.layout.yaxis.title.text, fig.layout.yaxis2.title.text) == ("loss of each run (nats)", "accuracy")
    last = ds.loss_of_runs.sel(seed="0, perturbed", split="test")
    np.testing.assert_allclose(fig.data[11].y, last, rtol=1e-6)


def test_each_seed_is_once_in_the_legend(ds):
    fig = plots.over_seeds(ds)
    shown = [trace for trace in fig.data if trace.showlegend is not False]
    assert [trace.name for trace in shown] == ["0", "1", "0, perturbed", "train", "test"]
    assert [trace.line.dash for trace in shown[:3]] == ["solid"] * 3
    assert fig.layout.legend.title.text == "seed of the run"


def test_a_run_may_end_before_the_others_and_its_zeros_are_gaps(ds):
    ds.loss_of_runs.loc[{"seed": "1", "epoch": 20}] = np.nan
    ds.loss_of_runs.loc[{"seed": "1", "epoch": 10}] = 0.0
    short = plots.over_seeds(ds).data[1]
    assert short.x.tolist() == [0, 10]
    assert np.isnan(short.y).tolist() == [False, True]


def test_a_seed_keeps_its_legend_where_the_last_panel_has_nothing_of_it(ds):
    ds["other"] = ds.loss_of_runs.where(ds.seed != "1")
    shown = [trace for trace in plots.over_seeds(ds).data if trace.name == "1" and trace.showlegend]
    assert len(shown) == 1
    assert len(shown[0].x) == 3


def test_over_seeds_without_splits_is_solid(ds):
    fig = plots.over_seeds(ds[["loss_of_runs"]].sel(split="all"))
    assert [trace.name for trace in fig.data] == ["0", "1", "0, perturbed"]
    assert {trace.line.dash for trace in fig.data} == {"solid"}


def test_over_seeds_needs_seeds_and_epochs(ds):
    with pytest.raises(ValueError, match=r"needs a variable over \(seed, epoch\), got loss, gini\."):
        plots.over_seeds(ds[["loss", "gini"]])
