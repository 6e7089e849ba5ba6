"""Phases and events by rule, on curves drawn by hand."""

from collections.abc import Callable

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


def test_grokking_times_are_first_sustained_crossings_with_their_delay_and_ratio() -> None:
    found = gi.phases.grokking_times(_curves())
    assert found.memorised.item() == 300
    # Test accuracy passes .95 between the entries 4800 (.9) and 4900 (.95).
    assert found.grokked.item() == found.time.item() == 4900
    assert found.delay.item() == 4600
    assert found.ratio.item() == pytest.approx(4900 / 300)
    assert not found.is_censored.item()
    assert found.resolution.item() == 100
    assert found.horizon.item() == 9600
    assert found.attrs == {"memorised_at": 0.99, "grokked_at": 0.95, "sustained": 5}


def test_a_spike_is_no_grokking_unless_it_lasts() -> None:
    ds = _curves()
    spike = ds.accuracy.copy()
    spike.loc[{"epoch": [1000, 1100, 1200, 1300], "split": "test"}] = 1.0
    ds["accuracy"] = spike
    assert gi.phases.grokking_times(ds).grokked.item() == 4900
    assert gi.phases.grokking_times(ds, sustained=4).grokked.item() == 1000


def test_thresholds_of_grokking_times_are_arguments() -> None:
    found = gi.phases.grokking_times(_curves(), memorised=0.6, grokked=0.5)
    assert (found.memorised.item(), found.grokked.item()) == (200, 4000)


def test_a_run_that_stops_before_grokking_is_censored_at_the_last_entry_that_could_show_it() -> None:
    found = gi.phases.grokking_times(_curves().sel(epoch=slice(0, 5200)))
    # It is above .95 at 4900, 5000, 5100 and 5200: four entries, of which nobody knows whether they last.
    assert found.is_censored.item()
    assert np.isnan(found.grokked.item())
    assert found.time.item() == found.horizon.item() == 4800
    assert np.isnan([found.delay.item(), found.ratio.item()]).all()
    assert found.memorised.item() == 300
    # One entry more, and it is seen.
    assert gi.phases.grokking_times(_curves().sel(epoch=slice(0, 5300))).time.item() == 4900


def test_a_delay_from_epoch_zero_is_a_delay_and_its_ratio_is_infinite() -> None:
    ds = _curves()
    ds.accuracy.loc[{"split": "train"}] = 1.0
    found = gi.phases.grokking_times(ds)
    assert (found.memorised.item(), found.delay.item(), found.ratio.item()) == (0, 4900, np.inf)
    ds.accuracy.loc[{"split": "test"}] = 1.0
    both = gi.phases.grokking_times(ds)
    assert (both.grokked.item(), both.delay.item()) == (0, 0)
    assert np.isnan(both.ratio.item())


def test_resolution_is_the_largest_gap_up_to_the_crossing() -> None:
    ds = _curves().sel(epoch=[0, 100, 300, 400, 3000, 4900, 5000, 5100, 5200, 5300, 9000, 10_000])
    found = gi.phases.grokking_times(ds)
    assert (found.grokked.item(), found.resolution.item()) == (4900, 2600)


def test_grokking_times_need_entries_enough_and_a_curve() -> None:
    with pytest.raises(ValueError, match="at least sustained=5 entries, got 4; log more often"):
        gi.phases.grokking_times(_curves().isel(epoch=slice(0, 4)))
    with pytest.raises(KeyError, match=r"phases need 'loss': add gi\.progress\.losses"):
        gi.phases.grokking_times(_curves()[["squared_weight_norm"]])
    assert gi.phases.grokking_times(_curves()[["accuracy"]]).grokked.item() == 4900


@pytest.mark.parametrize("find", [gi.phases.grokking_times, gi.phases.detect])
@pytest.mark.parametrize("sustained", [0, -1])
def test_nothing_is_sustained_for_less_than_one_entry(find: Callable[..., xr.Dataset], sustained: int) -> None:
    with pytest.raises(ValueError, match=f"sustained must be an integer of at least 1, got {sustained}"):
        find(_curves(), sustained=sustained)


