"""What is done to a component: against weights and hooks edited by hand."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import grokinterp as gi
from grokinterp import interventions as iv


NUMBERS = (3, 4, 11, 19)


def logits_with(snap: gi.Snapshot, where: str, change) -> Tensor:
    """The logits of a forward pass in which a hand-written hook changes one activation at '='."""

    def hook(name: str, x: Tensor) -> Tensor:
        if name == where:
            x = x.clone()
            x[:, -1] = change(x[:, -1])
        return x

    a, b = gi.tasks.all_pairs(snap.task)
    return snap.config.logits(snap.params, a, b, hook)[:, :7].unflatten(0, snap.task.shape)


def test_without_a_head_is_with_its_output_weights_zero(random_snapshot):
    snap = random_snapshot("all biases")
    params = {name: p.clone() for name, p in snap.params.items()}
    params["blocks.0.attn.W_O"][1] = 0
    found = iv.ablate(iv.head(1), fill="zero")(snap).logits
    assert_close(found, dataclasses.replace(snap, params=params).logits, atol=1e-9, rtol=0)


def test_without_neurons_is_with_their_output_weights_zero_and_the_mean_in_the_bias(random_snapshot):
    snap = random_snapshot("all biases")
    params = {name: p.clone() for name, p in snap.params.items()}
    params["blocks.0.mlp.W_out"][list(NUMBERS)] = 0
    found = iv.ablate(iv.neurons(NUMBERS), fill="zero")(snap).logits
    assert_close(found, dataclasses.replace(snap, params=params).logits, atol=1e-9, rtol=0)
    means = snap.neurons[:, :, list(NUMBERS)].flatten(0, 1).mean(dim=0)
    params["blocks.0.mlp.b_out"] += means @ snap.params["blocks.0.mlp.W_out"][list(NUMBERS)]
    found = iv.ablate(iv.neurons(NUMBERS))(snap).logits
    assert_close(found, dataclasses.replace(snap, params=params).logits, atol=1e-9, rtol=0)


def test_only_neurons_is_without_the_others(random_snapshot):
    snap = random_snapshot("all biases")
    others = iv.neurons(set(range(20)) - set(NUMBERS))
    for fill in ("mean", "zero"):
        kept = iv.keep_only(iv.neurons(NUMBERS), fill=fill)(snap).logits
        assert_close(kept, iv.ablate(others, fill=fill)(snap).logits, atol=1e-9, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["addition", "multiplication", "division", "S_3"])
@pytest.mark.parametrize("keys", [(1,), (1, 2)])
def test_at_the_logits_they_are_the_progress_measures(task, keys, random_snapshot):
    snap = random_snapshot("all biases", task)
    without, only = iv.losses(iv.ablate(iv.frequency(*keys)))(snap), iv.losses(iv.keep_only(iv.frequency(*keys)))(snap)
    for split in ("train", "test", "all"):
        excluded = gi.progress.excluded_loss(keys, split=split)(snap).item()
        restricted = gi.progress.restricted_loss(keys, split=split)(snap).item()
        assert without.sel(split=split).item() == pytest.approx(excluded, abs=1e-12)
        assert only.sel(split=split).item() == pytest.approx(restricted, abs=1e-12)
    bare = iv.losses(iv.keep_only(iv.frequency(*keys), fill="zero"))(snap).sel(split="all").item()
    uncorrected = gi.progress.restricted_loss(keys, bias_correction=False)(snap).item()
    assert bare == pytest.approx(uncorrected, abs=1e-12)


def test_a_patch_is_a_hook_written_by_hand(random_snapshot):
    taker, giver = (random_snapshot("two layers, LN", seed=seed) for seed in (0, 1))
    where = "blocks.0.attn.hook_z"
    given = giver.activation(where).flatten(0, 1)

    def change(z: Tensor) -> Tensor:
        z[:, 1] = given[:, 1]
        return z

    found = iv.patch(iv.head(1, layer=0), giver)(taker).logits
    assert_close(found, logits_with(taker, where, change), atol=1e-9, rtol=0)


def test_a_patch_of_all_neurons_or_of_the_embedding_takes_over_all_of_them(random_snapshot):
    taker, giver = (random_snapshot("all biases", seed=seed) for seed in (0, 1))
    found = iv.patch(iv.neurons(range(20)), giver)(taker)
    assert_close(found.neurons, giver.neurons, atol=1e-9, rtol=0)
    every = iv.patch(iv.frequency(1, 2, 3, at="W_E"), giver)(taker).params["embed.W_E"]
    wanted = giver.W_E - giver.W_E.mean(dim=0) + taker.W_E.mean(dim=0)
    assert_close(every[:7], wanted, atol=1e-9, rtol=0)
    assert torch.equal(every[7:], taker.params["embed.W_E"][7:])


def test_which_neurons_are_patched_the_patched_model_decides(random_snapshot):
    taker, giver = (random_snapshot("all biases", seed=seed) for seed in (0, 1))
    clusters = gi.neurons.clusters(taker, threshold=0.2)
    k = next(k for k in clusters if clusters[k] != gi.neurons.clusters(giver, threshold=0.2).get(k))
    found = iv.patch(iv.cluster(k, threshold=0.2), giver)(taker).neurons
    wanted = taker.neurons.clone()
    wanted[:, :, clusters[k]] = giver.neurons[:, :, clusters[k]]
    assert_close(found, wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    "component",
    [iv.head(1), iv.neurons([2]), iv.frequency(2), iv.frequency(2, at="W_E"), iv.readout(1), iv.skip("mlp")],
    ids=lambda component: component.name,
)
def test_a_patch_from_itself_changes_nothing(component, random_snapshot):
    snap = random_snapshot("two layers, LN")
    assert torch.equal(iv.patch(component, snap)(snap).logits, snap.logits)


def test_a_replacement_takes_the_component_s_part_of_what_is_given(random_snapshot):
    snap = random_snapshot("two layers, LN")
    where = "blocks.1.attn.hook_z"

    def shuffled(z: Tensor) -> Tensor:
        return torch.cat([z[:, :1].flip(0), z[:, 1:]], dim=1)

    found = iv.replace(iv.head(0), lambda z: z.flip(0, 1))(snap).logits
    assert_close(found, logits_with(snap, where, shuffled), atol=1e-9, rtol=0)
    values = torch.randn(7, 7, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    replaced = iv.replace(iv.neurons(NUMBERS), values)(snap).neurons
    wanted = snap.neurons.clone()
    wanted[:, :, list(NUMBERS)] = values[:, :, list(NUMBERS)]
    assert_close(replaced, wanted, atol=1e-9, rtol=0)
    wanted[:, :, list(NUMBERS)] = 2.0
    assert_close(iv.replace(iv.neurons(NUMBERS), torch.tensor(2.0))(snap).neurons, wanted, atol=1e-9, rtol=0)
    mean = iv.replace(iv.neurons(NUMBERS), snap.neurons.mean(dim=(0, 1)))(snap).logits
    assert_close(mean, iv.ablate(iv.neurons(NUMBERS))(snap).logits, atol=1e-9, rtol=0)


def test_values_that_do_not_fit_are_refused(random_snapshot):
    snap, longer = random_snapshot(), random_snapshot("all biases", "S_3")
    message = r"values for neurons\(\[0\]\) must have shape \(7, 7, 20\), got \(7, 7, 3\)"
    with pytest.raises(ValueError, match=message):
        iv.replace(iv.neurons([0]), torch.zeros(7, 7, 3))(snap)
    with pytest.raises(ValueError, match=r"frequency\(1, at='W_E'\) must have shape \(7, 12\), got \(6, 12\)"):
        iv.patch(iv.frequency(1, at="W_E"), longer)(snap)
    with pytest.raises(TypeError, match="model must be a Snapshot"):
        iv.patch(iv.head(0), 3)


@pytest.mark.parametrize("operation", [iv.ablate, iv.keep_only])
def test_a_fill_that_is_neither_is_refused(operation, unchecked):
    with pytest.raises(ValueError, match="fill must be one of mean, zero, got 'random'"):
        operation(iv.head(0), fill="random")


def test_the_snapshot_that_is_intervened_on_stays_as_it_is(random_snapshot):
    snap = random_snapshot("all biases")
    before = {name: p.clone() for name, p in snap.params.items()}, snap.logits.clone(), snap.neurons.clone()
    for intervention in (
        iv.ablate(iv.frequency(2)),
        iv.ablate(iv.neurons(NUMBERS), fill="zero"),
        iv.relocate(1, 2),
        iv.patch(iv.frequency(1, at="W_E"), random_snapshot("all biases", seed=1)),
    ):
        edited = intervention(snap)
        assert (edited.task, edited.is_train, edited.config) == (snap.task, snap.is_train, snap.config)
        _ = edited.logits, edited.neurons
    assert all(torch.equal(snap.params[name], p) for name, p in before[0].items())
    assert torch.equal(snap.logits, before[1])
    assert torch.equal(snap.neurons, before[2])
    assert snap.hook is None


def test_no_gradients_are_kept(random_snapshot):
    snap = random_snapshot("all biases")
    trained = dataclasses.replace(snap, params={name: p.clone().requires_grad_() for name, p in snap.params.items()})
    for intervention in (iv.ablate(iv.readout(1)), iv.relocate(1, 2), iv.ablate(iv.frequency(1, at="W_E"))):
        assert not intervention(trained).logits.requires_grad
        assert_close(intervention(trained).logits, intervention(snap).logits, atol=0, rtol=0)


@pytest.mark.parametrize("at", [(), ("W_L",), "W"])
@pytest.mark.parametrize("make", [lambda at: iv.relocate(1, 2, at=at), lambda at: iv.phase_shift(1, 0.5, at=at)])
def test_a_weight_that_cannot_be_turned_is_refused(make, at, unchecked):
    with pytest.raises(ValueError, match=r"at must be one (or more )?of W_E, W_U, got "):
        make(at)


def test_a_frequency_that_cannot_be_moved_is_refused(random_params):
    with pytest.raises(ValueError, match="to must differ from k, got 3 for both"):
        iv.relocate(3, 3)
    task = gi.tasks.operation("addition", 8)
    config = gi.TransformerConfig(d_model=4, n_heads=1, d_head=4, d_mlp=4)
    snap = gi.Snapshot(params=random_params(config, task), config=config, task=task)
    message = r"k must be a frequency of addition mod 8 with a cosine and a sine, got 4; valid are 1\.\.3"
    for intervention in (iv.relocate(1, 4), iv.relocate(4, 1), iv.phase_shift(4, 1.0)):
        with pytest.raises(ValueError, match=message):
            intervention(snap)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_component_or_no_intervention_is_refused():
    with pytest.raises(
        TypeError, match=r"ablate requires a component such as head\(0\) or frequency\(14\), got 'head 0'"
    ):
        gi.interventions.ablate("head 0")
    with pytest.raises(TypeError, match=r"must be an intervention such as ablate\(head\(0\)\), got Component"):
        gi.interventions.losses(gi.interventions.head(0))
