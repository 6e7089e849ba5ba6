"""Interventions on planted models, whose answer under each of them is known."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

import grokinterp as gi
from grokinterp import interventions as iv
from grokinterp.models.planted import cosine_logits


def assert_logits(intervention: iv.Intervention, snap: gi.Snapshot, wanted: Tensor) -> None:
    assert_close(intervention(snap).logits, wanted, atol=1e-9, rtol=0)


def turned_wave(p: int, k: int, angle: float) -> Tensor:
    x = torch.arange(p, dtype=torch.float64)
    return (2 * math.pi * k / p * (x[:, None, None] + x[None, :, None] - x) + angle).cos()


COMPONENTS = {
    "W_E": iv.frequency(3, at="W_E"),
    "neurons": iv.frequency(3, at="neurons"),
    "neurons, all": iv.frequency(3, at="neurons", terms="all"),
    "logits": iv.frequency(3),
    "logits, all": iv.frequency(3, terms="all"),
    "readout": iv.readout(3),
}


@pytest.mark.parametrize("fill", ["mean", "zero"])
@pytest.mark.parametrize("component", COMPONENTS.values(), ids=COMPONENTS)
def test_without_one_frequency_the_other_is_left(component, fill, planted):
    assert_logits(iv.ablate(component, fill=fill), planted, cosine_logits(7, (1,)))
    assert_logits(iv.keep_only(component, fill=fill), planted, cosine_logits(7, (3,)))


@pytest.mark.parametrize("act_fn", ["quadratic", "relu"])
def test_without_a_cluster_its_frequency_is_gone(act_fn):
    snap = gi.testing.planted_snapshot(7, keys=(1, 3), act_fn=act_fn)
    alone = gi.testing.planted_snapshot(7, keys=(1,), act_fn=act_fn)
    # With x^2 half of what a neuron computes is not of its frequency, but of twice it.
    found = iv.ablate(iv.cluster(3, threshold=0.3), fill="zero")(snap).logits
    assert_close(found - found.mean(dim=(0, 1)), alone.logits - alone.logits.mean(dim=(0, 1)), atol=1e-9, rtol=0)
    members = range(len(snap.neurons[0, 0]) // 2, len(snap.neurons[0, 0]))
    assert torch.equal(found, iv.ablate(iv.neurons(members), fill="zero")(snap).logits)


def test_keeping_the_keys_changes_nothing(planted):
    for at in ("W_E", "neurons", "logits"):
        assert_logits(iv.keep_only(iv.frequency(1, 3, at=at)), planted, planted.logits)
    assert_logits(iv.keep_only(iv.readout(1, 3)), planted, planted.logits)


def test_without_the_keys_the_model_guesses(planted):
    for at in ("W_E", "neurons", "logits"):
        losses = iv.losses(iv.ablate(iv.frequency(1, 3, at=at)))(planted)
        assert losses.values.tolist() == pytest.approx([math.log(7)] * 3, abs=1e-9)


def test_neither_head_can_be_spared_and_idle_ones_can(planted):
    assert_logits(iv.ablate(iv.head(2, 3)), planted, planted.logits)
    # Without b the neurons' waves of b are their means, and so are the logits: zero.
    assert_logits(iv.ablate(iv.head(1)), planted, torch.zeros(7, 7, 7, dtype=torch.float64))
    assert_logits(iv.keep_only(iv.head(0, 1), fill="zero"), planted, planted.logits)


def test_the_planted_model_needs_no_skip_round_the_mlp(planted):
    assert_logits(iv.ablate(iv.skip("mlp"), fill="zero"), planted, planted.logits)
    # Nor does anything else go past it.
    assert_logits(iv.keep_only(iv.skip("mlp"), fill="zero"), planted, torch.zeros(7, 7, 7, dtype=torch.float64))


def test_a_frequency_is_patched_into_a_model_without_it():
    giver, taker = (gi.testing.planted_snapshot(7, keys=(k,), amplitude=float(k)) for k in (3, 1))
    assert_logits(iv.patch(iv.frequency(3), giver), taker, cosine_logits(7, (1,)) + 3 * cosine_logits(7, (3,)))
    # And a frequency that the giver does not have is taken out.
    assert_logits(iv.patch(iv.frequency(1), giver), taker, torch.zeros(7, 7, 7, dtype=torch.float64))


@pytest.mark.slow
@given(st.sampled_from([7, 11, 13]), st.data())
def test_a_frequency_that_is_moved_is_that_of_another_planted_model(p, data):
    k, to, other = data.draw(st.permutations(range(1, (p + 1) // 2)))[:3]
    snap = gi.testing.planted_snapshot(p, keys=(k, other))
    assert_logits(iv.relocate(k, to), snap, cosine_logits(p, (to, other)))


def test_moving_one_end_of_a_frequency_ruins_it(planted):
    whole = gi.progress.losses(planted).sel(split="all").item()
    for at in (("W_E",), ("W_U",)):
        moved = iv.losses(iv.relocate(3, 2, at=at))(planted).sel(split="all").item()
        without = iv.losses(iv.ablate(iv.frequency(3)))(planted).sel(split="all").item()
        assert moved >= without > whole + 0.1
    assert iv.losses(iv.relocate(3, 2))(planted).sel(split="all").item() == pytest.approx(whole, abs=1e-9)


def test_two_keys_that_change_places_are_the_same_model(planted):
    assert_logits(iv.relocate(1, 3), planted, planted.logits)
    params = iv.relocate(1, 3)(planted).params
    assert not torch.allclose(params["embed.W_E"], planted.params["embed.W_E"])
    back = iv.relocate(3, 1)(iv.relocate(1, 3)(planted)).params
    for name, weight in planted.params.items():
        assert_close(back[name], weight, atol=1e-12, rtol=0)


@pytest.mark.slow
@given(st.floats(-7, 7), st.sampled_from([1, 3]))
def test_a_turn_of_the_embedding_turns_the_wave_twice(angle, k):
    snap = gi.testing.planted_snapshot(7, keys=(1, 3))
    other = cosine_logits(7, (4 - k,))
    assert_logits(iv.phase_shift(k, angle, at=("W_E",)), snap, other + turned_wave(7, k, 2 * angle))
    assert_logits(iv.phase_shift(k, angle, at=("W_U",)), snap, other + turned_wave(7, k, -2 * angle))
    assert_logits(iv.phase_shift(k, angle), snap, snap.logits)


def test_a_turn_of_both_operands_does_not_turn_their_difference(planted):
    params = {name: p.clone() for name, p in planted.params.items()}
    # Head 1 gives cos(w b) and -sin(w b), those of -b.
    params["blocks.0.attn.W_O"][1, [1, 3]] *= -1
    task = gi.tasks.operation("subtraction", 7)
    snap = gi.Snapshot(params=params, config=planted.config, task=task)
    assert (snap.logits.argmax(dim=-1) == task.table).all()
    for at in (("W_E",), ("W_U",), ("W_E", "W_U")):
        assert_logits(iv.phase_shift(3, 1.1, at=at), snap, snap.logits)
    assert_logits(iv.relocate(3, 2), snap, cosine_logits(7, (1, 2))[:, -torch.arange(7) % 7])


def test_a_hook_without_a_closed_form_is_as_good(planted):
    """The measures of the edited snapshot that need more than its logits."""
    edited = iv.ablate(iv.frequency(3, at="neurons"))(planted)
    sums = gi.neurons.spectrum(dataclasses.replace(edited))
    assert sums.sizes["neuron"] == 32
    product = edited.neurons.double() - planted.neurons
    assert_close(product[..., :16], torch.zeros_like(product[..., :16]), atol=1e-9, rtol=0)
    assert product[..., 16:].abs().amax(dim=(0, 1)).min() > 0.1
