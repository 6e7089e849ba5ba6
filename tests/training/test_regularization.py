"""Dropout drops the share that it says and keeps the expected value; label noise is as much as it says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from grokinterp.models.kinds.mlp import MLPConfig
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.tasks import all_pairs, operation
from grokinterp.training.dataset import noisy_labels
from grokinterp.training.regularization import dropout_hook


POST = "blocks.0.mlp.hook_post"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_rate_and_keeps_the_expected_value(rate: float) -> None:
    activation = torch.randn(200, 500, generator=generator(1)) + 3
    dropped = dropout_hook(rate, generator())(POST, activation)
    is_kept = dropped != 0
    assert_close(dropped[is_kept], activation[is_kept] / (1 - rate))
    deviation = (rate * (1 - rate) / activation.numel()) ** 0.5
    assert abs(is_kept.float().mean().item() - (1 - rate)) < 4 * deviation
    assert_close(dropped.mean(), activation.mean(), rtol=0.05, atol=0)


def test_dropout_draws_anew_each_time_and_the_same_from_the_same_generator() -> None:
    ones = torch.ones(1000)
    hook, again = dropout_hook(0.5, generator()), dropout_hook(0.5, generator())
    first, second = hook(POST, ones), hook(POST, ones)
    assert not torch.equal(first, second)
    assert torch.equal(again(POST, ones), first)
    assert torch.equal(again(POST, ones), second)


def test_dropout_leaves_the_random_state_of_the_caller_alone() -> None:
    before = torch.get_rng_state()
    dropout_hook(0.5, generator())(POST, torch.ones(10))
    assert torch.equal(torch.get_rng_state(), before)


class Spy:
    """Dropout, and the names of the hooks at which it did something."""

    def __init__(self) -> None:
        self.drop, self.touched = dropout_hook(0.5, generator()), set()

    def __call__(self, name: str, activation: torch.Tensor) -> torch.Tensor:
        dropped = self.drop(name, activation)
        if not torch.equal(dropped, activation):
            self.touched.add(name)
        return dropped


def test_dropout_is_where_the_config_says_in_a_transformer() -> None:
    config, task = TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=32, n_layers=2), operation("addition", 7)
    params, spy = config.initial_params(task, seed=0), Spy()
    logits = config.logits(params, *all_pairs(task), spy)
    places = ("attn.hook_pattern", "hook_attn_out", "mlp.hook_post", "hook_mlp_out")
    assert spy.touched == {f"blocks.{layer}.{place}" for layer in (0, 1) for place in places}
    assert not torch.equal(logits, config.logits(params, *all_pairs(task)))


def test_dropout_is_at_the_neurons_of_an_mlp() -> None:
    config, task = MLPConfig(d_mlp=16), operation("addition", 7)
    params, spy = config.initial_params(task, seed=0), Spy()
    logits = config.logits(params, *all_pairs(task), spy)
    assert spy.touched == {"blocks.0.mlp.hook_post", "blocks.1.mlp.hook_post"}
    assert not torch.equal(logits, config.logits(params, *all_pairs(task)))


def test_a_gradient_goes_through_what_is_kept_alone() -> None:
    activation = torch.ones(100, requires_grad=True)
    dropped = dropout_hook(0.5, generator())(POST, activation)
    (gradient,) = torch.autograd.grad(dropped.sum(), activation)
    assert torch.equal(gradient, dropped.detach())
    assert set(gradient.tolist()) == {0.0, 2.0}


@given(st.integers(1, 60), st.floats(0, 1), st.integers(2, 9), st.integers(0, 2**40))
def test_label_noise_replaces_as_many_as_it_says_and_all_by_wrong_ones(
    n: int, share: float, n_outputs: int, seed: int
) -> None:
    labels = torch.arange(n) % n_outputs
    noisy = noisy_labels(labels, share, n_outputs=n_outputs, seed=seed)
    assert int((noisy != labels).sum()) == round(share * n)
    assert noisy.min() >= 0
    assert noisy.max() < n_outputs
    assert torch.equal(labels, torch.arange(n) % n_outputs)
    assert torch.equal(noisy, noisy_labels(labels, share, n_outputs=n_outputs, seed=seed))


def test_wrong_labels_are_drawn_evenly() -> None:
    noisy = noisy_labels(torch.full((9000,), 2), 1.0, n_outputs=4, seed=0)
    counts = noisy.bincount(minlength=4)
    assert counts[2] == 0
    assert (counts[[0, 1, 3]] - 3000).abs().max() < 200


def test_another_seed_replaces_others() -> None:
    labels = torch.arange(100) % 7
    first, second = (noisy_labels(labels, 0.3, n_outputs=7, seed=seed) for seed in (0, 1))
    assert not torch.equal(first != labels, second != labels)


def test_label_noise_is_no_function_of_a_split_from_the_same_seed() -> None:
    labels = torch.zeros(1000, dtype=torch.long)
    noisy = noisy_labels(labels, 0.5, n_outputs=2, seed=0)
    of_the_split = torch.zeros(1000, dtype=torch.bool)
    of_the_split[torch.randperm(1000, generator=generator(0))[:500]] = True
    assert abs(int((noisy.bool() & of_the_split).sum()) - 250) < 50


def test_label_noise_without_a_wrong_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"label noise requires at least 2 classes, got n_outputs=1"):
        noisy_labels(torch.zeros(3, dtype=torch.long), 0.5, n_outputs=1, seed=0)
