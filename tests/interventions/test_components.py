"""Which part of an activation a component is: against plain loops and least squares on random models."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

import grokinterp as gi
from grokinterp import interventions as iv
from grokinterp.basis import task_basis
from grokinterp.interventions import sites


def fitted(functions: Tensor, x: Tensor) -> Tensor:
    """The least-squares fit of x, along its first axis, by some functions."""
    return functions @ torch.linalg.lstsq(functions, x.flatten(1)).solution.reshape(-1, *x.shape[1:])


def over_pairs(snap: gi.Snapshot, functions: list[Tensor], x: Tensor) -> Tensor:
    """The fit of x [a, b, ...] by functions [a, b]."""
    matrix = torch.stack([f.flatten() for f in functions], dim=1)
    return fitted(matrix, x.flatten(0, 1)).reshape(x.shape)


def in_turn(component: iv.Component, snap: gi.Snapshot) -> tuple[Tensor, Tensor]:
    x = sites.read(snap, component.site)
    return x, component.project(snap, x)


@pytest.mark.parametrize("task", ["addition", "subtraction", "multiplication", "division", "S_3"])
@pytest.mark.parametrize("at", ["logits", "neurons"])
def test_a_frequency_of_the_product_is_the_fit_by_functions_of_the_answer(task, at, random_snapshot):
    snap = random_snapshot("all biases", task)
    x, part = in_turn(iv.frequency(1, 2, at=at), snap)
    waves = [row[snap.task.table] for row in snap.basis.rows([1, 2])]
    assert_close(part, over_pairs(snap, waves, x), atol=1e-9, rtol=0)
    background = sites.mean(snap, iv.frequency(1, 2, at=at).site, x)
    assert_close(background, x.mean(dim=(0, 1)).expand_as(x), atol=1e-9, rtol=0)


@pytest.mark.parametrize("task", ["addition", "multiplication", "division", "S_3"])
@pytest.mark.parametrize("at", ["logits", "neurons"])
def test_all_terms_of_a_frequency_are_those_of_either_operand_and_of_both(task, at, random_snapshot):
    snap = random_snapshot("all biases", task)
    component = iv.frequency(1, 2, at=at, terms="all")
    x, part = in_turn(component, snap)
    a, b = (task_basis(snap.task, tokens) for tokens in (snap.task.a_tokens, snap.task.b_tokens))
    functions = []
    for k in (1, 2):
        for i, j in itertools.product([0, k], [0, k]):
            if (i, j) != (0, 0):
                functions += [f[:, None] * g for f in a.matrix[a.block == i] for g in b.matrix[b.block == j]]
    assert_close(part, over_pairs(snap, functions, x), atol=1e-9, rtol=0)
    assert_close(sites.mean(snap, component.site, x), x.mean(dim=(0, 1)).expand_as(x), atol=1e-9, rtol=0)


def test_all_terms_of_one_frequency_are_eight(random_snapshot):
    x = torch.randn(7, 7, 49, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    part = iv.frequency(2, terms="all").project(random_snapshot(), x)
    assert torch.linalg.matrix_rank(part.flatten(0, 1)) == 8
    assert torch.linalg.matrix_rank(iv.frequency(2).project(random_snapshot(), x).flatten(0, 1)) == 2


@pytest.mark.parametrize("task", ["addition", "multiplication", "S_3"])
def test_a_frequency_of_the_embedding_is_the_fit_by_waves_of_the_token(task, random_snapshot):
    snap = random_snapshot("all biases", task)
    component = iv.frequency(2, at="W_E")
    x, part = in_turn(component, snap)
    assert x.shape == (snap.task.n_tokens, 12)
    assert_close(part, fitted(snap.basis.rows([2]).T, x), atol=1e-9, rtol=0)
    assert_close(sites.mean(snap, component.site, x), fitted(snap.basis.rows([0]).T, x), atol=1e-9, rtol=0)


def test_heads_and_neurons_are_entries_of_their_axis(random_snapshot):
    snap = random_snapshot("two layers, LN")
    z, part = in_turn(iv.head(2, 0, layer=0), snap)
    assert torch.equal(z, snap.activation("blocks.0.attn.hook_z"))
    assert torch.equal(part[:, :, [0, 2]], z[:, :, [0, 2]])
    assert not part[:, :, 1].any()
    x, part = in_turn(iv.neurons([5, 3, 5]), snap)
    assert torch.equal(x, snap.activation("blocks.1.mlp.hook_post"))
    wanted = torch.zeros_like(x)
    wanted[:, :, [3, 5]] = x[:, :, [3, 5]]
    assert torch.equal(part, wanted)


def test_a_cluster_is_that_of_each_model_or_of_one(random_snapshot):
    one, two = (random_snapshot("all biases", seed=seed) for seed in (0, 1))
    found = [gi.neurons.clusters(snap, threshold=0.2) for snap in (one, two)]
    k = next(k for k in found[0] if found[0][k] != found[1].get(k, []))
    for snap, clusters in zip((one, two), found, strict=True):
        part = in_turn(iv.cluster(k, threshold=0.2), snap)[1]
        assert part.abs().amax(dim=(0, 1)).nonzero().flatten().tolist() == clusters.get(k, [])
        part = in_turn(iv.cluster(k, threshold=0.2, of=one), snap)[1]
        assert set(part.abs().amax(dim=(0, 1)).nonzero().flatten().tolist()) <= set(found[0][k])
    assert iv.cluster(k, threshold=0.2, of=one).name != iv.cluster(k, threshold=0.2, of=two).name


def test_a_cluster_without_neurons_changes_nothing(random_snapshot):
    snap = random_snapshot()
    assert 1 not in gi.neurons.clusters(snap, threshold=0.999)
    ablated = iv.ablate(iv.cluster(1, threshold=0.999))
    assert_close(ablated(snap).logits, snap.logits, atol=0, rtol=0)
    assert iv.control(ablated, split="all")(snap).sel(statistic=["p", "draws"]).values.tolist() == [1.0, 1.0]


def test_directions_are_their_span_however_they_are_given(random_snapshot):
    snap, generator = random_snapshot(), torch.Generator().manual_seed(0)
    matrix = torch.randn(3, 20, generator=generator, dtype=torch.float64)
    x, part = in_turn(iv.directions(matrix), snap)
    assert_close(part.flatten(0, 1).T, fitted(matrix.T, x.flatten(0, 1).T), atol=1e-9, rtol=0)
    mixed = torch.randn(5, 3, generator=generator, dtype=torch.float64) @ matrix
    again = iv.directions(torch.cat([mixed, torch.zeros(1, 20, dtype=torch.float64)]))
    assert_close(again.project(snap, x), part, atol=1e-9, rtol=0)


def test_a_readout_is_what_the_logits_of_a_frequency_are_read_from(random_snapshot):
    snap = random_snapshot("no biases")
    x, part = in_turn(iv.readout(2, 3), snap)
    u_v = [snap.W_L @ wave for wave in snap.basis.rows([2, 3])]
    assert_close(part.flatten(0, 1).T, fitted(torch.stack(u_v, dim=1), x.flatten(0, 1).T), atol=1e-9, rtol=0)
    # What is left writes nothing of these frequencies of the answer.
    written = (x - part) @ snap.W_L
    assert_close(written @ snap.basis.rows([2, 3]).T, torch.zeros(7, 7, 4, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("block", "layer"), [("mlp", 0), ("mlp", 1), ("attention", 1)])
def test_a_skip_is_the_stream_past_a_block(block, layer, random_snapshot):
    snap = random_snapshot("two layers, LN")
    before, written, after = {
        "mlp": ("hook_resid_mid", "hook_mlp_out", "hook_resid_post"),
        "attention": ("hook_resid_pre", "hook_attn_out", "hook_resid_mid"),
    }[block]
    past, own = (snap.activation(f"blocks.{layer}.{hook}") for hook in (before, written))

    def found(intervention: iv.Intervention) -> Tensor:
        return intervention(snap).activation(f"blocks.{layer}.{after}")

    skip = iv.skip(block, layer=layer)
    assert_close(found(iv.ablate(skip, fill="zero")), own, atol=1e-9, rtol=0)
    assert_close(found(iv.ablate(skip)), own + past.mean(dim=(0, 1)), atol=1e-9, rtol=0)
    assert_close(found(iv.keep_only(skip, fill="zero")), past, atol=1e-9, rtol=0)
    assert_close(found(iv.keep_only(skip)), past + own.mean(dim=(0, 1)), atol=1e-9, rtol=0)
    assert_close(found(iv.replace(skip, torch.ones(12))), own + 1, atol=1e-9, rtol=0)
    assert_close(found(iv.replace(skip, lambda x: 3 * x)), own + 3 * past, atol=1e-9, rtol=0)
    other = random_snapshot("two layers, LN", seed=1)
    given_past = other.activation(f"blocks.{layer}.{before}")
    assert_close(found(iv.patch(skip, other)), own + given_past, atol=1e-9, rtol=0)


@pytest.mark.slow
@given(st.sampled_from(["logits", "neurons", "W_E"]), st.sets(st.integers(1, 3), min_size=1))
def test_a_part_is_a_projection_and_parts_of_all_frequencies_are_the_whole_of_them(at, keys):
    snap = gi.testing.planted_snapshot(7, keys=(1, 3), act_fn="relu")
    component = iv.frequency(*keys, at=at)
    x, part = in_turn(component, snap)
    assert_close(component.project(snap, part), part, atol=1e-9, rtol=0)
    assert_close(sum(iv.frequency(k, at=at).project(snap, x) for k in keys), part, atol=1e-9, rtol=0)
    assert_close(sites.mean(snap, component.site, part), torch.zeros_like(x), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: iv.frequency(), r"keys must be one or more integers of at least 1, got \[\]"),
        (lambda: iv.frequency(0, 2), r"keys must be one or more integers of at least 1, got \[0, 2\]"),
        (lambda: iv.frequency(1, at="W_L"), r"at must be one of W_E, neurons, logits, got 'W_L'"),
        (lambda: iv.frequency(1, terms="product"), r"terms must be one of sum, all, got 'product'"),
        (
            lambda: iv.frequency(1, at="W_E", terms="all"),
            r"terms='all' applies to functions of a and b, .* got at='W_E'",
        ),
        (lambda: iv.head(), r"heads must be one or more integers of at least 0, got \[\]"),
        (lambda: iv.neurons([-1]), r"numbers must be one or more integers of at least 0, got \[-1\]"),
        (lambda: iv.readout(0), r"keys must be one or more integers of at least 1, got \[0\]"),
        (lambda: iv.skip("embedding"), r"block must be one of mlp, attention, got 'embedding'"),
    ],
)
def test_what_is_no_component_is_refused(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (iv.frequency(4), r"keys must be blocks of the task's basis, 1\.\.3, got \[4\]"),
        (iv.frequency(4, at="W_E"), r"keys must be blocks of the task's basis, 1\.\.3, got \[4\]"),
        (iv.frequency(4, terms="all"), r"keys must be blocks of the task's basis, 1\.\.3, got \[4\]"),
        (iv.cluster(4), r"keys must be blocks of the task's basis, 1\.\.3, got \[4\]"),
        (iv.readout(4), r"keys must be blocks of the task's basis, 1\.\.3, got \[4\]"),
        (iv.head(3), r"heads of this model must be integers from 0 to 2, got \[3\]"),
        (iv.head(0, layer=1), r"layer must be in -1\.\.0 for a model with 1 layers, got 1"),
        (iv.neurons([20]), r"neurons of this model must be integers from 0 to 19, got \[20\]"),
        (
            iv.directions(torch.zeros(2, 19)),
            r"each direction must have 20 entries, one per neuron, got shape \(2, 19\)",
        ),
    ],
)
def test_a_component_that_a_model_does_not_have_is_refused(component, message, random_snapshot):
    with pytest.raises(ValueError, match=message):
        _ = iv.ablate(component)(random_snapshot()).logits


def test_a_part_of_a_table_has_no_frequencies(random_params):
    whole = gi.tasks.operation("addition", 7)
    part = gi.Task(
        name="part",
        table=whole.table[:, :4],
        n_outputs=7,
        n_tokens=7,
        a_tokens=whole.a_tokens,
        b_tokens=whole.b_tokens[:4],
        group=whole.group,
        elements=whole.elements,
    )
    config = gi.TransformerConfig(d_model=4, n_heads=1, d_head=4, d_mlp=4)
    snap = gi.Snapshot(params=random_params(config, part), config=config, task=part)
    with pytest.raises(ValueError, match="a basis of part needs every group element among the tokens"):
        iv.ablate(iv.frequency(1))(snap)
