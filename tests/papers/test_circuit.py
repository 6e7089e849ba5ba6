"""Each claim's function about a trained model, on planted models whose answer is known."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import grokinterp as gi
from grokinterp.models import lens
from grokinterp.models.planted import cosine_logits
from grokinterp.papers.nanda2023 import ablations, circuit


P, KEYS = 31, (4, 15)
needs_hooked_transformer = pytest.mark.skipif(
    not lens.has_hooked_transformer(), reason="TransformerLens 4 has no model with x^2 as activation"
)


def loss_of(logits: Tensor) -> float:
    p = len(logits)
    answers = (torch.arange(p)[:, None] + torch.arange(p)) % p
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten()).item()


@pytest.fixture(scope="module")
def planted() -> gi.claims.Evidence:
    """Logits 5 (cos w_4(a+b-c) + cos w_15(a+b-c)), to rounding; the second is the highest frequency there is."""
    return gi.claims.evidence(gi.testing.planted_snapshot(P, KEYS, amplitude=5.0))


@pytest.fixture(scope="module")
def untrained(random_params) -> gi.claims.Evidence:
    """A model of all kinds of logits, a mean of each class among them; 2 and 5 are its keys by decree."""
    config = gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=24, biases="mlp", equals_in_output=True)
    task = gi.TaskConfig(p=11).build()
    params = random_params(config, task, dtype=torch.float64)
    found = gi.claims.evidence(gi.Snapshot(params=params, config=config, task=task))
    vars(found)["keys"] = (2, 5)
    return found


def test_keys_are_the_planted_ones(planted: gi.claims.Evidence) -> None:
    found = circuit.is_key(planted)
    assert found.frequency.values[found.values == 1].tolist() == list(KEYS)
    assert circuit.n_keys(planted).item() == 2


def test_the_embedding_has_p_half_in_cos_and_in_sin(planted: gi.claims.Evidence) -> None:
    """Its columns are cos and sin with amplitude 1, whose squared norms are p/2."""
    power = circuit.embedding_power(planted)
    assert power.sel(frequency=list(KEYS)).values == pytest.approx([P / 2, P / 2])
    assert power.sel(frequency=3).item() == pytest.approx(0, abs=1e-9)


def test_the_next_frequency_of_the_embedding_is_the_largest_that_is_no_key() -> None:
    snapshot = gi.testing.planted_snapshot(P, KEYS)
    W_E = snapshot.params["embed.W_E"].clone()
    W_E[:P, -1] += 0.1 * snapshot.basis.rows([7])[0]
    W_E[:P, -2] += 0.2 * snapshot.basis.rows([9])[1]
    other = gi.Snapshot(params={**snapshot.params, "embed.W_E": W_E}, config=snapshot.config, task=snapshot.task)
    found = gi.claims.evidence(other)
    assert circuit.next_frequency(found).item() == 9
    assert circuit.next_power(found).item() == pytest.approx(0.2**2 / 2)


def test_the_readout_is_made_of_two_directions_for_each_key(planted: gi.claims.Evidence) -> None:
    assert circuit.readout_rank(planted).item() == 4
    assert circuit.readout_outside_keys(planted).item() == pytest.approx(0, abs=1e-9)
    assert circuit.readout_fve(planted).values.flatten() == pytest.approx([1.0] * 4)


@pytest.mark.parametrize(("values", "rank"), [((1.0, 0.5, 0.005), 2), ((3.0, 0.033, 0.027), 2), ((1.0, 1.0, 1.0), 3)])
def test_a_direction_of_the_readout_counts_from_a_hundredth_of_the_largest(
    values: tuple[float, ...], rank: int
) -> None:
    snapshot = gi.testing.planted_snapshot(P, KEYS)
    W_out = torch.zeros_like(snapshot.params["blocks.0.mlp.W_out"])
    W_U = torch.zeros_like(snapshot.params["unembed.W_U"])
    W_out[:3, :3], W_U[:3, :3] = torch.tensor(values).diag(), torch.eye(3)
    params = {**snapshot.params, "blocks.0.mlp.W_out": W_out, "unembed.W_U": W_U}
    other = gi.Snapshot(params=params, config=snapshot.config, task=snapshot.task)
    assert circuit.readout_rank(gi.claims.evidence(other)).item() == rank


def test_the_logits_are_their_waves(planted: gi.claims.Evidence) -> None:
    whole = loss_of(cosine_logits(P, KEYS, amplitude=5.0))
    assert circuit.loss(planted).sel(split="all").item() == pytest.approx(whole)
    assert circuit.trig_loss(planted).item() == pytest.approx(whole)
    assert circuit.logit_fve(planted).item() == pytest.approx(1.0)


def test_a_model_alone_has_a_loss_over_all_pairs(untrained: gi.claims.Evidence) -> None:
    found = circuit.loss(untrained)
    assert found.split.values.tolist() == ["all"]
    assert found.item() == pytest.approx(loss_of(untrained.snapshot.logits))


def test_neurons_are_counted_by_frequency() -> None:
    found = gi.claims.evidence(gi.testing.planted_snapshot(59, (3, 29), act_fn="relu"))
    assert circuit.neuron_counts(found).values.tolist() == [64, 64]
    assert (circuit.clear_neurons(found).item(), circuit.unclear_neurons(found).item()) == (128, 0)
    assert circuit.clear_share(found).item() == 1.0
    # Of a quadratic neuron its frequency explains four fifths, which is below the cut.
    quadratic = gi.claims.evidence(gi.testing.planted_snapshot(59, (3, 29)))
    assert (circuit.clear_neurons(quadratic).item(), circuit.unclear_neurons(quadratic).item()) == (0, 32)


def test_attention_is_that_of_waves_which_were_put_in(planted: gi.claims.Evidence) -> None:
    snapshot = gi.testing.planted_snapshot(P, KEYS)
    angle = 2 * math.pi * torch.arange(P, dtype=torch.float64) / P
    waves = [0.2 * (k * angle).cos() for k in (3, 15)]
    to_a = torch.stack([0.5 + wave[:, None] - wave[None, :] for wave in waves], dim=-1)
    vars(snapshot)["attention"] = torch.stack([to_a, 0.9 - to_a, torch.full_like(to_a, 0.1)], dim=-1)
    found = gi.claims.evidence(snapshot)
    assert circuit.attention_frequency(found).values.tolist() == [3, 15]
    assert circuit.attention_fve(found).values == pytest.approx([1, 1])
    assert circuit.attention_to_equals(found).values == pytest.approx([0.1, 0.1])


def test_scores_are_of_one_frequency_where_keys_read_one(untrained: gi.claims.Evidence) -> None:
    snapshot = untrained.snapshot
    W_E = snapshot.params["embed.W_E"].clone()
    W_E[:11] = 0
    W_E[:11, 0] = snapshot.basis.rows([4])[0]
    W_E[:11, 1] = 0.5 * snapshot.basis.rows([2])[1]
    W_K = torch.zeros_like(snapshot.params["blocks.0.attn.W_K"])
    W_K[0, 0], W_K[1, :2] = 1.0, 1.0
    params = {**snapshot.params, "embed.W_E": W_E, "blocks.0.attn.W_K": W_K}
    found = gi.claims.evidence(gi.Snapshot(params=params, config=snapshot.config, task=snapshot.task))
    assert circuit.score_fve(found).values == pytest.approx([1.0, 0.8])


@pytest.mark.slow
@needs_hooked_transformer
def test_parts_of_a_planted_model_do_what_they_were_planted_for(planted: gi.claims.Evidence) -> None:
    whole = loss_of(cosine_logits(P, KEYS, amplitude=5.0))
    # Its MLP writes all the logits, along cos and sin of the keys.
    for untouched in (
        ablations.skip_mlp_zeroed,
        ablations.skip_mlp_mean,
        ablations.skip_attention_zeroed,
        ablations.readout_alone,
        ablations.neurons_of_sum,
        ablations.key_components,
    ):
        assert untouched(planted).item() == pytest.approx(whole, rel=1e-6), untouched.__name__
    # Without its heads or its directions it knows nothing.
    assert ablations.without_readout(planted).item() == pytest.approx(math.log(P))
    assert ablations.heads_zeroed(planted).item() == pytest.approx(math.log(P))


@pytest.mark.slow
@needs_hooked_transformer
def test_without_one_planted_frequency_the_other_is_left(planted: gi.claims.Evidence) -> None:
    found = ablations.without_frequency(planted)
    for k, other in (KEYS, KEYS[::-1]):
        expected = loss_of(cosine_logits(P, (other,), amplitude=5.0))
        assert found.sel(frequency=k).item() == pytest.approx(expected)


def test_neurons_above_the_cut_alone_become_polynomials() -> None:
    snapshot = gi.testing.planted_snapshot(P, KEYS, act_fn="relu")
    found = gi.claims.evidence(snapshot)
    rest = snapshot.logits - snapshot.neurons.double() @ snapshot.W_L.double()
    replaced = rest + gi.neurons.polynomials(snapshot) @ snapshot.W_L.double()
    assert ablations.neurons_as_polynomials(found).item() == pytest.approx(loss_of(replaced), rel=1e-6)
    assert ablations.neurons_as_polynomials(found).item() != pytest.approx(loss_of(snapshot.logits), rel=1e-5)


def test_linear_attention_is_a_forward_pass_with_a_linear_pattern(untrained: gi.claims.Evidence) -> None:
    snapshot = untrained.snapshot

    def linear(name: str, activation: Tensor) -> Tensor:
        if name != "blocks.0.attn.hook_pattern":
            return activation
        return torch.cat([activation[:, :, :-1], gi.attention.linear_pattern(activation[:, :, -1:])], dim=2)

    logits = snapshot.config.logits(snapshot.params, *gi.tasks.all_pairs(snapshot.task), linear)
    expected = loss_of(logits[:, :11].unflatten(0, (11, 11)))
    assert ablations.linear_attention(untrained).item() == pytest.approx(expected)


@pytest.mark.parametrize("edit", ["skip_mlp_zeroed", "skip_mlp_mean", "skip_attention_zeroed", "heads_zeroed"])
def test_edits_are_those_of_the_residual_stream(untrained: gi.claims.Evidence, edit: str) -> None:
    """Written out: W_E, attention, MLP, W_U, with what is skipped or zeroed left out by hand."""
    snapshot = untrained.snapshot
    W = {name.rsplit(".", 1)[-1]: p for name, p in snapshot.params.items()}
    before, attended = (snapshot.activation(f"blocks.0.{hook}") for hook in ("hook_resid_pre", "hook_attn_out"))
    attended = torch.zeros_like(attended) if edit == "heads_zeroed" else attended
    middle = attended if edit == "skip_attention_zeroed" else before + attended
    written = (middle @ W["W_in"] + W["b_in"]).relu() @ W["W_out"] + W["b_out"]
    past = {"skip_mlp_zeroed": torch.zeros_like(middle), "skip_mlp_mean": middle.mean(dim=(0, 1))}.get(edit, middle)
    expected = loss_of(((past + written) @ W["W_U"])[..., :11])
    assert getattr(ablations, edit)(untrained).item() == pytest.approx(expected)


def test_the_products_of_a_key_s_waves_are_kept_without_the_mean(untrained: gi.claims.Evidence) -> None:
    """Written out: the logits' coefficients on 1, cos and sin of each key of a, times those of b, but for 1 times 1."""
    logits, x = untrained.snapshot.logits, torch.arange(11, dtype=torch.float64)
    assert logits.mean(dim=(0, 1)).abs().min() > 0.01
    kept = torch.zeros_like(logits)
    for k in untrained.keys:
        angle = 2 * math.pi * k * x / 11
        waves = [torch.ones_like(x) / 11**0.5, angle.cos() * (2 / 11) ** 0.5, angle.sin() * (2 / 11) ** 0.5]
        for of_a, of_b in list(itertools.product(waves, waves))[1:]:
            product = of_a[:, None] * of_b[None, :]
            kept += product[:, :, None] * (product[:, :, None] * logits).sum(dim=(0, 1))
    assert ablations.key_components(untrained).item() == pytest.approx(loss_of(kept))


