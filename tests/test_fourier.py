"""Spectra and key frequencies, on models whose frequencies are known."""

import math

import pytest
import torch

import grokinterp as gi
from grokinterp.fourier import Rule, gini_coefficient, participation
from grokinterp.tasks import groups, operations


RULES: list[Rule] = ["logits", "neurons", "W_E", "W_L"]


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("act_fn", ["quadratic", "relu"])
@pytest.mark.parametrize(("p", "keys"), [(7, (1, 3)), (8, (1, 4)), (113, (14, 35, 41, 42, 56))])
def test_every_rule_finds_the_planted_keys(p: int, keys: tuple[int, ...], act_fn: str, rule: Rule) -> None:
    snapshot = gi.testing.planted_snapshot(p, keys, act_fn=act_fn)
    assert gi.fourier.key_frequencies(snapshot, rule=rule) == keys


def test_keys_of_a_transformer_lens_model() -> None:
    snapshot = gi.testing.planted_snapshot(13, (2, 6), act_fn="relu")
    model = gi.models.lens.to_transformer_lens(snapshot.params, snapshot.config)
    assert gi.fourier.key_frequencies(model) == (2, 6)


def test_threshold_of_the_logits_rule_is_a_share_of_their_variance() -> None:
    # Amplitudes 1 and 3: shares .1 and .9 of the variance.
    weak, strong = (gi.models.planted.transformer(31, (k,), amplitude=m) for k, m in ((4, 1.0), (9, 3.0)))
    mixed = _side_by_side(weak[0], strong[0])
    config = gi.TransformerConfig(d_mlp=32, act_fn="quadratic")
    task = operations.operation("addition", 31)
    snapshot = gi.Snapshot(params=mixed, config=config, task=task)
    shares = gi.logits.product_fve(snapshot)
    assert shares.sel(frequency=[4, 9]).values.tolist() == pytest.approx([0.1, 0.9], abs=1e-9)
    assert gi.fourier.key_frequencies(snapshot) == (4, 9)
    assert gi.fourier.key_frequencies(snapshot, threshold=0.2) == (9,)


def _side_by_side(left: dict, right: dict) -> dict:
    """One model that adds the logits of two planted ones: the second has its waves in other directions."""
    moved = {name: p.clone() for name, p in right.items()}
    spot = torch.zeros(128, 128, dtype=torch.float64)
    # Waves 0..7 of one key go to 40..47; the position directions 8..10 stay shared.
    targets = [*range(40, 48), 8, 9, 10, *range(48, 128), *range(8), *range(11, 40)]
    spot[torch.arange(128), torch.tensor(targets)] = 1.0
    for name in ("embed.W_E", "pos_embed.W_pos", "blocks.0.attn.W_O", "blocks.0.mlp.W_out"):
        moved[name] = moved[name] @ spot
    for name in ("blocks.0.mlp.W_in", "unembed.W_U"):
        moved[name] = spot.T @ moved[name]
    for name in ("blocks.0.attn.W_Q", "blocks.0.attn.W_K", "blocks.0.attn.W_V"):
        moved[name] = torch.einsum("de,hek->hdk", spot.T, moved[name])
    mixed = {name: left[name] + moved[name] for name in left}
    for name in ("blocks.0.mlp.W_in", "blocks.0.mlp.W_out"):
        mixed[name] = torch.cat([left[name], moved[name]], dim=1 if name.endswith("W_in") else 0)
    # Heads of the second model take places 2 and 3, so that both copy their own waves.
    for name in ("blocks.0.attn.W_Q", "blocks.0.attn.W_K", "blocks.0.attn.W_V", "blocks.0.attn.W_O"):
        mixed[name] = torch.cat([left[name][:2], moved[name][:2]])
    mixed["pos_embed.W_pos"] = left["pos_embed.W_pos"]
    return mixed


