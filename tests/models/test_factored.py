import pytest
import torch
from torch.testing import assert_close

from grokinterp.losses import cross_entropy
from grokinterp.models.architecture import Params
from grokinterp.models.factored import factored_activations, factored_logits, is_factorable
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.tasks import Task, all_pairs, operation


TASK = operation("addition", 11)
SMALL = {"d_model": 12, "n_heads": 3, "d_head": 5, "d_mlp": 17}
BIASES = pytest.mark.parametrize("biases", ["none", "mlp", "all"])
ACT_FNS = pytest.mark.parametrize("act_fn", ["relu", "gelu", "quadratic"])


def loss_and_gradients(forward, params: Params, config: TransformerConfig, task: Task, pairs: torch.Tensor):
    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    a, b = (tokens[pairs] for tokens in all_pairs(task))
    loss = cross_entropy(forward(leaves, config, a, b), task.table.flatten()[pairs])
    return loss.detach(), dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def assert_same_loss_and_gradients(params, config, task, pairs, *, tolerance):
    """Each gradient against the other's norm; that of b_K, which is zero in exact arithmetic, absolutely."""
    loss, gradients = loss_and_gradients(factored_logits, params, config, task, pairs)
    wanted_loss, wanted = loss_and_gradients(
        lambda leaves, config, a, b: config.logits(leaves, a, b), params, config, task, pairs
    )
    assert_close(loss, wanted_loss, atol=0, rtol=tolerance)
    for name, gradient in gradients.items():
        if name.endswith("b_K"):
            assert_close(gradient, torch.zeros_like(gradient), atol=tolerance, rtol=0)
            assert_close(wanted[name], torch.zeros_like(gradient), atol=tolerance, rtol=0)
        else:
            assert wanted[name].norm() > 0, name
            error = (gradient - wanted[name]).norm() / wanted[name].norm()
            assert error <= tolerance, f"{name}: {error}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        TransformerConfig(),
        TransformerConfig(biases="mlp", equals_in_output=True, init="paper"),
        TransformerConfig(biases="all"),
    ],
    ids=["hooked_transformer", "paper", "all biases"],
)
def test_loss_and_every_gradient_are_the_full_forward_s_at_an_initialisation(config):
    task = operation("addition", 113)
    pairs = torch.randperm(113 * 113, generator=torch.Generator().manual_seed(0))[:1000]
    params = config.initial_params(task, seed=0)
    assert_same_loss_and_gradients(params, config, task, pairs, tolerance=1e-5)


@BIASES
@ACT_FNS
@pytest.mark.parametrize("equals_in_output", [False, True])
def test_loss_and_every_gradient_are_the_full_forward_s_in_float64(biases, act_fn, equals_in_output, random_params):
    config = TransformerConfig(**SMALL, biases=biases, act_fn=act_fn, equals_in_output=equals_in_output)
    params = random_params(config, TASK, dtype=torch.float64)
    assert_same_loss_and_gradients(params, config, TASK, torch.arange(121), tolerance=1e-10)


@BIASES
@ACT_FNS
def test_attention_and_neurons_are_those_of_the_full_forward(biases, act_fn, random_params):
    config = TransformerConfig(**SMALL, biases=biases, act_fn=act_fn)
    params = random_params(config, TASK, dtype=torch.float64)
    a, b = all_pairs(TASK)
    found, wanted = factored_activations(params, config, a, b), config.activations(params, a, b)
    assert_close(found.pattern, wanted["blocks.0.attn.hook_pattern"][:, :, -1], atol=1e-11, rtol=0)
    assert_close(found.neurons, wanted["blocks.0.mlp.hook_post"][:, -1], atol=1e-11, rtol=1e-11)
    assert_close(found.logits, config.logits(params, a, b), atol=1e-10, rtol=1e-10)


def test_a_rectangular_task_is_read_by_its_tokens(random_params):
    config, task = TransformerConfig(**SMALL), operation("division", 7)
    params = random_params(config, task, dtype=torch.float64)
    pairs = all_pairs(task)
    assert_close(factored_logits(params, config, *pairs), config.logits(params, *pairs), atol=1e-10, rtol=1e-10)


def test_parameters_may_be_stacked_under_vmap(random_params):
    config = TransformerConfig(**SMALL, biases="all")
    a, b = all_pairs(TASK)
    each = [random_params(config, TASK, seed=seed) for seed in range(3)]
    stacked = {name: torch.stack([params[name] for params in each]) for name in each[0]}
    found = torch.func.vmap(lambda params: factored_logits(params, config, a, b))(stacked)
    wanted = torch.stack([factored_logits(params, config, a, b) for params in each])
    assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_layers": 2}, "requires a 1-layer transformer without normalization and sequence 'a b =', got n_layers=2"),
        ({"sequence": "a b"}, "sequence='a b'; use config.logits"),
        ({"normalization": "LN"}, "got n_layers=1, normalization='LN', sequence='a b ='; use config.logits"),
    ],
)
def test_a_model_that_does_not_factor_is_refused(kwargs, message, random_params):
    config = TransformerConfig(**SMALL, **kwargs)
    assert not is_factorable(config)
    with pytest.raises(ValueError, match=message):
        factored_logits(random_params(config, TASK), config, *all_pairs(TASK))


def test_equal_runs_have_equal_bits():
    config, task = TransformerConfig(), operation("addition", 113)
    params, pairs = config.initial_params(task, seed=0), torch.arange(500)
    (_, first), (_, again) = (loss_and_gradients(factored_logits, params, config, task, pairs) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
