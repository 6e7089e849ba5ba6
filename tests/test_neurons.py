"""Frequency, phase and FVE of neurons, on planted ones and against a loop."""

import math

import pytest
import torch

import grokinterp as gi
from grokinterp.basis import fourier_basis
from grokinterp.neurons import frequency_fve
from grokinterp.tasks import groups


def _waves(p: int, k: int, phase_a: float, phase_b: float) -> torch.Tensor:
    x = 2 * math.pi * k * torch.arange(p, dtype=torch.float64) / p
    return (x + phase_a).cos()[:, None] + (x + phase_b).cos()[None, :]


@pytest.mark.parametrize("k", [1, 5])
def test_fve_is_one_for_all_eight_terms_of_a_frequency(k: int) -> None:
    """1, cos and sin in a times those in b: any mixture of them is of frequency k alone, the highest included."""
    generator = torch.Generator().manual_seed(k)
    basis = fourier_basis(11)
    rows = torch.cat([basis.rows([0]), basis.rows([k])])
    x = torch.einsum("ijn,ia,jb->abn", torch.randn(3, 3, 4, generator=generator, dtype=torch.float64), rows, rows)
    found = frequency_fve(x, basis, basis)
    torch.testing.assert_close(found[:, k - 1], torch.ones(4, dtype=torch.float64))
    assert (found.sum(dim=1) - 1).abs().max() < 1e-9


def test_fve_counts_no_product_of_two_frequencies() -> None:
    basis = fourier_basis(11)
    x = torch.einsum("a,b->ab", basis.matrix[1], basis.matrix[3])[:, :, None]
    assert frequency_fve(x, basis, basis).abs().max() < 1e-12


def test_fve_of_a_mixture_is_the_share_of_its_power() -> None:
    x = (_waves(11, 2, 0.3, 1.0) + 2 * _waves(11, 5, 0.1, 0.2) + 7.0)[:, :, None]
    found = frequency_fve(x, fourier_basis(11), fourier_basis(11))[0]
    assert found[[1, 4]].tolist() == pytest.approx([0.2, 0.8])


def test_dead_and_constant_neurons_have_no_frequency() -> None:
    x = torch.stack([torch.zeros(11, 11), torch.full((11, 11), 3.7)], dim=2)
    assert frequency_fve(x, fourier_basis(11), fourier_basis(11)).abs().max() == 0


def test_planted_neurons_have_their_frequency() -> None:
    snapshot = gi.testing.planted_snapshot(59, (3, 29), act_fn="relu")
    fit = gi.neurons.fit(snapshot)
    assert fit.frequency.tolist() == [3] * 64 + [29] * 64
    assert fit.fve.min().item() > 0.94
    counts = gi.neurons.counts()(snapshot)
    assert counts.sel(frequency=[3, 29]).values.tolist() == [64, 64]
    assert counts.sum().item() == 128


def test_counts_leave_out_neurons_below_the_threshold() -> None:
    # Of a quadratic neuron's variance, one fifth is at the double frequency.
    snapshot = gi.testing.planted_snapshot(59, (3,))
    assert gi.neurons.counts(threshold=0.81)(snapshot).sum().item() == 0
    assert gi.neurons.counts(threshold=0.79)(snapshot).sum().item() == 16


def test_phase_is_where_the_neuron_peaks_as_a_function_of_the_sum() -> None:
    """A planted neuron is (cos(w a + f) + cos(w b + g))^2, which as a function of s = a + b peaks at w s = -f - g."""
    fit = gi.neurons.fit(gi.testing.planted_snapshot(31, (4,)))
    grid = 2 * math.pi * torch.arange(4, dtype=torch.float64) / 4
    expected = -(grid[:, None] + grid[None, :]).flatten()
    torch.testing.assert_close((fit.phase - expected).cos(), torch.ones(16, dtype=torch.float64))


def test_neurons_of_a_division_have_a_basis_per_input() -> None:
    task = gi.tasks.operation("division", 7)
    config = gi.TransformerConfig(d_model=8, n_heads=1, d_head=8, d_mlp=16)
    snapshot = gi.Snapshot(params=config.initial_params(task, seed=0), config=config, task=task)
    fit = gi.neurons.fit(snapshot)
    assert set(fit.frequency.tolist()) <= {1, 2, 3}
    assert 0 < fit.fve.max().item() <= 1


