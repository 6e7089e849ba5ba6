"""Every intervention in three ways: in closed form, in our forward pass, and on the real TransformerLens model."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch.testing import assert_close

import grokinterp as gi
from grokinterp import interventions as iv
from grokinterp.models import lens


pytestmark = pytest.mark.slow


NUMBERS = (3, 4, 11, 19)


def largest_cluster(snap: gi.Snapshot) -> int:
    clusters = gi.neurons.clusters(snap, threshold=0.2)
    return max(clusters, key=lambda k: len(clusters[k]))


COMPONENTS: dict[str, Callable[[gi.Snapshot], iv.Component]] = {
    "head": lambda snap: iv.head(0, 2),
    "neurons": lambda snap: iv.neurons(NUMBERS),
    "cluster": lambda snap: iv.cluster(largest_cluster(snap), threshold=0.2),
    "directions": lambda snap: iv.directions(torch.randn(3, 20, generator=torch.Generator().manual_seed(0))),
    "readout": lambda snap: iv.readout(1, 2),
    "skip mlp": lambda snap: iv.skip("mlp"),
    "skip attention": lambda snap: iv.skip("attention"),
    "W_E": lambda snap: iv.frequency(2, at="W_E"),
    "neurons, sum": lambda snap: iv.frequency(2, at="neurons"),
    "neurons, all": lambda snap: iv.frequency(1, 2, at="neurons", terms="all"),
    "logits, sum": lambda snap: iv.frequency(2),
    "logits, all": lambda snap: iv.frequency(1, 2, terms="all"),
}


def another(snap: gi.Snapshot) -> gi.Snapshot:
    """A model of the same sizes with other weights."""
    generator = torch.Generator().manual_seed(5)
    params = {name: p + torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in snap.params.items()}
    return dataclasses.replace(snap, params=params)


OPERATIONS: dict[str, Callable[[gi.Snapshot, iv.Component], iv.Intervention]] = {
    "ablate, mean": lambda snap, component: iv.ablate(component),
    "ablate, zero": lambda snap, component: iv.ablate(component, fill="zero"),
    "keep only, mean": lambda snap, component: iv.keep_only(component),
    "keep only, zero": lambda snap, component: iv.keep_only(component, fill="zero"),
    "replace by a function": lambda snap, component: iv.replace(component, lambda x: x.flip(0).cos()),
    "patch": lambda snap, component: iv.patch(component, another(snap)),
}
ROTATIONS: dict[str, iv.Intervention] = {
    f"{name}, {' and '.join(at)}": make(at)
    for at in (("W_E",), ("W_U",), ("W_E", "W_U"))
    for name, make in {
        "relocate": lambda at: iv.relocate(1, 2, at=at),
        "phase shift": lambda at: iv.phase_shift(2, 0.7, at=at),
    }.items()
}
EVERY = [
    *(
        pytest.param(
            lambda snap, component=component, operation=operation: operation(snap, component(snap)), id=f"{what}: {how}"
        )
        for (what, component), (how, operation) in itertools.product(COMPONENTS.items(), OPERATIONS.items())
    ),
    *(pytest.param(lambda snap, made=made: made, id=name) for name, made in ROTATIONS.items()),
]


def assert_equal_in_every_way(intervention: iv.Intervention, snap: gi.Snapshot) -> None:
    edited = intervention(snap)
    forward = dataclasses.replace(edited)  # without what is known of its logits
    assert_close(edited.logits, forward.logits, atol=1e-9, rtol=1e-9)
    assert_close(edited.logits, iv.run_with_hooks(intervention, snap), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("config", "task"),
    [
        ("all biases", "addition"),
        ("no biases", "multiplication"),
        ("all biases", "division"),
        ("two layers, LN", "S_3"),
        ("two layers, LN", "addition"),
    ],
)
@pytest.mark.parametrize("make", EVERY)
def test_it_is_the_same_in_every_way(make, config, task, random_snapshot):
    snap = random_snapshot(config, task)
    intervention = make(snap)
    if task == "S_3" and intervention.name.startswith(("relocate", "phase_shift")):
        with pytest.raises(ValueError, match=r"with a cosine and a sine, got [12]; there is none\."):
            intervention(snap)
    else:
        assert_equal_in_every_way(intervention, snap)


@pytest.mark.parametrize("layer", [0, 1, -2, -1])
@pytest.mark.parametrize("make", [partial(iv.head, 1), partial(iv.skip, "mlp")], ids=["head", "skip"])
def test_it_is_the_same_in_every_layer(make, layer, random_snapshot):
    snap = random_snapshot("two layers, LN")
    intervention = iv.ablate(make(layer=layer))
    assert_equal_in_every_way(intervention, snap)
    again = iv.ablate(make(layer=layer % 2))
    assert_close(intervention(snap).logits, again(snap).logits, atol=0, rtol=0)
    assert not torch.allclose(intervention(snap).logits, iv.ablate(make(layer=(layer + 1) % 2))(snap).logits)


@pytest.mark.parametrize("make", EVERY)
def test_it_changes_the_logits(make, random_snapshot):
    """Else the equalities above would hold for what does nothing; the skip around the first attention is one value."""
    snap = random_snapshot("two layers, LN")
    assert (make(snap)(snap).logits - snap.logits).abs().max() > 1e-3


@pytest.mark.parametrize("second", ["W_U", "neurons", "logits", "head"])
@pytest.mark.parametrize("first", ["W_U", "neurons", "logits", "head"])
def test_one_is_made_on_top_of_another(first, second, random_snapshot):
    made = {
        "W_U": iv.phase_shift(2, 0.7, at=("W_U",)),
        "neurons": iv.ablate(iv.neurons(NUMBERS), fill="zero"),
        "logits": iv.replace(iv.frequency(2), torch.square),  # which a turn of the classes does not commute with
        "head": iv.ablate(iv.head(1)),
    }
    snap = made[first](random_snapshot("all biases"))
    assert_equal_in_every_way(made[second], snap)
    # The first is still there.
    assert first == second or not torch.allclose(made[second](snap).logits, made[second](random_snapshot()).logits)


@pytest.mark.parametrize("at", ["neurons", "logits"])
def test_weights_and_activations_are_edited_together(at, random_snapshot):
    weights, activations = iv.relocate(1, 2), iv.replace(iv.frequency(2, at=at), torch.square)
    both = iv.Intervention(name="both", edits=weights.edits | activations.edits)
    snap = random_snapshot("all biases")
    assert_equal_in_every_way(both, snap)
    assert_close(both(snap).logits, activations(weights(snap)).logits, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        *(
            pytest.param(lambda snap, component=component: iv.ablate(component(snap)), id=what)
            for what, component in COMPONENTS.items()
        ),
        *(pytest.param(lambda snap, made=made: made, id=name) for name, made in ROTATIONS.items()),
    ],
)
def test_it_is_made_on_a_transformer_lens_model_for_a_block(make, random_snapshot):
    snap = random_snapshot("all biases")
    intervention, model = make(snap), snap.model()
    with torch.no_grad():
        before = model(snap.tokens)
        with intervention.on(model) as edited:
            assert edited is model
            found = edited(snap.tokens)[:, -1, :7]
        after = model(snap.tokens)
    assert_close(found.unflatten(0, (7, 7)), intervention(snap).logits, atol=1e-9, rtol=1e-9)
    assert torch.equal(before, after)


def test_a_block_that_fails_leaves_no_hook_behind(random_snapshot):
    snap = random_snapshot("all biases")
    model = snap.model()
    with pytest.raises(ZeroDivisionError), iv.ablate(iv.head(0)).on(model):
        math.floor(1 / 0)
    with torch.no_grad():
        assert_close(model(snap.tokens)[:, -1, :7].unflatten(0, (7, 7)), snap.logits, atol=1e-9, rtol=1e-9)


def test_of_a_snapshot_a_block_gives_an_edited_one(planted):
    intervention = iv.ablate(iv.frequency(3))
    with intervention.on(planted) as edited:
        assert torch.equal(edited.logits, intervention(planted).logits)
        assert gi.fourier.key_frequencies(edited) == (1,)
    assert gi.fourier.key_frequencies(planted) == (1, 3)


@pytest.mark.parametrize("make", [lambda: iv.ablate(iv.head(0)), lambda: iv.relocate(1, 2)])
def test_a_batch_that_is_not_all_pairs_is_refused(make, random_snapshot):
    snap = random_snapshot("all biases")
    model = snap.model()
    message = r"edits the batch of all 49 pairs of addition mod 7 in order, got a batch of 5; run model\(snapshot.tok"
    with make().on(model), pytest.raises(ValueError, match=message):
        model(snap.tokens[:5])


def test_a_model_is_taken_in_place_of_a_snapshot(random_snapshot):
    snap = random_snapshot("all biases")
    model = snap.model()
    intervention = iv.ablate(iv.neurons(NUMBERS))
    assert_close(intervention(model).logits, intervention(snap).logits, atol=1e-9, rtol=1e-9)
    assert_close(iv.run_with_hooks(intervention, model), intervention(snap).logits, atol=1e-9, rtol=1e-9)
    assert iv.losses(intervention)(model).identical(iv.losses(intervention)(snap))
    assert_close(iv.patch(iv.head(1), model)(snap).logits, snap.logits, atol=1e-9, rtol=1e-9)


def test_a_hook_gives_back_the_kind_of_tensor_that_it_was_given(random_snapshot):
    """Weights in float32 have a model in float32, whatever the snapshot's logits are kept in."""
    double = random_snapshot("all biases")
    snap = dataclasses.replace(double, params={name: p.float() for name, p in double.params.items()})
    for intervention in (iv.ablate(iv.frequency(2)), iv.relocate(1, 2), iv.ablate(iv.readout(1))):
        theirs = iv.run_with_hooks(intervention, snap)
        assert_close(theirs, intervention(snap).logits, atol=1e-4, rtol=1e-4)
        assert_close(theirs, intervention(double).logits, atol=1e-3, rtol=1e-3)
        assert dataclasses.replace(intervention(snap)).neurons.dtype == torch.float32