@pytest.mark.parametrize("edit", ["readout_alone", "without_readout"])
def test_neurons_are_projected_on_the_readout_s_directions_without_their_mean(
    untrained: gi.claims.Evidence, edit: str
) -> None:
    """Written out: the least-squares part of each pair's neurons in u_k and v_k, and what is left of them."""
    snapshot, x = untrained.snapshot, torch.arange(11, dtype=torch.float64)
    waves = [wave(2 * math.pi * k * x / 11) for k in untrained.keys for wave in (torch.cos, torch.sin)]
    directions = torch.stack([snapshot.W_L @ wave for wave in waves], dim=1)
    assert snapshot.neurons.mean(dim=(0, 1)).max() > 0.01
    flat = snapshot.neurons.flatten(0, 1).T
    along = (directions @ torch.linalg.lstsq(directions, flat).solution).T.reshape(snapshot.neurons.shape)
    left = along if edit == "readout_alone" else snapshot.neurons - along
    logits = snapshot.logits + (left - snapshot.neurons) @ snapshot.W_L
    assert getattr(ablations, edit)(untrained).item() == pytest.approx(loss_of(logits))


def test_a_model_without_keys_has_none_of_these() -> None:
    snapshot = gi.testing.planted_snapshot(P, KEYS)
    params = {name: torch.zeros_like(p) for name, p in snapshot.params.items()}
    nothing = gi.claims.evidence(gi.Snapshot(params=params, config=snapshot.config, task=snapshot.task))
    with pytest.raises(gi.claims.NotAvailableError, match="the model has no key frequencies"):
        circuit.is_key(nothing)