def test_spectrum_of_a_planted_embedding_is_the_norm_of_its_waves() -> None:
    snapshot = gi.testing.planted_snapshot(31, (4, 15))
    spectrum = gi.fourier.spectrum(snapshot).sel(matrix="W_E")
    # cos and sin with amplitude 1 each have norm sqrt(p/2); together sqrt(p).
    assert spectrum.sel(frequency=[4, 15]).values.tolist() == pytest.approx([math.sqrt(31)] * 2)
    assert spectrum.drop_sel(frequency=[4, 15]).max().item() < 1e-9
    components = gi.fourier.components(snapshot).sel(matrix="W_E")
    assert components.sel(component=["cos 4", "sin 15"]).values.tolist() == pytest.approx([math.sqrt(15.5)] * 2)
    assert components.sel(component="const").item() < 1e-9


def test_components_leave_the_equals_sign_out() -> None:
    snapshot = gi.testing.planted_snapshot(7, (1,))
    snapshot.params["embed.W_E"][-1] = 100.0
    assert gi.fourier.components(snapshot).sel(matrix="W_E", component="const").item() < 1e-9


@pytest.mark.parametrize(("x", "expected"), [([1, 1, 1, 1], 0.0), ([0, 0, 0, 5], 0.75), ([1, 2, 3], 2 / 9)])
def test_gini(x: list[float], expected: float) -> None:
    assert gini_coefficient(torch.tensor(x, dtype=torch.float64)) == pytest.approx(expected)


def test_gini_is_the_mean_difference() -> None:
    x = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    differences = (x[:, None] - x[None, :]).abs().mean() / (2 * x.mean())
    assert gini_coefficient(x) == pytest.approx(differences.item())


def test_participation_is_the_inverse_number_of_equal_entries() -> None:
    assert participation(torch.tensor([3.0, 3.0, 0.0, 0.0])) == pytest.approx(0.5)


def test_gini_and_ipr_of_planted_matrices() -> None:
    snapshot = gi.testing.planted_snapshot(31, (4, 9, 15))
    # Three of fifteen frequencies hold everything, equally.
    assert gi.fourier.gini(snapshot).values.tolist() == pytest.approx([1 - 3 / 15] * 2)
    assert gi.fourier.ipr(snapshot).values.tolist() == pytest.approx([1 / 3] * 2)


def test_embedding_circles_have_the_residues_in_order() -> None:
    circle = gi.fourier.embedding_circles((4,))(gi.testing.planted_snapshot(31, (4, 9)))
    angle = 2 * math.pi * 4 * torch.arange(31, dtype=torch.float64) / 31
    expected = torch.stack([angle.cos(), angle.sin()])
    torch.testing.assert_close(torch.tensor(circle.sel(frequency=4).values), expected, atol=1e-9, rtol=0)


@pytest.mark.usefixtures("unchecked")
def test_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="rule must be one of logits, neurons, W_E, W_L, got 'phases'"):
        gi.fourier.key_frequencies(gi.testing.planted_snapshot(7, (1,)), rule="phases")  # pyright: ignore


def test_task_without_a_group_is_refused() -> None:
    snapshot = gi.testing.planted_snapshot(7, (1,))
    other = gi.Snapshot(params=snapshot.params, config=snapshot.config, task=operations.operation("x2+y2", 7))
    with pytest.raises(ValueError, match=r"requires a group operation, got 'x2\+y2 mod 7'"):
        gi.fourier.key_frequencies(other)


@pytest.mark.parametrize("name", ["subtraction", "multiplication", "division"])
def test_keys_follow_the_group_of_the_task(name: operations.Operation) -> None:
    """Logits that are waves of the task's own product have exactly their frequencies as keys."""
    task = operations.operation(name, 13)
    config = gi.TransformerConfig(d_model=4, n_heads=1, d_head=4, d_mlp=4)
    params = config.initial_params(task, seed=0)
    snapshot = gi.Snapshot(params=params, config=config, task=task)
    waves = snapshot.basis.rows([2, 5])
    # Replaces the cached logits, as nothing but the logits is looked at.
    object.__setattr__(snapshot, "logits", (waves.T @ waves)[task.table])
    assert gi.fourier.key_frequencies(snapshot) == (2, 5)


