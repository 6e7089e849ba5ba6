"""Pictures of sweeps: runs that have not grokked are shown as such, and never dropped."""

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from tests.plots.conftest import swept

from grokinterp import plots
from grokinterp.plots import theme
from grokinterp.plots.grokking_times import median_interval


@pytest.fixture
def one():
    """Three seeds at each of two weight decays: two of the first are late."""
    return swept().sel(fraction=0.3)


def by_name(fig):
    return {trace.name: trace for trace in fig.data}


def test_grokking_time_has_a_dot_per_run_that_grokked_and_a_triangle_per_run_that_did_not(one):
    traces = by_name(plots.grokking_time(one))
    assert traces["run"].y.tolist() == [3000, 2000, 1500]
    late = traces["not grokked by its last epoch"]
    assert late.marker.symbol == "triangle-up-open"
    assert late.y.tolist() == [4000] * 3
    np.testing.assert_allclose(sorted(late.x), [0.5, 0.5, 2.0], atol=0.1)


def test_medians_count_late_runs_as_later_than_all(one):
    fig = plots.grokking_time(one)
    median = by_name(fig)["median"]
    # At 0.5 two of three are late; at 2.0 the middle one of 1500, 2000 and a late one is 2000.
    assert list(median.customdata) == ["beyond the last epoch", "2,000"]
    assert median.y.tolist() == [5000, 2000]
    assert fig.layout.yaxis.ticktext[-1] == "after 4,000"
    assert fig.layout.yaxis.tickvals[-1] == 5000
    early = plots.grokking_time(one.sel(weight_decay=[2.0]))
    assert early.layout.yaxis.ticktext[-1] != "after 4,000"


def test_the_band_goes_from_the_first_run_to_the_last_and_says_how_sure_it_is(one):
    band = by_name(plots.grokking_time(one))["75% confidence interval of the median"]
    assert band.fill == "toself"
    # With three seeds, from the first to the last; a late one is beyond the last epoch.
    assert band.y.tolist() == [3000, 1500, 5000, 5000]


def test_a_missing_run_is_neither_a_dot_nor_a_triangle():
    ds = swept().sel(fraction=0.6)
    traces = by_name(plots.grokking_time(ds))
    assert sorted(traces["run"].y) == [500, 700, 800, 900, 1000]
    assert "not grokked by its last epoch" not in traces
    assert traces["median"].y.tolist() == [900, 600]
    # The coverage is 75% with three runs and 50% with two; the legend has the smaller one.
    assert "50% confidence interval of the median" in traces


def test_a_value_without_any_run_has_no_median(one):
    one.grokked_epoch.loc[{"weight_decay": 0.5}] = np.nan
    one.last_epoch.loc[{"weight_decay": 0.5}] = np.nan
    assert by_name(plots.grokking_time(one))["median"].x.tolist() == [2.0]


def test_values_that_are_no_numbers_have_bars_and_no_line(one):
    fig = plots.grokking_time(one.assign_coords(weight_decay=["add", "divide"]))
    traces = by_name(fig)
    assert traces["median"].mode == "markers"
    bars = traces["75% confidence interval of the median"]
    np.testing.assert_array_equal(bars.y, [3000, 5000, np.nan, 1500, 5000, np.nan])
    assert fig.layout.xaxis.ticktext == ("add", "divide")


def test_a_second_axis_is_told_by_colours(ds):
    fig = plots.grokking_time(ds)
    shown = [trace.name for trace in fig.data if trace.showlegend is not False]
    assert shown[:2] == ["fraction 0.3", "fraction 0.6"]
    assert {"run", "not grokked by its last epoch", "50% confidence interval of the median"} < set(shown)
    assert fig.layout.xaxis.title.text == "weight decay"
    other = plots.grokking_time(ds, axis="fraction")
    assert other.layout.xaxis.title.text == "fraction"
    medians = {trace.name: trace.y.tolist() for trace in other.data if trace.name.startswith("weight decay")}
    assert medians == {"weight decay 0.5": [5000, 900], "weight decay 2": [2000, 600]}


def test_a_single_seed_has_no_interval(one):
    fig = plots.grokking_time(one.sel(seed=["0, perturbed"]))
    assert [trace.name for trace in fig.data] == ["median", "run"]


