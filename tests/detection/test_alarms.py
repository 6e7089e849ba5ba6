"""Alarms, the benchmark record, and the baseline that fails."""

import math

import numpy as np
import pytest
import xarray as xr

import grokinterp as gi
from grokinterp.detection import detectors, first_alarm, naive_score, trials
from grokinterp.detection.benchmark import Trial, resampled_median, wilson, winner
from grokinterp.detection.detectors import last_sustained


EPOCHS = np.arange(0, 100, 10)


def over_epochs(values: list[float]) -> xr.DataArray:
    return xr.DataArray(values, dims="epoch", coords={"epoch": EPOCHS})


def curves(train: list[float], test: list[float]) -> xr.Dataset:
    loss = xr.DataArray(
        np.array([train, test]).T,
        dims=("epoch", "split"),
        coords={"epoch": np.arange(len(train)), "split": ["train", "test"]},
    )
    return xr.Dataset({"loss": loss})


def test_an_alarm_comes_at_the_second_checkpoint_in_a_row_after_memorization() -> None:
    signal = over_epochs([9, 9, 9, 0, 9, 0, 9, 9, 9, 0])
    memory = over_epochs([False] * 2 + [True] * 8)
    assert first_alarm(signal, memory, threshold=5.0, rises=True) == 70
    assert first_alarm(-signal, memory, threshold=-5.0, rises=False) == 70
    assert first_alarm(signal, over_epochs([True] * 10), threshold=5.0, rises=True) == 10


def test_there_may_be_no_alarm() -> None:
    always = over_epochs([True] * 10)
    assert math.isnan(first_alarm(over_epochs([0, 9] * 5), always, threshold=5.0, rises=True))
    assert math.isnan(first_alarm(over_epochs([9] * 10), over_epochs([False] * 10), threshold=5.0, rises=True))
    # A value equal to the threshold raises no alarm.
    assert math.isnan(first_alarm(over_epochs([5] * 10), always, threshold=5.0, rises=True))


@pytest.mark.parametrize("threshold", [math.nan, math.inf, "5", True])
def test_the_threshold_of_an_alarm_is_a_number(threshold: object, unchecked: None) -> None:
    with pytest.raises(ValueError, match="threshold must be a finite number, got "):
        first_alarm(over_epochs([9] * 10), over_epochs([True] * 10), threshold=threshold, rises=True)


def test_something_sustained_is_known_at_its_last_entry() -> None:
    holds = np.array([True, True, False, True, True, True])
    assert last_sustained(np.arange(6), holds, 3) == 5
    assert math.isnan(last_sustained(np.arange(6), holds, 4))
    assert math.isnan(last_sustained(np.arange(2), holds[:2], 3))


def test_the_naive_score_is_its_formula() -> None:
    train, test = [1.0, 0.5, 0.4, 0.2], [4.0, 5.0, 3.0, 2.0]
    found = naive_score(curves(train, test), window=3).values
    wanted = (5.0 - 2.0) / 5.0 * ((5 + 3 + 2) / 1.1) / (np.std([0.5, 0.4, 0.2]) + 1e-8)
    assert np.isnan(found[:2]).all()
    assert found[3] == pytest.approx(wanted, rel=1e-12)


def test_the_naive_score_alarms_at_a_run_that_does_not_grok() -> None:
    """A constant train loss and a test loss that decreases by 0.1%: no grokking, but a score in the millions."""
    test = np.linspace(10.0, 9.99, 20)
    found = naive_score(curves([1e-4] * 20, list(test)))
    assert found.values[-1] > 1e6


def test_the_record_of_the_benchmark_is_whole_and_honest_about_the_baseline() -> None:
    known = trials()
    assert set(known) == {*gi.detection.DETECTORS, "naive score"}
    for trial in known.values():
        assert trial.grokked + trial.controls + trial.censored == 36
        assert trial.detected == len(trial.leads) == len(trial.lead_shares)
        assert trial.detected + trial.late <= trial.grokked
        assert all(lead > 0 for lead in trial.leads)
    best, naive = known[winner()], known["naive score"]
    assert best.false_alarm_rate[0] < naive.false_alarm_rate[0]
    assert naive.false_alarms >= naive.controls / 2