HOOKS = ("hook_attn_out", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_pattern", "mlp.hook_pre")
HOOKS += ("hook_resid_pre", "hook_mlp_out", "hook_resid_post", "attn.hook_z")


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("hook", HOOKS)
def test_any_activation_can_be_edited(hook, layer, random_snapshot):
    snap = random_snapshot("two layers, LN", "division")
    site = f"blocks.{layer}.{hook}"
    edited = iv.Intervention(name="mine", edits={site: lambda snapshot, x: x.flip(0)})
    assert_equal_in_every_way(edited, snap)
    before, after = (some.activation(f"blocks.{layer % 2}.{hook}") for some in (snap, edited(snap)))
    assert torch.equal(after, before.flip(0))


def test_what_is_no_site_is_refused(random_snapshot):
    snap = random_snapshot("two layers, LN")
    for site, message in (
        ("blocks.0.hook_resid_mid", r"blocks\.0\.hook_resid_mid cannot be edited: .* edit hook_attn_out"),
        (
            "blocks.0.hook_mid",
            r"site must be one of embed\.W_E, unembed\.W_U, hook_embed, .* got 'blocks\.0\.hook_mid'",
        ),
        ("embed.W_pos", r"site must be one of embed\.W_E, .* got 'embed\.W_pos'"),
    ):
        for use in (lambda it: it(snap), lambda it: it.fwd_hooks(snap)):
            with pytest.raises(ValueError, match=message):
                use(iv.Intervention(name="mine", edits={site: lambda snapshot, x: x}))


def test_the_planted_model_under_hooks(planted):
    if not lens.has_hooked_transformer():
        pytest.skip("TransformerLens 4 has no model with the quadratic activation")
    for intervention in (iv.ablate(iv.frequency(3, at="neurons")), iv.relocate(3, 2), iv.keep_only(iv.readout(1))):
        assert_close(iv.run_with_hooks(intervention, planted), intervention(planted).logits, atol=1e-9, rtol=1e-9)


@pytest.fixture(scope="module", params=["onehot", "summed"])
def mlp(request) -> gi.Snapshot:
    config = gi.MLPConfig(inputs=request.param, n_layers=1, d_model=8, d_mlp=16)
    task = gi.tasks.operation("addition", 7)
    return gi.Snapshot(params=config.initial_params(task, seed=0), config=config, task=task)


@pytest.mark.parametrize("component", [iv.head(0), iv.skip("attention"), iv.skip("mlp")], ids=lambda c: c.name)
@pytest.mark.parametrize("way", ["snapshot", "run_with_hooks"])
def test_an_mlp_has_no_heads_and_no_stream_to_edit_and_says_so_in_a_line(mlp, component, way):
    intervention = iv.ablate(component)
    with pytest.raises(ValueError, match=r"site must be one of .* for a model of kind 'mlp', got 'blocks\.0") as error:
        _ = intervention(mlp).logits if way == "snapshot" else iv.run_with_hooks(intervention, mlp)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("at", ["neurons", "logits"])
def test_hooks_of_an_mlp_give_what_its_edited_snapshot_does(mlp, at):
    intervention = iv.ablate(iv.frequency(2, at=at))
    edited = intervention(mlp).logits
    assert (edited - mlp.logits).abs().max() > 1e-3
    assert_close(iv.run_with_hooks(intervention, mlp), edited, atol=1e-5, rtol=1e-5)