def test_grokking_times_agree_with_detect() -> None:
    metrics = gi.load_run("nanda2023").metrics
    found, events = gi.phases.grokking_times(metrics, grokked=0.99), gi.phases.detect(metrics)
    assert found.memorised.item() == _event(events, "memorised")
    assert found.grokked.item() == _event(events, "grokked")
    assert found.delay.item() == events.delay.item()


def _slinging(*spikes: tuple[int, int, float, float], norm_before: float = 10.0) -> xr.Dataset:
    """Curves that memorise at 300; a spike is its first and last epoch, its train loss, and the norm from then on."""
    loss = np.where(EPOCHS < 300, 2.0, 1e-2)
    norm = np.full(len(EPOCHS), norm_before)
    for first, last, height, size in spikes:
        loss = np.where((first <= EPOCHS) & (last >= EPOCHS), height, loss)
        norm = np.where(first <= EPOCHS, size, norm)
    accuracy = np.where(EPOCHS < 300, 0.5, 1.0)
    return xr.Dataset(
        {
            "loss": (("epoch", "split"), np.stack([loss, loss + 5], axis=1)),
            "accuracy": (("epoch", "split"), np.stack([accuracy, accuracy * 0.3], axis=1)),
            "weight_norm": (("epoch", "parameter"), np.stack([np.ones_like(norm), norm**2], axis=1)),
        },
        coords={"epoch": EPOCHS, "split": ["train", "test"], "parameter": ["embed.W_E", "unembed.W_U"]},
    )


def test_planted_slingshots_are_found_with_their_epochs_and_sizes() -> None:
    found = gi.phases.slingshots(_slinging((2000, 2100, 0.5, 12.0), (6000, 6000, 1.0, 18.0)))
    assert found.start.values.tolist() == [2000, 6000]
    assert found.end.values.tolist() == [2100, 6000]
    assert found.loss_factor.values.tolist() == pytest.approx([50, 100])
    assert found.norm_growth.values.tolist() == pytest.approx([0.2, 0.5])


def test_losses_before_memorising_are_not_what_a_spike_rises_above() -> None:
    ds = _slinging((2000, 2100, 0.5, 12.0))
    ds.loss.loc[{"epoch": 0}] = 1e-5
    assert gi.phases.slingshots(ds).start.values.tolist() == [2000]


def test_a_run_without_slingshots_has_none() -> None:
    calm = gi.phases.slingshots(_slinging())
    assert calm.sizes == {"event": 0}
    assert calm.start.attrs["units"] == "epoch"
    run = gi.load_run("nanda2023")
    ds = gi.trajectory(run, [gi.progress.losses, gi.progress.accuracies, gi.progress.weight_norm], progress=False)
    assert gi.phases.slingshots(ds).sizes["event"] == 0


@pytest.mark.parametrize(
    "spike",
    [
        (2000, 2100, 0.09, 12.0),
        (2000, 2100, 0.5, 10.0),
        (2000, 2100, 0.5, 8.0),
        (0, 200, 50.0, 12.0),
    ],
    ids=["low", "norm stays", "norm falls", "before memorising"],
)
def test_a_spike_alone_or_growth_alone_is_no_slingshot(spike: tuple[int, int, float, float]) -> None:
    assert gi.phases.slingshots(_slinging(spike)).sizes["event"] == 0


def test_thresholds_of_slingshots_are_arguments() -> None:
    ds = _slinging((2000, 2100, 0.09, 12.0))
    assert gi.phases.slingshots(ds, factor=8.0).sizes["event"] == 1
    assert gi.phases.slingshots(ds, factor=8.0, least=0.1).sizes["event"] == 0
    assert gi.phases.slingshots(ds, factor=8.0, growth=0.3).sizes["event"] == 0


def test_slingshots_need_the_norm_of_the_unembedding() -> None:
    with pytest.raises(KeyError, match=r"slingshots need the 'weight_norm' of unembed\.W_U: add gi\.progress"):
        gi.phases.slingshots(_slinging().drop_sel(parameter="unembed.W_U"))
    with pytest.raises(KeyError, match=r"phases need 'loss'"):
        gi.phases.slingshots(_slinging().drop_vars("loss"))
