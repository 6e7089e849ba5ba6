"""Sentences for runs that grokked, did not, may yet, and never had to."""

import numpy as np
import pytest
import xarray as xr

from grokinterp import phases
from grokinterp.report import findings


TRAIN, HALF, TEST = (
    f"{split} accuracy ≥ {share} for 5 entries in a row"
    for split, share in (("train", 0.99), ("test", 0.5), ("test", 0.99))
)


def metrics(train: float, test: float, *, last: int = 1000) -> xr.Dataset:
    dims = ("epoch", "split")
    coords = {"epoch": [0, last], "split": ["train", "test"]}
    accuracy = xr.DataArray([[0.1, 0.1], [train, test]], dims=dims, coords=coords)
    loss = xr.DataArray([[4.7, 4.8], [1.5e-7, 3.25]], dims=dims, coords=coords)
    return xr.Dataset({"loss": loss, "accuracy": accuracy})


def events(memorized: float = np.nan, generalizing: float = np.nan, grokked: float = np.nan) -> xr.Dataset:
    names = ["memorized", "generalizing", "grokked"]
    epochs = xr.DataArray([memorized, generalizing, grokked], dims="event", coords={"event": names})
    return xr.Dataset({"event_epoch": epochs, "rule": ("event", [phases.rules()[name] for name in names])})


def outcome(found: xr.Dataset, *, planned: int = 1000) -> str:
    return " ".join(findings.outcome(metrics(1.0, 0.25), found, planned=planned))


def test_final_losses_and_accuracies_are_told():
    assert outcome(events()).startswith(
        "At epoch 1,000 the train loss is 1.5e-7 nats and the test loss 3.25 nats; the accuracies are 1 and 0.25."
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (events(), f"had not memorized its training pairs by epoch 1,000 ({TRAIN})."),
        (events(100), f"epoch 100 ({TRAIN}) and has not grokked by epoch 1,000 ({TEST})."),
        (events(100, 600), f"generalizes since epoch 600 ({HALF}), and has not grokked by epoch 1,000 ({TEST})."),
        (events(100, 600, 900), f"at epoch 100 ({TRAIN}) and grokked at epoch 900 ({TEST}), 800 epochs later."),
        (events(300, 250, 300), f"at epoch 300 ({TEST}): there is no grokking delay."),
    ],
)
def test_grokking_is_told_as_it_went(found, said):
    assert outcome(found).endswith(said)


def test_an_unfinished_run_is_told_first():
    said = outcome(events(), planned=40_000)
    assert said.startswith("The run is unfinished: 1,000 of 40,000 epochs are logged")
    assert "unfinished" not in outcome(events())


def test_phases_are_told_with_what_they_are():
    names = {"phase": ["memorization", "circuit formation", "cleanup"]}
    start = xr.DataArray([0.0, 1400.0, np.nan], dims="phase", coords=names)
    end = xr.DataArray([1400.0, np.nan, np.nan], dims="phase", coords=names)
    rules = ("phase", ["minimum of the excluded loss", HALF, "settled"])
    said = findings.phases(xr.Dataset({"phase_start": start, "phase_end": end, "phase_rule": rules}))
    assert said[0].startswith("Memorization lasts from epoch 0 to 1,400 (minimum of the excluded loss): the model fits")
    assert said[1].startswith("Circuit formation began at epoch 1,400 and has not ended: ")
    assert said[2] == "Cleanup has not been reached."


def test_rules_that_differ_are_told_by_how():
    said = findings.keys({"logits": [3, 5], "neurons": [1, 2, 3, 4, 5, 6, 7, 8, 9], "W_E": [3, 7], "W_L": [3, 5]})
    assert said == [
        "The key frequencies are 3 and 5.",
        "The rule neurons adds 7 others.",
        "The rule W_E lacks 5 and adds 7.",
    ]
    assert findings.keys({"logits": [3]})[0] == "The key frequency is 3."


def test_a_model_without_keys_is_told():
    assert "has no key frequencies" in findings.keys({"logits": [], "W_E": [1]})[0]


def test_the_keys_share_of_the_logits_is_told():
    fve = xr.DataArray([[0.0, 0.0], [0.5, 0.25]], dims=("epoch", "frequency"), coords={"frequency": [3, 5]})
    assert findings.logits(fve, [3, 5])[0].startswith("The key frequencies explain 0.75 of the logit variance")
    assert "explains 0.5 of the logit variance" in findings.logits(fve, [])[0]


@pytest.mark.parametrize(("restricted", "verdict"), [(1e-8, "less than"), (3.0, "more than")])
def test_restricted_and_excluded_losses_are_told(restricted, verdict):
    loss = xr.DataArray([[0.1, 2.0, 1.0]], dims=("epoch", "split"), coords={"split": ["train", "test", "all"]})
    ds = xr.Dataset({"loss": loss, "restricted_loss": ("epoch", [restricted]), "excluded_loss": ("epoch", [5.5])})
    said = " ".join(findings.measures(ds))
    assert f"nats, {verdict} 1 nats for the full model" in said
    assert said.endswith("Without the key frequencies, the train loss is 5.5 nats instead of 0.1.")


def test_neurons_without_a_clear_frequency_are_told():
    fit = {"neuron_frequency": (("epoch", "neuron"), [[3, 5]]), "neuron_fve": (("epoch", "neuron"), [[0.1, 0.2]])}
    assert findings.neurons(xr.Dataset(fit)) == ["One frequency explains at least 0.85 of 0 of the 2 neurons."]


def test_many_frequencies_of_neurons_are_told_in_part():
    n = 20
    fit = {"neuron_frequency": ("neuron", np.arange(1, n + 1)), "neuron_fve": ("neuron", np.ones(n))}
    assert findings.neurons(xr.Dataset(fit))[0].endswith("and 12 by others.")
