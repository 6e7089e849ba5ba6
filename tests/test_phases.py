"""Phases and events by rule, on curves drawn by hand."""

import numpy as np
import pytest
import xarray as xr

import grokinterp as gi


EPOCHS = np.arange(0, 10_001, 100)


def _curves(**other: np.ndarray) -> xr.Dataset:
    """Memorised at 300, test accuracy .5 at 4000 and .99 at 5000, weights settled by 7000."""
    train = np.clip(EPOCHS / 300, 0, 1)
    test = np.interp(EPOCHS, [0, 3000, 4000, 5000], [0.0, 0.1, 0.5, 1.0])
    loss = np.interp(EPOCHS, [0, 1500, 4000, 6000, 10_000], [4.7, 20.0, 3.0, 1e-6, 1e-6])
    weights = np.interp(EPOCHS, [0, 1000, 4000, 7000, 10_000], [1800, 3600, 2000, 1000, 1000])
    curves = {
        "accuracy": (("epoch", "split"), np.stack([train, test], axis=1)),
        "loss": (("epoch", "split"), np.stack([np.exp(-train), loss], axis=1)),
        "squared_weight_norm": (("epoch",), weights),
    }
    curves |= {name: (("epoch",), values) for name, values in other.items()}
    return xr.Dataset(curves, coords={"epoch": EPOCHS, "split": ["train", "test"]})


def _event(found: xr.Dataset, event: str) -> float:
    return found.event_epoch.sel(event=event).item()


def test_events_follow_their_rules() -> None:
    excluded = np.interp(EPOCHS, [0, 1300, 5000, 10_000], [4.7, 0.3, 13.0, 6.0])
    found = gi.phases.detect(_curves(excluded_loss=excluded))
    assert _event(found, "memorised") == 300
    assert _event(found, "circuit formation starts") == 1300
    assert _event(found, "generalising") == 4000
    assert _event(found, "grokked") == 5000
    # 5 % above 1000 is at 6850 on the way down; the next entry is the first within.
    assert _event(found, "cleaned up") == 6900
    assert found.delay.item() == 4700


def test_phases_are_bounded_by_the_events() -> None:
    excluded = np.interp(EPOCHS, [0, 1300, 5000, 10_000], [4.7, 0.3, 13.0, 6.0])
    found = gi.phases.detect(_curves(excluded_loss=excluded))
    assert found.phase_start.values.tolist() == [0, 1300, 4000]
    assert found.phase_end.values.tolist() == [1300, 4000, 6900]
    assert found.phase.values.tolist() == ["memorization", "circuit formation", "cleanup"]


def test_without_excluded_loss_the_highest_test_loss_stands_in() -> None:
    found = gi.phases.detect(_curves())
    assert _event(found, "circuit formation starts") == 1500
    assert "minus the test loss" in found.rule.sel(event="circuit formation starts").item()


def test_thresholds_have_to_be_sustained() -> None:
    ds = _curves()
    spike = ds.accuracy.copy()
    spike.loc[{"epoch": [1000, 1100, 1200, 1300], "split": "test"}] = 1.0
    ds["accuracy"] = spike
    assert _event(gi.phases.detect(ds), "generalising") == 4000
    assert _event(gi.phases.detect(ds, sustained=4), "generalising") == 1000


def test_thresholds_are_arguments() -> None:
    found = gi.phases.detect(_curves(), generalising=0.1, grokked=0.75)
    assert _event(found, "generalising") == 3000
    assert _event(found, "grokked") == 4500


def test_a_run_that_has_not_grokked_is_censored() -> None:
    found = gi.phases.detect(_curves().sel(epoch=slice(0, 3500)))
    assert _event(found, "memorised") == 300
    for event in ("generalising", "grokked", "cleaned up"):
        assert np.isnan(_event(found, event))
    assert np.isnan(found.delay.item())
    assert np.isnan(found.phase_end.sel(phase="circuit formation").item())


def test_a_minimum_at_the_end_may_not_be_one() -> None:
    falling = np.linspace(4.7, 0.1, len(EPOCHS))
    ds = _curves(excluded_loss=falling).sel(epoch=slice(0, 3500))
    assert np.isnan(_event(gi.phases.detect(ds), "circuit formation starts"))


def test_weights_that_still_shrink_are_not_cleaned_up() -> None:
    assert np.isnan(_event(gi.phases.detect(_curves().sel(epoch=slice(0, 6500))), "cleaned up"))


def test_norms_by_parameter_are_summed() -> None:
    ds = _curves()
    by_parameter = xr.concat([ds.squared_weight_norm * 0.25, ds.squared_weight_norm * 0.75], dim="parameter")
    ds = ds.drop_vars("squared_weight_norm").assign(weight_norm=by_parameter)
    assert _event(gi.phases.detect(ds), "cleaned up") == 6900


def test_without_accuracy_the_probability_of_the_right_answer_stands_in() -> None:
    ds = _curves().drop_vars("accuracy")
    found = gi.phases.detect(ds)
    assert "test exp(-loss) reaches 0.5" in found.rule.sel(event="generalising").item()
    # The test loss falls from 3 at 4000 to nothing at 6000, and passes ln 2 at 5538 and -ln .99 at 5993.
    assert _event(found, "generalising") == 5600
    assert _event(found, "grokked") == 6000


def test_a_missing_loss_names_its_measure() -> None:
    with pytest.raises(KeyError, match=r"phases need 'loss': add gi\.progress\.losses to the trajectory"):
        gi.phases.detect(_curves().drop_vars("loss"))
