"""The cos w_k(a+b-c) directions against loops over all (a, b, c)."""

import dataclasses
import math
from typing import get_args

import pytest
import torch
from torch import Tensor

import grokinterp as gi
from grokinterp.logits import Centering, cosine_coefficients, cosine_fit, project_products


@pytest.fixture(scope="module")
def random_snapshot() -> gi.Snapshot:
    """An untrained model: its logits have something of everything."""
    task = gi.tasks.operation("addition", 11)
    config = gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=24, equals_in_output=True)
    params = config.initial_params(task, seed=3)
    return gi.Snapshot(params=params, config=config, task=task, is_train=gi.tasks.uniform_split(task, 0.4, seed=0))


def _wave(p: int, k: int) -> Tensor:
    x = torch.arange(p, dtype=torch.float64)
    wave = (2 * math.pi * k * (x[:, None, None] + x[None, :, None] - x[None, None, :]) / p).cos()
    return wave / wave.norm()


def test_coefficients_are_inner_products_over_all_pairs_and_classes(random_snapshot: gi.Snapshot) -> None:
    expected = [(_wave(11, k) * random_snapshot.logits).sum().item() for k in range(1, 6)]
    assert gi.logits.coefficients(random_snapshot).values.tolist() == pytest.approx(expected, abs=1e-10)


def test_cosine_fit_are_the_projection(random_snapshot: gi.Snapshot) -> None:
    expected = sum(_wave(11, k) * (_wave(11, k) * random_snapshot.logits).sum() for k in (2, 5))
    fitted = cosine_fit(random_snapshot, (2, 5))[random_snapshot.task.table]
    torch.testing.assert_close(fitted, expected, atol=1e-12, rtol=0)


def test_even_modulus_has_its_extra_frequency() -> None:
    task = gi.tasks.operation("addition", 8)
    config = gi.TransformerConfig(d_model=8, n_heads=1, d_head=8, d_mlp=16)
    snapshot = gi.Snapshot(params=config.initial_params(task, seed=0), config=config, task=task)
    expected = [(_wave(8, k) * snapshot.logits).sum().item() for k in range(1, 5)]
    torch.testing.assert_close(cosine_coefficients(snapshot), torch.tensor(expected, dtype=torch.float64))


def test_projection_of_products_is_the_papers_projection_of_all_pairs(random_snapshot: gi.Snapshot) -> None:
    a, b = gi.tasks.all_pairs(random_snapshot.task)
    flat = random_snapshot.logits.flatten(0, 1)
    expected = torch.zeros_like(flat)
    for k in (1, 5):
        angle = 2 * math.pi * k * (a + b).double() / 11
        for wave in (angle.cos() / angle.cos().norm(), angle.sin() / angle.sin().norm()):
            expected += wave[:, None] * (wave @ flat)[None, :]
    found = project_products(random_snapshot, (1, 5))[random_snapshot.task.table].flatten(0, 1)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("centering", get_args(Centering))
def test_fve_by_centering(random_snapshot: gi.Snapshot, centering: Centering) -> None:
    logits = random_snapshot.logits
    mean = {"class": logits.mean(dim=(0, 1)), "mean": logits.mean(), "none": torch.zeros(())}[centering]
    variance = (logits - mean).square().sum().item()
    expected = [(_wave(11, k) * logits).sum().item() ** 2 / variance for k in range(1, 6)]
    assert gi.logits.fve(centering=centering)(random_snapshot).values.tolist() == pytest.approx(expected)


def test_fve_of_a_planted_model_is_one_at_its_keys() -> None:
    snapshot = gi.testing.planted_snapshot(31, (4, 15))
    found = gi.logits.fve()(snapshot)
    assert found.sel(frequency=[4, 15]).values.tolist() == pytest.approx([0.5, 0.5])
    assert found.attrs["centering"] == "class"
    assert gi.logits.variance_explained(snapshot, (4, 15)) == pytest.approx(1.0)


def test_fve_does_not_see_a_constant_per_class(random_snapshot: gi.Snapshot) -> None:
    shifted = gi.Snapshot(params=random_snapshot.params, config=random_snapshot.config, task=random_snapshot.task)
    object.__setattr__(shifted, "logits", random_snapshot.logits + torch.arange(11, dtype=torch.float64))
    expected = gi.logits.product_fve(random_snapshot).values
    assert gi.logits.product_fve(shifted).values == pytest.approx(expected)


