"""Kaplan-Meier curves: a table computed by hand, the formula as a loop, and censoring."""

import builtins
import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import grokinterp as gi
from grokinterp.survival import kaplan_meier


def runs(times: list[float], censored: list[int]) -> tuple[xr.DataArray, xr.DataArray]:
    return xr.DataArray(times, dims="seed"), xr.DataArray([bool(x) for x in censored], dims="seed")


@pytest.fixture
def two() -> tuple[xr.DataArray, xr.DataArray]:
    """Two weight decays: three seeds that grokked, and three with one censored at epoch 3."""
    times = xr.DataArray(
        [[1.0, 2.0, 5.0], [7.0, 6.0, 3.0]],
        dims=("weight_decay", "seed"),
        coords={"weight_decay": ("weight_decay", [2.0, 0.5], {"long_name": "weight decay"}), "seed": [0, 1, 2]},
    )
    return times, xr.zeros_like(times, dtype=bool) | (times == 3)


def test_the_curve_is_the_product_limit_table_made_by_hand() -> None:
    """Six runs: one grokked at 100, two at 200, one was censored at 200, one grokked at 300, one was censored at 500.

    At 100, 1 of 6 at risk groks: 5/6. At 200, 2 of 5 grok: 5/6 * 3/5 = 1/2. The run censored at 200 is at risk until
    then. At 300, 1 of 2 groks: 1/4.
    """
    found = kaplan_meier(*runs([200, 100, 300, 200, 500, 200], [0, 0, 0, 1, 1, 0])).sel(group="all")
    assert found.epoch.values.tolist() == [0, 100, 200, 300, 500]
    assert found.survival.values.tolist() == pytest.approx([1, 5 / 6, 1 / 2, 1 / 4, 1 / 4])
    assert found.at_risk.values.tolist() == [6, 6, 5, 2, 1]
    assert (found.runs.item(), found.censored.item(), found["median"].item()) == (6, 2, 200)


def test_bands_are_greenwoods_on_the_log_log_scale() -> None:
    found = kaplan_meier(*runs([100, 200, 200, 200, 300, 500], [0, 0, 0, 1, 0, 1])).sel(group="all", epoch=200)
    # The variance of log(-log S) is the sum of d / (n (n - d)) over the events, over log(S)^2.
    log_s = math.log(1 / 2)
    spread = 1.959964 * math.sqrt((1 / (6 * 5) + 2 / (5 * 3)) / log_s**2)
    expected = [math.exp(log_s * math.exp(sign * spread)) for sign in (1, -1)]
    assert [found.lower.item(), found.upper.item()] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=12))
def test_the_curve_is_a_loop_over_epochs(sample: list[tuple[int, bool]]) -> None:
    times, censored = zip(*sample, strict=True)
    found = kaplan_meier(*runs([float(x) for x in times], list(censored))).survival.sel(group="all")
    share = 1.0
    for epoch in found.epoch.values[1:]:
        there = sum(time >= epoch for time in times)
        gone = sum(time == epoch and not is_censored for time, is_censored in sample)
        share *= 1 - gone / there
        assert found.sel(epoch=epoch).item() == pytest.approx(share, abs=1e-12)


def test_without_censoring_the_curve_is_the_share_that_is_left() -> None:
    found = kaplan_meier(*runs([10, 20, 30, 40], [0, 0, 0, 0])).sel(group="all")
    assert found.survival.values.tolist() == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert found["median"].item() == 20


def test_a_stopped_run_is_neither_grokked_nor_left_out() -> None:
    stopped, left_out = runs([10, 20, 30, 30], [0, 0, 1, 1]), runs([10, 20], [0, 0])
    grokked = runs([10, 20, 30, 30], [0, 0, 0, 0])
    at_end = [kaplan_meier(*sample).survival.isel(group=0, epoch=-1).item() for sample in (stopped, left_out, grokked)]
    assert at_end == pytest.approx([0.5, 0, 0])


def test_where_less_than_half_grokked_the_median_is_infinite() -> None:
    found = kaplan_meier(*runs([10, 40, 40], [0, 1, 1]))
    assert found["median"].item() == math.inf
    assert found["median_upper"].item() == math.inf
    none = kaplan_meier(*runs([40, 40], [1, 1]))
    assert none.survival.values.tolist() == [[1, 1]]


def test_groups_have_curves_over_the_same_epochs_as_far_as_they_were_watched(two) -> None:
    found = kaplan_meier(*two, groups="weight_decay")
    assert found.group.values.tolist() == [2.0, 0.5]
    assert found.group.attrs["long_name"] == "weight decay"
    fast, slow = found.survival.sel(group=2.0), found.survival.sel(group=0.5)
    assert found.epoch.values.tolist() == [0, 1, 2, 3, 5, 6, 7]
    assert fast.values[:5].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 1 / 3, 0])
    assert np.isnan(fast.values[5:]).all()
    assert slow.values.tolist() == pytest.approx([1, 1, 1, 1, 1, 1 / 2, 0])
    assert found["median"].values.tolist() == [2, 6]