def test_grokking_time_refuses_what_it_cannot_place(ds, one):
    with pytest.raises(ValueError, match=r"axis must be one of weight_decay, fraction, got 'lr'\."):
        plots.grokking_time(ds, axis="lr")
    with pytest.raises(ValueError, match=r"needs one or two swept axes, got none; select values"):
        plots.grokking_time(one.sel(weight_decay=0.5))
    with pytest.raises(ValueError, match=r"needs at least one finished run, got none\."):
        plots.grokking_time(one.assign(last_epoch=one.last_epoch * np.nan))
    for name in ("grokked_epoch", "last_epoch"):
        with pytest.raises(KeyError, match=f"the plot needs '{name}'"):
            plots.grokking_time(one.drop_vars(name))


@pytest.mark.parametrize(
    ("values", "positions", "labels"),
    [
        ([31, 43, 53], [31, 43, 53], ("31", "43", "53")),
        ([1e-4, 1e-2, 1.0], [0, 1, 2], ("0.0001", "0.01", "1")),
        (["adam", "adamw", "sgd"], [0, 1, 2], ("adam", "adamw", "sgd")),
        ([2.0, 1.0, 0.5], [2.0, 1.0, 0.5], ("2", "1", "0.5")),
    ],
)
def test_values_stand_where_they_are_or_one_step_apart(one, values, positions, labels):
    runs = xr.concat([one.isel(weight_decay=[0, 1]), one.isel(weight_decay=[1])], dim="weight_decay")
    fig = plots.grokking_time(runs.assign_coords(weight_decay=values))
    assert list(fig.layout.xaxis.tickvals) == positions
    assert fig.layout.xaxis.ticktext == labels
    assert by_name(fig)["median"].x.tolist() == sorted(positions)


def test_the_runs_of_a_value_stand_apart_in_the_order_of_their_seeds():
    dots = by_name(plots.grokking_time(swept().sel(fraction=0.6)))["run"]
    assert dots.y.tolist() == [800, 1000, 900, 500, 700]
    np.testing.assert_allclose(dots.x, [0.5, 0.5, 0.5, 2.0, 2.0], atol=0.08)
    assert dots.x[0] < dots.x[1] < dots.x[2]


def test_a_single_value_and_a_single_run_is_a_dot(one):
    fig = plots.grokking_time(one.sel(weight_decay=[2.0], seed=["0"]))
    run = by_name(fig)["run"]
    assert (run.x.tolist(), run.y.tolist()) == ([0.0], [2000.0])


def test_runs_of_which_none_grokked_are_triangles_and_medians_beyond_the_end(one):
    fig = plots.grokking_time(one.assign(grokked_epoch=one.grokked_epoch * np.nan))
    traces = by_name(fig)
    assert "run" not in traces
    assert traces["not grokked by its last epoch"].y.tolist() == [4000] * 6
    assert list(traces["median"].customdata) == ["beyond the last epoch"] * 2


def test_the_axis_of_epochs_has_round_ticks_and_the_rule(one):
    one.grokked_epoch.attrs["rule"] = "test accuracy ≥ 0.99"
    axis = plots.grokking_time(one).layout.yaxis
    assert axis.ticktext == ("1,000", "2,000", "after 4,000")
    assert axis.title.text == "epoch<br>(test accuracy ≥ 0.99)"


@given(st.integers(1, 20))
def test_the_interval_of_a_median_is_as_sure_as_it_says(n):
    """The chance that the median is among k-th and k-th from the end, counted over all sides of the median."""
    low, high, sure = median_interval(np.arange(1.0, n + 1))
    assert low + high == n + 1
    k = int(low)
    # The median lies outside if fewer than k runs are on one side of it.
    outside = sum(math.comb(n, below) for below in range(n + 1) if below < k or n - below < k)
    assert sure == pytest.approx(max(1 - outside / 2**n, 0) if n > 1 else 0)
    if n >= 6:
        assert sure >= 0.95
        tighter = sum(math.comb(n, below) for below in range(n + 1) if below < k + 1 or n - below < k + 1)
        assert 1 - tighter / 2**n < 0.95
    else:
        assert k == 1