@pytest.mark.usefixtures("unchecked")
def test_unknown_centering_is_refused() -> None:
    with pytest.raises(ValueError, match="centering must be one of class, mean, none, got 'row'"):
        gi.logits.fve(centering="row")(gi.testing.planted_snapshot(7, (1,)))  # pyright: ignore


def test_logits_over_inputs_are_those_of_the_classes(random_snapshot: gi.Snapshot) -> None:
    found = gi.logits.over_inputs((3, 7))(random_snapshot)
    assert found.dims == ("c", "a", "b")
    assert found.sel(c=7, a=2, b=9).item() == random_snapshot.logits[2, 9, 7].item()


def test_the_background_is_no_key() -> None:
    with pytest.raises(ValueError, match=r"keys must be one or more integers of at least 1, got \[0, 1\]"):
        gi.logits.variance_explained(gi.testing.planted_snapshot(7, (1, 3)), (0, 1))


def test_a_part_of_a_groups_table_is_refused() -> None:
    snapshot = gi.testing.planted_snapshot(7, (1, 3))
    task = snapshot.task
    part = dataclasses.replace(task, table=task.table[:2, :6], a_tokens=task.a_tokens[:2], b_tokens=task.b_tokens[:6])
    other = gi.Snapshot(params=snapshot.params, config=snapshot.config, task=part)
    with pytest.raises(ValueError, match=r"the answer to the same number of pairs of addition mod 7, got 1 to 2"):
        gi.fourier.key_frequencies(other)


def test_readout_of_a_planted_model_is_its_waves() -> None:
    found = gi.logits.readout_fve((4, 15))(gi.testing.planted_snapshot(31, (4, 15)))
    assert found.dims == ("frequency", "axis")
    assert found.values.flatten().tolist() == pytest.approx([1.0] * 4)


def test_readout_fve_is_the_squared_correlation_with_the_wave(random_snapshot: gi.Snapshot) -> None:
    found = gi.logits.readout_fve((3,))(random_snapshot)
    angle = 2 * math.pi * 3 * torch.arange(11, dtype=torch.float64) / 11
    W_L = random_snapshot.W_L.double()
    for axis, f in (("cos", torch.cos), ("sin", torch.sin)):
        direction = W_L @ f(angle)
        read = torch.stack([random_snapshot.neurons[a, b].double() @ direction for a in range(11) for b in range(11)])
        wave = torch.stack([f(angle)[(a + b) % 11] for a in range(11) for b in range(11)])
        expected = torch.corrcoef(torch.stack([read, wave]))[0, 1] ** 2
        assert found.sel(axis=axis).item() == pytest.approx(expected.item())


def test_a_readout_needs_frequencies_with_a_cos_and_a_sin() -> None:
    with pytest.raises(ValueError, match=r"keys must be frequencies with a cosine and a sine, got \[1, 4\]"):
        gi.logits.readout_fve((1, 4))(gi.testing.planted_snapshot(8, (1, 4)))


def test_components_of_the_logits_are_norms_over_classes(random_snapshot: gi.Snapshot) -> None:
    found = gi.logits.components(random_snapshot)
    rows = random_snapshot.basis.matrix
    of = rows[3][:, None] * rows[8][None, :]
    expected = (of[:, :, None] * random_snapshot.logits).sum(dim=(0, 1)).norm().item()
    assert found.sel(component="cos 2", row="sin 4").item() == pytest.approx(expected)
    assert (found**2).sum().item() == pytest.approx(random_snapshot.logits.square().sum().item())


def test_components_of_a_planted_model_are_two_by_two_for_each_key() -> None:
    found = gi.logits.components(gi.testing.planted_snapshot(7, (2,)))
    block = found.sel(component=["cos 2", "sin 2"], row=["cos 2", "sin 2"])
    assert block.min().item() > 1
    assert (found**2).sum().item() == pytest.approx((block**2).sum().item())


def test_readout_components_are_rows_of_the_neuron_logit_map() -> None:
    found = gi.logits.readout_components((5, 2))(gi.testing.planted_snapshot(7, (2,)))
    snapshot = gi.testing.planted_snapshot(7, (2,))
    expected = snapshot.W_L[2].double() @ snapshot.basis.matrix.T
    assert found.sel(neuron=2).values == pytest.approx(expected.numpy())
    assert found.sel(component=["const", "cos 1", "sin 3"]).values == pytest.approx(0, abs=1e-9)
