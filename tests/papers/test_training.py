"""Each claim's function about training, on curves and runs whose turns are known."""

import hashlib
import math

import numpy as np
import pytest
import torch
import xarray as xr

import grokinterp as gi
from grokinterp.papers.nanda2023 import training


EPOCHS = np.arange(0, 10_001, 100)


def bump(at: int, height: float, *, base: float) -> np.ndarray:
    """A curve with its one extreme at an epoch."""
    return base + (height - base) * np.exp(-(((EPOCHS - at) / 800.0) ** 2))


@pytest.fixture
def found() -> gi.claims.Evidence:
    """Evidence whose curves are made up: every extreme and every crossing is where the tests say."""
    evidence = gi.claims.evidence(gi.testing.planted_snapshot(7, (1, 3)))
    excluded = np.where(EPOCHS <= 5000, bump(1300, 0.3, base=4.0), bump(7000, 12.0, base=4.0))
    test = bump(1500, 25.0, base=1.0) * np.where(EPOCHS > 6000, 1e-3, 1.0) * np.where(EPOCHS > 8000, 1e-5, 1.0)
    splits = {"split": ["train", "test"]}
    curves = xr.Dataset(
        {
            "loss": (("epoch", "split"), np.stack([test / 100, test], axis=1)),
            "accuracy": (("epoch", "split"), np.stack([np.ones(len(EPOCHS)), EPOCHS / 10_000], axis=1)),
            "excluded_loss_2D": ("epoch", excluded),
            "restricted_loss": ("epoch", bump(4200, 1e-8, base=3.0)),
            "restricted_accuracy": ("epoch", EPOCHS / 10_000),
            "weight_norm": (("epoch", "parameter"), np.stack([bump(900, 30.0, base=9.0), bump(900, 5.0, base=1.0)], 1)),
            "gini": (("epoch", "matrix"), np.stack([EPOCHS / 20_000, EPOCHS / 10_000], axis=1)),
        },
        coords={"epoch": EPOCHS, "parameter": ["embed.W_E", "unembed.W_U"], "matrix": ["W_E", "W_L"], **splits},
    )
    accuracy = np.stack([np.ones(len(EPOCHS)), EPOCHS / 10_000], axis=1)
    metrics = xr.Dataset({"accuracy": (("epoch", "split"), accuracy)}, coords={"epoch": EPOCHS, **splits})
    vars(evidence).update(curves=curves, metrics=metrics)
    return evidence


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("weights_peak", 35.0),
        ("weights_peak_epoch", 900),
        ("excluded_minimum", 0.3),
        ("excluded_minimum_epoch", 1300),
        ("excluded_maximum", 12.0),
        ("excluded_maximum_epoch", 7000),
        ("test_loss_peak", 25.0),
        ("test_loss_peak_epoch", 1500),
        ("test_loss_below_chance", 3000),
        ("test_loss_below_millionth", 8100),
        ("test_accuracy_above_half", 5100),
        ("test_accuracy_above_99", 10_000),
        ("restricted_accuracy_above_99", 10_000),
        ("restricted_minimum", 1e-8),
        ("restricted_minimum_epoch", 4200),
    ],
)
def test_an_event_is_where_the_curve_has_it(found: gi.claims.Evidence, function: str, expected: float) -> None:
    assert getattr(training, function)(found).item() == pytest.approx(expected, rel=1e-6)


def test_chance_is_that_of_the_task(found: gi.claims.Evidence) -> None:
    curve = training.test_loss(found)
    first = training.test_loss_below_chance(found).item()
    assert curve.sel(epoch=first).item() < math.log(7) < curve.sel(epoch=first - 100).item()