def test_phase_is_unknown_where_the_group_is_not_cyclic() -> None:
    task = gi.tasks.from_group(groups.symmetric(3))
    config = gi.TransformerConfig(d_model=8, n_heads=1, d_head=8, d_mlp=16)
    snapshot = gi.Snapshot(params=config.initial_params(task, seed=0), config=config, task=task)
    assert gi.neurons.phase(snapshot).isnull().all()


def test_activations_are_those_of_the_neurons() -> None:
    snapshot = gi.testing.planted_snapshot(7, (1,))
    found = gi.neurons.activations((5, 2))(snapshot)
    assert found.dims == ("neuron", "a", "b")
    assert found.sel(neuron=2, a=3, b=6).item() == snapshot.neurons[3, 6, 2].item()


def test_spectrum_has_the_share_of_each_frequency() -> None:
    snapshot = gi.testing.planted_snapshot(31, (4,))
    shares = gi.neurons.spectrum(snapshot)
    assert shares.dims == ("neuron", "frequency")
    # (cos x + cos y)^2 has four fifths of its variance at the key and one fifth at its double.
    assert shares.sel(frequency=4).values == pytest.approx(0.8)
    assert shares.sel(frequency=8).values == pytest.approx(0.2)
    assert shares.max("frequency").values == pytest.approx(gi.neurons.fve(snapshot).values)


def test_clusters_are_the_neurons_of_a_frequency() -> None:
    snapshot = gi.testing.planted_snapshot(59, (3, 29), act_fn="relu")
    assert gi.neurons.clusters(snapshot) == {3: list(range(64)), 29: list(range(64, 128))}
    assert gi.neurons.clusters(snapshot, threshold=0.99) == {}


def _random_snapshot(operation: str, p: int) -> gi.Snapshot:
    task = gi.tasks.operation(operation, p)
    config = gi.TransformerConfig(d_model=8, n_heads=1, d_head=8, d_mlp=16)
    params = {name: 6 * x for name, x in config.initial_params(task, seed=0).items()}
    return gi.Snapshot(params=params, config=config, task=task)


@pytest.mark.parametrize("terms", ["all", "sum"])
@pytest.mark.parametrize("operation", ["addition", "subtraction"])
def test_polynomials_are_fits_of_least_squares(operation: str, terms: str) -> None:
    """Against `lstsq` on the nine products, or on 1, cos and sin of the product."""
    snapshot = _random_snapshot(operation, 11)
    found = gi.neurons.polynomials(snapshot, threshold=0.0, terms=terms)
    fit = gi.neurons.fit(snapshot)
    for neuron in (0, 3, 7):
        angle = 2 * math.pi * int(fit.frequency[neuron]) * torch.arange(11, dtype=torch.float64) / 11
        rows = [torch.ones(11, dtype=torch.float64), angle.cos(), angle.sin()]
        if terms == "all":
            columns = [(f[:, None] * g[None, :]).flatten() for f in rows for g in rows]
        else:
            columns = [f[snapshot.task.table].flatten() for f in rows]
        design = torch.stack(columns, dim=1)
        x = snapshot.neurons[:, :, neuron].double().flatten()
        expected = design @ torch.linalg.lstsq(design, x[:, None]).solution
        torch.testing.assert_close(found[:, :, neuron].flatten(), expected[:, 0])


def test_polynomials_leave_neurons_below_the_threshold() -> None:
    snapshot = _random_snapshot("addition", 11)
    fve = gi.neurons.fit(snapshot).fve
    threshold = fve.median().item()
    changed = (gi.neurons.polynomials(snapshot, threshold=threshold) - snapshot.neurons.double()).abs().amax((0, 1))
    assert (changed[fve < threshold] == 0).all()
    assert (changed[fve >= threshold] > 1e-6).all()


def test_a_polynomial_of_a_planted_neuron_is_the_neuron_without_its_double_frequency() -> None:
    snapshot = gi.testing.planted_snapshot(31, (4,))
    found = gi.neurons.polynomials(snapshot, threshold=0.0)
    left = (snapshot.neurons.double() - found).square().sum(dim=(0, 1))
    varying = (snapshot.neurons.double() - snapshot.neurons.double().mean(dim=(0, 1))).square().sum(dim=(0, 1))
    assert (left / varying).tolist() == pytest.approx([0.2] * 16)


@pytest.mark.usefixtures("unchecked")
def test_unknown_terms_are_refused() -> None:
    with pytest.raises(ValueError, match="terms must be one of all, sum, got 'quadratic'"):
        gi.neurons.polynomials(gi.testing.planted_snapshot(7, (1,)), terms="quadratic")