def test_keys_of_a_group_that_is_not_abelian_are_irreps() -> None:
    task = operations.from_group(groups.symmetric(4))
    config = gi.TransformerConfig(d_model=4, n_heads=1, d_head=4, d_mlp=4)
    snapshot = gi.Snapshot(params=config.initial_params(task, seed=0), config=config, task=task)
    rows = snapshot.basis.rows([3])
    object.__setattr__(snapshot, "logits", (rows.T @ rows)[task.table])
    assert gi.fourier.key_frequencies(snapshot) == (3,)
    assert gi.logits.fve()(snapshot).sel(frequency=3).item() == pytest.approx(1.0)


def test_circles_take_any_iterable_of_frequencies_that_have_a_plane() -> None:
    snapshot = gi.testing.planted_snapshot(8, (1, 3))
    measure = gi.fourier.embedding_circles(k for k in (3, 1))
    assert measure.arguments == {"key_frequencies": [1, 3]}
    assert measure(snapshot).frequency.values.tolist() == [1, 3]
    with pytest.raises(ValueError, match=r"a cosine and a sine, which span a plane, got \[4\]"):
        gi.fourier.embedding_circles((1, 4))(snapshot)


def test_zeros_are_spread_equally() -> None:
    assert gini_coefficient(torch.zeros(5)) == 0.0


def test_a_planted_model_has_nothing_outside_its_keys() -> None:
    snapshot = gi.testing.planted_snapshot(31, (4, 9))
    assert gi.fourier.outside((4, 9))(snapshot).values.tolist() == pytest.approx([0, 0], abs=1e-12)
    assert gi.fourier.outside((4,))(snapshot).values.tolist() == pytest.approx([0.5, 0.5])
    assert gi.fourier.outside((3,))(snapshot).values.tolist() == pytest.approx([1, 1])


def test_outside_is_a_share_of_the_squared_norm_in_which_the_constant_counts() -> None:
    snapshot = gi.testing.planted_snapshot(31, (4,))
    W_U = snapshot.params["unembed.W_U"]
    shifted = {**snapshot.params, "unembed.W_U": W_U + W_U.square().sum(dim=1, keepdim=True).sqrt() / math.sqrt(31)}
    other = gi.Snapshot(params=shifted, config=snapshot.config, task=snapshot.task)
    # Each row of W_U was a wave, and now has as much again in the constant.
    outside = gi.fourier.outside((4,))(other)
    assert 0.3 < outside.sel(matrix="W_L").item() < 0.7
    of_classes = (other.W_L.double() @ fourier_rows(31, 4).T).square().sum()
    assert outside.sel(matrix="W_L").item() == pytest.approx(1 - (of_classes / other.W_L.square().sum()).item())


def fourier_rows(p: int, k: int) -> torch.Tensor:
    angle = 2 * math.pi * k * torch.arange(p, dtype=torch.float64) / p
    return torch.stack([angle.cos(), angle.sin()]) * math.sqrt(2 / p)


def test_singular_values_count_two_directions_for_each_key() -> None:
    found = gi.fourier.singular_values(gi.testing.planted_snapshot(31, (4, 9)))
    assert found.dims == ("matrix", "rank")
    for matrix in ("W_E", "W_L"):
        values = found.sel(matrix=matrix)
        assert values.sel(rank=[1, 2, 3, 4]).min().item() > 0.5
        assert values.sel(rank=slice(5, None)).max().item() < 1e-9
    W_L = gi.testing.planted_snapshot(31, (4, 9)).W_L
    assert (found.sel(matrix="W_L") ** 2).sum().item() == pytest.approx(W_L.square().sum().item())