def test_the_log_rank_test_is_the_one_made_by_hand(two) -> None:
    """Observed minus expected events of the first group, squared, over the variance; 1 degree of freedom."""
    observed = expected = variance = 0.0
    for epoch in (1, 2, 5, 6, 7):
        n1, n2 = (float((two[0].sel(weight_decay=value) >= epoch).sum()) for value in (2.0, 0.5))
        n = n1 + n2
        observed += epoch <= 5
        expected += n1 / n
        variance += n1 * n2 * (n - 1) / (n**2 * (n - 1)) if n > 1 else 0.0
    chi2 = (observed - expected) ** 2 / variance
    p_value = kaplan_meier(*two, groups="weight_decay").p_value.item()
    assert p_value == pytest.approx(math.erfc(math.sqrt(chi2 / 2)))
    assert p_value < 0.1
    assert "p_value" not in kaplan_meier(*two)


def test_groups_that_are_alike_do_not_differ() -> None:
    times = xr.DataArray([[1.0, 2.0], [1.0, 2.0]], dims=("value", "seed"), coords={"value": [0, 1]})
    assert kaplan_meier(times, times > 9, groups="value").p_value.item() == pytest.approx(1.0)
    assert kaplan_meier(times, times > 0, groups="value").p_value.item() == 1.0


def test_missing_runs_and_groups_without_any_are_left_out(two) -> None:
    times, censored = two
    times = times.where((times != 2) & (times < 6) & (times != 3))
    found = kaplan_meier(times, censored, groups="weight_decay")
    assert found.group.values.tolist() == [2.0]
    assert found.runs.values.tolist() == [2]


@pytest.mark.slow
def test_grokking_times_go_into_a_curve() -> None:
    metrics = gi.load_run("nanda2023").metrics
    parts = [metrics, metrics.sel(epoch=slice(0, 5000))]
    times = xr.concat([gi.phases.grokking_times(part) for part in parts], dim="seed")
    found = kaplan_meier(times.time, times.is_censored)
    assert found.survival.values[0].tolist() == [1, 1, 0]
    assert found.censored.item() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": "fraction"}, r"groups must be one of seed, got 'fraction'\."),
        ({"confidence": 1.0}, r"confidence must be a number above 0 and below 1, got 1\.0\."),
        ({"is_censored": xr.DataArray([True], dims="seed")}, r"the same dimensions, got {'seed': 2} and {'seed': 1}\."),
        ({"times": xr.DataArray([1.0, -5.0], dims="seed")}, r"times must be finite and not negative, got -5 to 1\."),
        ({"times": xr.DataArray([np.nan, np.nan], dims="seed")}, r"a number for at least one run, got none\."),
    ],
)
def test_what_is_no_sample_of_runs_is_refused(change: dict, message: str) -> None:
    times, is_censored = runs([1, 2], [0, 1])
    with pytest.raises(ValueError, match=message):
        kaplan_meier(**{"times": times, "is_censored": is_censored, **change})


def test_without_lifelines_a_line_says_how_to_install_it(monkeypatch) -> None:
    load = builtins.__import__

    def without(name: str, *rest: object, **named: object) -> object:
        if name.startswith("lifelines"):
            raise ImportError(name)
        return load(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"need lifelines; pip install 'grokinterp\[stats\]'\."):
        kaplan_meier(*runs([1, 2], [0, 1]))


def test_runs_are_matched_by_their_coordinates_and_not_by_their_places() -> None:
    times = xr.DataArray([10.0, 20.0, 30.0, 40.0], dims="seed", coords={"seed": [0, 1, 2, 3]})
    censored = xr.DataArray([True, False, False, False], dims="seed", coords={"seed": [3, 0, 1, 2]})
    found, wanted = (kaplan_meier(times, x) for x in (censored, censored.sortby("seed")))
    xr.testing.assert_identical(found, wanted)
    assert found.survival.sel(group="all", epoch=10).item() == pytest.approx(0.75)


@pytest.mark.parametrize("coords", [{}, {"seed": [0, 1, 2, 4]}])
def test_runs_with_other_coordinates_are_refused(coords: dict) -> None:
    times = xr.DataArray([10.0, 20.0, 30.0, 40.0], dims="seed", coords={"seed": [0, 1, 2, 3]})
    censored = xr.DataArray([True, False, False, False], dims="seed", coords=coords)
    with pytest.raises(ValueError, match=r"the same coordinates along seed, got \[0, 1, 2, 3\] and "):
        kaplan_meier(times, censored)


@pytest.mark.parametrize("unknown", [math.nan, 0.5, 2.0])
def test_whether_a_run_is_censored_has_to_be_known(unknown: float) -> None:
    times, censored = runs([10.0, 20.0, 30.0], [0, 0, 1])
    censored = censored.astype(float)
    censored[1] = unknown
    with pytest.raises(ValueError, match="is_censored must be True or False, or 1 or 0, for each run; "):
        kaplan_meier(times, censored)
    times[1] = math.nan  # without a run there is nothing to know
    assert kaplan_meier(times, censored).runs.item() == 2


@pytest.mark.parametrize("confidence", [math.nan, 95, "0.95", True])
def test_a_confidence_is_a_fraction(confidence: object, unchecked: None) -> None:
    with pytest.raises(ValueError, match="confidence must be "):
        kaplan_meier(*runs([10, 20], [0, 1]), confidence=confidence)


def test_infinite_times_are_refused() -> None:
    with pytest.raises(ValueError, match="times must be finite and not negative, got 10 to inf"):
        kaplan_meier(*runs([10, math.inf], [0, 1]))
