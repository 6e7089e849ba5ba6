"""Phases and events by rule, on curves drawn by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr

import grokinterp as gi
from grokinterp.plots import theme
from grokinterp.report import findings


EPOCHS = np.arange(0, 10_001, 100)


def _curves(**other: np.ndarray) -> xr.Dataset:
    """Memorized at 300, test accuracy .5 at 4000 and .99 at 5000, weights settled by 7000."""
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
    assert _event(found, "memorized") == 300
    assert _event(found, "circuit formation starts") == 1300
    assert _event(found, "generalizing") == 4000
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
    assert _event(gi.phases.detect(ds), "generalizing") == 4000
    assert _event(gi.phases.detect(ds, sustained=4), "generalizing") == 1000


def test_thresholds_are_arguments() -> None:
    found = gi.phases.detect(_curves(), generalizing=0.1, grokked=0.75)
    assert _event(found, "generalizing") == 3000
    assert _event(found, "grokked") == 4500


def test_a_run_that_has_not_grokked_is_censored() -> None:
    found = gi.phases.detect(_curves().sel(epoch=slice(0, 3500)))
    assert _event(found, "memorized") == 300
    for event in ("generalizing", "grokked", "cleaned up"):
        assert np.isnan(_event(found, event))
    assert np.isnan(found.delay.item())
    assert np.isnan(found.phase_end.sel(phase="circuit formation").item())


def test_a_run_that_generalizes_and_has_not_grokked_has_no_cleanup() -> None:
    """Its test accuracy stays at .9, its weights have settled, and its circuit formation has not ended."""
    ds = _curves()
    ds["accuracy"] = ds.accuracy.clip(max=xr.DataArray([1.0, 0.9], dims="split"))
    found = gi.phases.detect(ds)
    assert (_event(found, "generalizing"), _event(found, "circuit formation starts")) == (4000, 1500)
    assert np.isnan(_event(found, "cleaned up"))
    assert found.phase_end.isnull().values.tolist() == [False, True, True]
    assert found.phase_start.isnull().values.tolist() == [False, False, True]
    said = " ".join(findings.phases(found))
    assert "Circuit formation began at epoch 1,500 and has not ended" in said
    assert "Cleanup has not been reached." in said
    drawn = gi.plots.training_curves(ds, phases=found)
    assert theme.PHASE["cleanup"] not in [shape.fillcolor for shape in drawn.layout.shapes]


def test_the_rule_says_what_the_excluded_loss_is_of() -> None:
    excluded = xr.DataArray(np.interp(EPOCHS, [0, 1300, 10_000], [4.7, 0.3, 13.0]), dims="epoch")
    for attrs, words in (
        ({}, "the excluded loss,"),
        ({"form": "2D"}, "the excluded loss of all frequencies,"),
        ({"form": "2D", "key_frequencies": "[14, 35]"}, "the excluded loss of keys [14, 35],"),
    ):
        found = gi.phases.detect(_curves().assign(excluded_loss=excluded.assign_attrs(attrs)))
        rule = f"minimum of {words} before generalizing"
        assert found.rule.sel(event="circuit formation starts").item() == rule
        assert found.phase_rule.values[0] == rule


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
    assert "test exp(-loss) ≥ 0.5" in found.rule.sel(event="generalizing").item()
    # The test loss falls from 3 at 4000 to nothing at 6000, and passes ln 2 at 5538 and -ln .99 at 5993.
    assert _event(found, "generalizing") == 5600
    assert _event(found, "grokked") == 6000


def test_a_missing_loss_names_its_measure() -> None:
    with pytest.raises(KeyError, match=r"phases need 'loss': add gi\.progress\.losses to the trajectory"):
        gi.phases.detect(_curves().drop_vars("loss"))


def test_grokking_times_are_first_sustained_crossings_with_their_delay_and_ratio() -> None:
    found = gi.phases.grokking_times(_curves())
    assert found.memorized.item() == 300
    # Test accuracy passes .99 between the entries 4900 (.95) and 5000 (1).
    assert found.grokked.item() == found.time.item() == 5000
    assert found.delay.item() == 4700
    assert found.ratio.item() == pytest.approx(5000 / 300)
    assert not found.is_censored.item()
    assert found.resolution.item() == 100
    assert found.horizon.item() == 9600
    assert found.attrs == {"memorized_at": 0.99, "grokked_at": 0.99, "sustained": 5}
    assert gi.phases.grokking_times(_curves(), grokked=0.95).grokked.item() == 4900
    assert found.memorized.attrs["rule"] == "train accuracy ≥ 0.99 for 5 entries in a row"
    assert found.time.attrs["rule"] == found.grokked.attrs["rule"] == "test accuracy ≥ 0.99 for 5 entries in a row"


def test_a_spike_is_no_grokking_unless_it_lasts() -> None:
    ds = _curves()
    spike = ds.accuracy.copy()
    spike.loc[{"epoch": [1000, 1100, 1200, 1300], "split": "test"}] = 1.0
    ds["accuracy"] = spike
    assert gi.phases.grokking_times(ds).grokked.item() == 5000
    assert gi.phases.grokking_times(ds, sustained=4).grokked.item() == 1000


def test_thresholds_of_grokking_times_are_arguments() -> None:
    found = gi.phases.grokking_times(_curves(), memorized=0.6, grokked=0.5)
    assert (found.memorized.item(), found.grokked.item()) == (200, 4000)


def test_a_run_that_stops_before_grokking_is_censored_at_the_last_entry_that_could_show_it() -> None:
    found = gi.phases.grokking_times(_curves().sel(epoch=slice(0, 5200)), grokked=0.95)
    # It is above .95 at 4900, 5000, 5100 and 5200: four entries, of which nobody knows whether they last.
    assert found.is_censored.item()
    assert np.isnan(found.grokked.item())
    assert found.time.item() == found.horizon.item() == 4800
    assert np.isnan([found.delay.item(), found.ratio.item()]).all()
    assert found.memorized.item() == 300
    # One entry more, and it is seen.
    assert gi.phases.grokking_times(_curves().sel(epoch=slice(0, 5300)), grokked=0.95).time.item() == 4900


def test_a_delay_from_epoch_zero_is_a_delay_and_its_ratio_is_infinite() -> None:
    ds = _curves()
    ds.accuracy.loc[{"split": "train"}] = 1.0
    found = gi.phases.grokking_times(ds)
    assert (found.memorized.item(), found.delay.item(), found.ratio.item()) == (0, 5000, np.inf)
    ds.accuracy.loc[{"split": "test"}] = 1.0
    both = gi.phases.grokking_times(ds)
    assert (both.grokked.item(), both.delay.item()) == (0, 0)
    assert np.isnan(both.ratio.item())


def test_resolution_is_the_largest_gap_up_to_the_crossing() -> None:
    ds = _curves().sel(epoch=[0, 100, 300, 400, 3000, 5000, 5100, 5200, 5300, 9000, 10_000])
    found = gi.phases.grokking_times(ds)
    assert (found.grokked.item(), found.resolution.item()) == (5000, 2600)


def test_grokking_times_need_entries_enough_and_a_curve() -> None:
    with pytest.raises(ValueError, match="at least sustained=5 entries, got 4; log more often"):
        gi.phases.grokking_times(_curves().isel(epoch=slice(0, 4)))
    with pytest.raises(KeyError, match=r"phases need 'loss': add gi\.progress\.losses"):
        gi.phases.grokking_times(_curves()[["squared_weight_norm"]])
    assert gi.phases.grokking_times(_curves()[["accuracy"]]).grokked.item() == 5000


@pytest.mark.parametrize("find", [gi.phases.grokking_times, gi.phases.detect])
@pytest.mark.parametrize("sustained", [0, -1, 2.5, True, "5"])
def test_entries_in_a_row_are_a_count(find: Callable[..., xr.Dataset], sustained: object, unchecked: None) -> None:
    with pytest.raises(ValueError, match=f"sustained must be an integer of at least 1, got {sustained!r}"):
        find(_curves(), sustained=sustained)


@pytest.mark.parametrize("find", [gi.phases.grokking_times, gi.phases.detect])
@pytest.mark.parametrize("name", ["memorized", "grokked"])
@pytest.mark.parametrize("threshold", [95, np.nan, -1, "0.95", None])
def test_a_threshold_is_an_accuracy(
    find: Callable[..., xr.Dataset], name: str, threshold: object, unchecked: None
) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a number from 0 to 1, got {threshold!r}"):
        find(_curves(), **{name: threshold})


@pytest.mark.parametrize("threshold", [np.float32(0.95), np.array(0.95), torch.tensor(0.95)])
def test_a_threshold_may_be_any_number(threshold: object, unchecked: None) -> None:
    found = gi.phases.grokking_times(_curves(), grokked=threshold)
    assert (found.grokked.item(), found.attrs["grokked_at"]) == (4900, pytest.approx(0.95))


@pytest.mark.slow
def test_grokking_times_agree_with_detect() -> None:
    metrics = gi.load_run("nanda2023").metrics
    found, events = gi.phases.grokking_times(metrics), gi.phases.detect(metrics)
    assert found.attrs == events.attrs == {"memorized_at": 0.99, "grokked_at": 0.99, "sustained": 5}
    assert found.memorized.item() == _event(events, "memorized")
    assert found.grokked.item() == _event(events, "grokked")
    assert found.delay.item() == events.delay.item()


def _slinging(*spikes: tuple[int, int, float, float], norm_before: float = 10.0) -> xr.Dataset:
    """Curves that memorize at 300; a spike is its first and last epoch, its train loss, and the norm from then on."""
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


def test_losses_before_memorizing_are_not_what_a_spike_rises_above() -> None:
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
    ids=["low", "norm stays", "norm falls", "before memorizing"],
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


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("read", [gi.phases.detect, gi.phases.grokking_times, gi.phases.slingshots])
@pytest.mark.parametrize(
    ("spoiled", "error", "message"),
    [
        (lambda ds: gi.load_run("nanda2023"), TypeError, r"need a Dataset of curves, got Run.*; pass run\.metrics"),
        (lambda ds: "nanda2023", TypeError, r"need a Dataset of curves, got 'nanda2023'"),
        (lambda ds: ds.isel(epoch=slice(None, None, -1)), ValueError, r'sort them with ds\.sortby\("epoch"\)'),
        (lambda ds: ds.isel(epoch=[0, *range(10), 3, 4]), ValueError, "epochs must be strictly ascending"),
        (lambda ds: ds.isel(epoch=[]), ValueError, "at least one number of '(loss|accuracy)'.* got 0 entries"),
        (lambda ds: ds.isel(epoch=-1), ValueError, "over epoch and splits"),
        (lambda ds: ds.sel(split=["test"]), ValueError, r"splits train and test, got .* of \['test'\]"),
        (lambda ds: ds.sel(split="test"), ValueError, "splits train and test"),
        (lambda ds: ds * 100, ValueError, r"accuracies must be from 0 to 1, got 0 to 100; divide"),
        (lambda ds: ds.assign(accuracy=ds.accuracy * np.nan), ValueError, "at least one number of 'accuracy'"),
    ],
)
def test_curves_that_no_rule_reads_are_refused(
    read: Callable[..., xr.Dataset], spoiled: Callable[..., object], error: type[Exception], message: str
) -> None:
    ds = _curves(weight_norm=np.ones(len(EPOCHS)))
    with pytest.raises(error, match=message):
        read(spoiled(ds))
