"""Ranks and sparsity of weights: planted singular values, and the formulas as loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import grokinterp as gi
from grokinterp.monitors import effective_rank, matrix, spectral_entropy, stable_rank, weight_sparsity


def rotated(sigma: list[float], rows: int, columns: int) -> torch.Tensor:
    """A matrix with these singular values, in directions of no meaning."""
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0] for n in (rows, columns)
    )
    n = len(sigma)
    return left[:, :n] * torch.tensor(sigma, dtype=torch.float64) @ right[:n]


@pytest.fixture
def planted(small):
    """Makes a snapshot whose W_E, or whose heads' W_Q, have given singular values."""

    def make(sigma: list[float], *of_heads: list[float]) -> gi.Snapshot:
        snapshot = small()
        snapshot.params["embed.W_E"] = rotated(sigma, 8, 8)
        if of_heads:
            snapshot.params["blocks.0.attn.W_Q"] = torch.stack([rotated(of_head, 8, 4) for of_head in of_heads])
        return snapshot

    return make


def value(measure: gi.Measure, snapshot: gi.Snapshot, parameter: str = "embed.W_E") -> float:
    return measure(snapshot).sel(parameter=parameter).item()


def test_ranks_of_known_singular_values_follow_their_formulas(planted) -> None:
    sigma = [4.0, 2.0, 1.0, 1.0]
    entropy = -sum(x / 8 * math.log(x / 8) for x in sigma)
    snapshot = planted(sigma)
    assert value(spectral_entropy, snapshot) == pytest.approx(entropy) == pytest.approx(1.75 * math.log(2))
    assert value(effective_rank, snapshot) == pytest.approx(math.exp(entropy))
    assert value(stable_rank, snapshot) == pytest.approx((16 + 4 + 1 + 1) / 16)


@pytest.mark.parametrize("n", [1, 3, 8])
def test_a_projection_has_its_dimension_as_each_rank(planted, n: int) -> None:
    snapshot = planted([5.0] * n)
    assert value(effective_rank, snapshot) == pytest.approx(n, rel=1e-6)
    assert value(stable_rank, snapshot) == pytest.approx(n)
    assert value(spectral_entropy, snapshot) == pytest.approx(math.log(n), abs=1e-6)


def test_a_weight_of_heads_has_the_mean_over_heads(planted) -> None:
    snapshot = planted([1.0], [3.0], [2.0, 2.0, 2.0])
    assert value(effective_rank, snapshot, "attn.W_Q") == pytest.approx((1 + 3) / 2)
    assert value(stable_rank, snapshot, "attn.W_Q") == pytest.approx((1 + 3) / 2)
    assert value(spectral_entropy, snapshot, "attn.W_Q") == pytest.approx(math.log(3) / 2)


def test_a_matrix_of_zeros_has_no_rank(planted) -> None:
    snapshot = planted([0.0])
    assert [value(rank, snapshot) for rank in (effective_rank, stable_rank, spectral_entropy)] == [0.0, 0.0, 0.0]


def test_biases_and_norms_have_no_rank(small) -> None:
    names = effective_rank(small(n_layers=2, normalization="LN")).parameter.values.tolist()
    assert "attn.W_Q" in names
    assert "blocks.1.mlp.W_in" in names
    assert not [name for name in names if "b_" in name or "ln" in name]


@pytest.mark.slow
@given(scale=st.floats(0.01, 100.0), seed=st.integers(0, 100))
def test_ranks_do_not_depend_on_scale_and_stay_within_bounds(random_params, scale: float, seed: int) -> None:
    config, task = gi.TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=12), gi.TaskConfig(p=7).build()
    params = random_params(config, task, seed=seed, dtype=torch.float64)
    one, other = (
        gi.Snapshot(params={name: x * by for name, x in params.items()}, config=config, task=task) for by in (1, scale)
    )
    for rank in (effective_rank, stable_rank):
        assert rank(one).values == pytest.approx(rank(other).values)
        assert rank(one).min().item() >= 1 - 1e-9
        assert (rank(one) <= 8 + 1e-9).all()


def test_sparsity_counts_small_weights_of_either_sign(small) -> None:
    snapshot = small()
    snapshot.params["unembed.b_U"] = torch.tensor([0.0, 9e-4, -9e-4, 1.1e-3, -1.1e-3, 1.0, -1.0], dtype=torch.float64)
    assert value(weight_sparsity(), snapshot, "unembed.b_U") == pytest.approx(3 / 7)
    assert value(weight_sparsity(0.01), snapshot, "unembed.b_U") == pytest.approx(5 / 7)
    assert weight_sparsity(0.01)(snapshot).attrs["threshold"] == 0.01
    with pytest.raises(ValueError, match=r"threshold must be a number above 0, got 0\.0\."):
        weight_sparsity(0.0)


@pytest.mark.parametrize(
    ("parameter", "dims"),
    [
        ("embed.W_E", ("d_vocab", "d_model")),
        ("pos_embed.W_pos", ("pos", "d_model")),
        ("blocks.0.attn.W_Q", ("head", "d_model", "d_head")),
        ("blocks.0.attn.W_O", ("head", "d_head", "d_model")),
        ("blocks.0.mlp.W_in", ("d_model", "d_mlp")),
        ("blocks.0.mlp.W_out", ("d_mlp", "d_model")),
        ("unembed.W_U", ("d_model", "d_vocab_out")),
    ],
)
def test_a_matrix_is_itself_with_its_axes_named(small, parameter: str, dims: tuple[str, ...]) -> None:
    snapshot = small()
    found = matrix(parameter)(snapshot)
    assert found.dims == dims
    assert found.values.tolist() == snapshot.params[parameter].tolist()
    assert found.attrs["parameter"] == parameter


@pytest.mark.parametrize("parameter", ["W_Q", "blocks.0.attn.b_Q"])
def test_what_is_no_weight_matrix_is_refused_with_those_that_are(small, parameter: str) -> None:
    with pytest.raises(ValueError, match=rf"parameter must be one of embed\.W_E, .*, got '{parameter}'"):
        matrix(parameter)(small())