def test_phases_end_where_their_rules_say(found: gi.claims.Evidence) -> None:
    """Excluded loss smallest at 1,300; half of the test pairs at 5,000; weights within 5 % of 10 for good at 2,700."""
    accuracy = found.curves.accuracy
    vars(found)["curves"] = found.curves.assign(accuracy=accuracy.where(accuracy.epoch < 9000, 1.0))
    ends = training.phase_end(found)
    total = training.squared_weights(found)
    assert ends.sel(phase="memorization").item() == 1300
    assert ends.sel(phase="circuit formation").item() == 5000
    assert ends.sel(phase="cleanup").item() == 5000
    assert abs(total.sel(epoch=5000).item() - 10) < 0.5


def test_an_event_that_has_not_come_is_not_available(found: gi.claims.Evidence) -> None:
    vars(found)["metrics"] = found.metrics.assign(accuracy=found.metrics.accuracy * 0.1)
    with pytest.raises(gi.claims.NotAvailableError, match="the event has not occurred by epoch 10000"):
        training.test_accuracy_above_half(found)


def test_the_total_of_the_weights_and_the_last_gini(found: gi.claims.Evidence) -> None:
    assert training.squared_weights(found).isel(epoch=-1).item() == pytest.approx(10.0)
    assert training.gini_of_end(found).values.tolist() == [0.5, 1.0]


def test_claims_about_training_need_a_run() -> None:
    alone = gi.claims.evidence(gi.testing.planted_snapshot(7, (1, 3)))
    for name in ("initial_loss", "squared_weights", "n_pairs", "phase_end"):
        with pytest.raises(gi.claims.NotAvailableError, match="this claim concerns training; pass a Run"):
            getattr(training, name)(alone)


def test_the_recipe_is_read_from_the_run(tiny_run: gi.Run) -> None:
    found = gi.claims.evidence(tiny_run)
    is_train = tiny_run.is_train
    index = [7 * i + j for i in range(7) for j in range(7) if is_train[i, j]]
    assert training.n_pairs(found).values.tolist() == [len(index), 49 - len(index)]
    assert training.train_index_sum(found).item() == sum(index)
    digest = hashlib.sha256(np.array(index, dtype="<i4").tobytes()).hexdigest()
    assert training.train_index_digest(found).item() == int(digest[:12], 16)
    assert training.initial_loss(found).sel(split="test").item() == tiny_run.metrics.loss.sel(epoch=0, split="test")


@pytest.mark.slow
def test_curves_are_those_of_the_measures(tiny_run: gi.Run) -> None:
    """Each curve the claims read is that of the measure which it is said to be, with its split and its form."""
    found = gi.claims.evidence(tiny_run)
    vars(found)["keys"] = (1, 3)
    snapshot = tiny_run.snapshot(20)
    at = {"epoch": 20}
    progress = gi.progress
    assert training.train_loss(found).sel(at).item() == progress.losses(snapshot).sel(split="train").item()
    assert training.test_loss(found).sel(at).item() == progress.losses(snapshot).sel(split="test").item()
    assert training.restricted_loss(found).sel(at).item() == progress.restricted_loss((1, 3))(snapshot).item()
    assert training.excluded_loss_2D(found).sel(at).item() == progress.excluded_loss()(snapshot).item()
    assert training.excluded_loss_3D(found).sel(at).item() == progress.excluded_loss(form="3D")(snapshot).item()
    by_key = progress.excluded_loss_by_frequency((1, 3))(snapshot)
    assert training.excluded_loss_by_key(found).sel(at).values.tolist() == by_key.values.tolist()
    weights = training.initial_squared_norms(found).sel(parameter="unembed.W_U").item()
    assert weights == pytest.approx(tiny_run.snapshot(0).params["unembed.W_U"].double().square().sum().item())


@pytest.mark.slow
def test_curves_end_where_the_evidence_does(tiny_run: gi.Run) -> None:
    found = gi.claims.evidence(tiny_run, epoch=20)
    vars(found)["keys"] = (1,)
    assert found.curves.epoch.values.max() == 20
    assert found.metrics.epoch.values.max() == 20
    torch.testing.assert_close(found.snapshot.W_E, tiny_run.snapshot(20).W_E)