def test_intervals_are_wilson_s_and_of_resampled_medians() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for (successes, n), wanted in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert wilson(successes, n) == pytest.approx(wanted, abs=1e-4)
    assert resampled_median((5.0,)) == (5.0, 5.0, 5.0)
    assert all(map(math.isnan, resampled_median(())))
    value, low, high = resampled_median(tuple(map(float, range(101))))
    assert value == 50
    assert 30 < low < 50 < high < 70


def test_a_trial_has_its_rates() -> None:
    trial = Trial(
        detector="x",
        threshold=1.0,
        rises=True,
        grokked=4,
        detected=3,
        late=1,
        censored=0,
        controls=8,
        false_alarms=2,
        leads=(10.0, 20.0, 40.0),
        lead_shares=(0.1, 0.2, 0.4),
    )
    assert (trial.detection_rate[0], trial.false_alarm_rate[0], trial.median_lead[0]) == (0.75, 0.25, 20.0)


@pytest.mark.slow
def test_early_detection_says_when_and_how_far_to_trust_it() -> None:
    run = gi.load_run("nanda2023")
    found = gi.early_detection(run, progress=False)
    trial = trials()[found.attrs["detector"]]
    assert found.threshold.item() == trial.threshold
    assert found.detection_rate.values.tolist() == list(trial.detection_rate)
    assert found.memorized_epoch.item() == 300  # the first checkpoint after epoch 140
    assert found.memorized_epoch.attrs["long_name"] == "first after train accuracy ≥ 0.99 for 3 entries in a row"
    # Its test accuracy passes 0.5 at epoch 10,660; the alarm is at an earlier checkpoint.
    assert 300 < found.alarm_epoch.item() < 10_660


def test_the_alarm_of_a_run_that_never_memorized_is_nan(tmp_path) -> None:
    config = gi.RunConfig(task=gi.TaskConfig(p=7), model=gi.TransformerConfig(d_model=8, d_mlp=16), epochs=3)
    found = gi.early_detection(gi.train(config, tmp_path, progress=False), "alignment", progress=False)
    assert np.isnan(found.alarm_epoch.item())
    assert np.isnan(found.memorized_epoch.item())


def test_a_detector_without_a_record_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: trial for name, trial in trials().items() if name != "alignment"}
    monkeypatch.setattr(detectors, "trials", lambda: known)
    with pytest.raises(ValueError, match=r"^detector must be one of embedding Gini, .*got 'alignment'"):
        gi.early_detection(gi.load_run("nanda2023"), "alignment", progress=False)


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(ValueError, match=r"names must be one of embedding Gini, .* got 'gini'"):
        gi.detection.signals(gi.load_run("nanda2023"), ["gini"], progress=False)


@pytest.mark.slow
def test_weights_that_have_decayed_since_memorization_are_told() -> None:
    run = gi.load_run("nanda2023")
    ds = gi.detection.signals(run, ["weight decay"], progress=False)
    total = gi.trajectory(run, [gi.progress.weight_norm], progress=False).weight_norm.sum("parameter")
    after = total.sel(epoch=slice(300, None))
    wanted = 1 - after.sel(epoch=40_000) / after.max()
    assert ds["weight decay"].sel(epoch=40_000).item() == pytest.approx(wanted.item())
    assert (ds["weight decay"].sel(epoch=slice(0, 100)) == 0).all()


def test_an_mlp_is_refused_in_one_line(tmp_path) -> None:
    config = gi.RunConfig(task=gi.TaskConfig(p=7), model=gi.MLPConfig(d_mlp=8), epochs=3)
    run = gi.train(config, tmp_path, progress=False)
    with pytest.raises(ValueError, match="detectors support transformers only, on which they were benchmarked, got"):
        gi.early_detection(run, progress=False)