def test_the_map_says_the_median_and_how_many_grokked():
    known, late = plots.grokking_map(swept()).data
    assert (known.x, known.y) == (("0.5", "2"), ("0.3", "0.6"))
    assert known.text.tolist() == [["", "2,000<br>2 of 3"], ["900<br>3 of 3", "600<br>2 of 2"]]
    np.testing.assert_allclose(10**known.z, [[np.nan, 2000], [900, 600]], rtol=1e-5)
    assert late.text.tolist() == [["> 4,000<br>1 of 3", ""], ["", ""]]
    assert late.colorscale[0][1] == theme.OTHER


def test_a_cell_without_runs_is_empty_and_a_map_without_late_cells_has_no_grey():
    ds = swept()
    for name in ("grokked_epoch", "last_epoch"):
        ds[name].loc[{"weight_decay": 0.5, "fraction": 0.3}] = np.nan
    (known,) = plots.grokking_map(ds).data
    assert known.text[0][0] == ""
    assert np.isnan(known.z[0][0])


def test_a_map_where_nothing_grokked_has_no_key():
    ds = swept()
    ds["grokked_epoch"] = ds.grokked_epoch * np.nan
    fig = plots.grokking_map(ds)
    assert fig.layout.coloraxis.showscale is False
    assert "> 4,000<br>0 of 3" in fig.data[1].text.ravel()


def test_a_map_needs_two_axes(one):
    with pytest.raises(ValueError, match=r"needs two swept axes, got weight_decay; use grokking_time"):
        plots.grokking_map(one)


@pytest.fixture
def curves():
    """Accuracy of two seeds at two weight decays and three fractions, where one run is missing."""
    values = np.random.default_rng(0).uniform(size=(2, 3, 2, 4, 2))
    values[0, 1, 1] = np.nan
    values[1, 2, 0, 3:] = np.nan
    coords = {"weight_decay": [0.5, 2.0], "fraction": [0.3, 0.5, 0.8], "seed": [0, 1], "epoch": [0, 10, 20, 30]}
    data = xr.DataArray(
        values, dims=(*coords, "split"), coords={**coords, "split": ["train", "test"]}, attrs={"long_name": "accuracy"}
    )
    return xr.Dataset({"accuracy": data, "loss": data.assign_attrs(units="nats", long_name="loss")})


def test_curves_of_one_axis_have_a_panel_per_value_and_a_line_per_run_and_split(curves):
    fig = plots.sweep_curves(curves.sel(fraction=0.8))
    assert [note.text for note in fig.layout.annotations] == ["<b>Weight_decay 0.5</b>", "<b>Weight_decay 2</b>"]
    assert [trace.name for trace in fig.data] == ["train", "train", "test", "test"] * 2
    expected = curves.accuracy.sel(fraction=0.8, weight_decay=2.0, seed=1, split="test")
    np.testing.assert_allclose(fig.data[7].y, expected, rtol=1e-6)
    assert [trace.name for trace in fig.data if trace.showlegend] == ["train", "test"]
    assert fig.data[0].line.color == theme.SPLIT["train"]


def test_curves_of_two_axes_are_a_grid_with_the_second_downwards(curves):
    fig = plots.sweep_curves(curves)
    assert len(fig.data) == 6 * 4
    assert [axis.title.text for axis in fig.select_yaxes(col=1)] == [
        f"Fraction {fraction}<br>accuracy" for fraction in (0.3, 0.5, 0.8)
    ]
    # Third panel: the second row, the first column.
    np.testing.assert_allclose(
        fig.data[8].y, curves.accuracy.sel(weight_decay=0.5, fraction=0.5, seed=0, split="train"), rtol=1e-6
    )
    assert len(fig.data[9].y) == 0


def test_a_run_that_ends_early_has_a_shorter_line(curves):
    fig = plots.sweep_curves(curves.sel(weight_decay=2.0))
    assert [len(trace.y) for trace in fig.data[8:12]] == [3, 4, 3, 4]


def test_losses_and_log_epochs_have_logarithmic_axes(curves):
    fig = plots.sweep_curves(curves.sel(fraction=0.3), name="loss", log_x=True)
    assert (fig.layout.xaxis.type, fig.layout.yaxis.type) == ("log", "log")


def test_curves_of_three_axes_are_refused(curves):
    with pytest.raises(ValueError, match=r"at most two swept axes, got lr, weight_decay, .*; select values"):
        plots.sweep_curves(curves.expand_dims("lr"))
    with pytest.raises(KeyError, match="the plot needs 'accuracy'"):
        plots.sweep_curves(curves.drop_vars("accuracy"))
