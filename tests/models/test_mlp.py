import math

import pytest
import torch
from torch.testing import assert_close

import grokinterp as gi
from grokinterp.models.kinds.mlp import MLPConfig
from grokinterp.tasks import all_pairs, operation, uniform_split


TASK = operation("division", 7)  # 7 first operands, 6 second ones
CONFIGS = [
    MLPConfig(d_mlp=9),
    MLPConfig(inputs="concatenated", d_model=5, n_layers=1, d_mlp=9, act_fn="quadratic"),
    MLPConfig(inputs="summed", d_model=5, n_layers=3, d_mlp=9, act_fn="gelu", biases="none"),
]
each_config = pytest.mark.parametrize("config", CONFIGS, ids=[config.inputs for config in CONFIGS])


def oracle(params, config, a: int, b: int) -> torch.Tensor:
    """The logits of a pair, from the definition: one-hot vectors and embeddings as products."""

    def bias(name: str) -> torch.Tensor:
        return params.get(name, torch.zeros((), dtype=torch.float64))

    act = {"relu": lambda x: x.clamp(min=0), "gelu": torch.nn.GELU(), "quadratic": lambda x: x * x}[config.act_fn]
    onehot = torch.eye(TASK.n_tokens, dtype=torch.float64)
    if config.inputs == "onehot":
        x = torch.cat([onehot[a], onehot[b]])
    else:
        x_a, x_b = onehot[a] @ params["embed.W_E"], onehot[b] @ params["embed.W_E"]
        x = torch.cat([x_a, x_b]) if config.inputs == "concatenated" else x_a + x_b
    for layer in range(config.n_layers):
        x = act(x @ params[f"blocks.{layer}.mlp.W_in"] + bias(f"blocks.{layer}.mlp.b_in"))
    return x @ params["unembed.W_U"] + bias("unembed.b_U")


@each_config
def test_logits_are_those_of_the_definition(config, random_params):
    params = random_params(config, TASK, dtype=torch.float64)
    a, b = all_pairs(TASK)
    wanted = torch.stack([oracle(params, config, int(x), int(y)) for x, y in zip(a, b, strict=True)])
    assert_close(config.logits(params, a, b), wanted, atol=1e-12, rtol=0)


@each_config
def test_every_hook_is_seen_and_can_be_edited(config, random_params):
    params, (a, b) = random_params(config, TASK), all_pairs(TASK)
    assert tuple(config.activations(params, a, b)) == config.hook_names()
    plain = config.logits(params, a, b)
    for name in config.hook_names():

        def shift(at: str, activation: torch.Tensor, name: str = name) -> torch.Tensor:
            return activation + 1 if at == name else activation

        assert (config.logits(params, a, b, shift) - plain).abs().max() > 1e-3, name


@each_config
def test_the_shapes_are_those_of_the_initial_parameters(config):
    params = config.initial_params(TASK, seed=0)
    assert {name: tuple(p.shape) for name, p in params.items()} == config.shapes(TASK)
    assert all(p.is_contiguous() for p in params.values())


def test_the_initial_parameters_are_torch_s_bit_for_bit():
    config = MLPConfig(inputs="concatenated", d_model=5, d_mlp=9)
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(3)
        embedding = torch.nn.Embedding(7, 5)
        layers = [torch.nn.Linear(10, 9), torch.nn.Linear(9, 9), torch.nn.Linear(9, 7)]
    params = config.initial_params(TASK, seed=3)
    assert torch.equal(params["embed.W_E"], embedding.weight)
    names = [("blocks.0.mlp.W_in", "blocks.0.mlp.b_in"), ("blocks.1.mlp.W_in", "blocks.1.mlp.b_in")]
    for layer, (W, b) in zip(layers, [*names, ("unembed.W_U", "unembed.b_U")], strict=True):
        assert torch.equal(params[W], layer.weight.T)
        assert torch.equal(params[b], layer.bias)


def test_a_snapshot_of_an_mlp_has_logits_neurons_and_an_embedding_for_each_operand(random_params):
    params = random_params(CONFIGS[0], TASK, dtype=torch.float64)
    snapshot = gi.Snapshot(params=params, config=CONFIGS[0], task=TASK)
    assert_close(snapshot.logits[5, 2], oracle(params, CONFIGS[0], 5, 3), atol=1e-12, rtol=0)
    hidden = CONFIGS[0].activations(params, torch.tensor([5]), torch.tensor([3]))
    assert_close(snapshot.neurons[5, 2], hidden["blocks.1.mlp.hook_post"][0], atol=1e-12, rtol=0)
    assert_close(snapshot.activation("blocks.0.mlp.hook_pre")[5, 2], hidden["blocks.0.mlp.hook_pre"][0], atol=0, rtol=0)
    W_in = params["blocks.0.mlp.W_in"]
    assert torch.equal(snapshot.W_E[4], torch.cat([W_in[4], W_in[7 + 4]]))
    assert torch.equal(snapshot.W_L, params["unembed.W_U"])
    with pytest.raises(ValueError, match="requires a transformer with attention, got a model of kind 'mlp'"):
        _ = snapshot.attention


def planted(p: int, keys: tuple[int, ...]) -> gi.Snapshot:
    """An MLP with one quadratic layer that adds modulo p with given frequencies: Gromov's solution."""
    x, phases = torch.arange(p).double(), 2 * math.pi * torch.arange(4) / 4
    waves = [(2 * math.pi * k / p, f, g) for k in keys for f in phases for g in phases]
    columns = [torch.cat([(w * x + f).cos(), (w * x + g).cos()]) for w, f, g in waves]
    rows = [(w * x + f + g).cos() for w, f, g in waves]
    config = MLPConfig(n_layers=1, d_mlp=len(waves), act_fn="quadratic", biases="none")
    params = {"blocks.0.mlp.W_in": torch.stack(columns, dim=1), "unembed.W_U": torch.stack(rows)}
    task = operation("addition", p)
    return gi.Snapshot(params=params, config=config, task=task, is_train=uniform_split(task, 0.5, seed=0))


def test_the_analyses_find_the_keys_of_a_planted_mlp():
    snapshot = planted(11, keys=(2, 5))
    assert all(gi.fourier.key_frequencies(snapshot, rule) == (2, 5) for rule in ("logits", "neurons", "W_E", "W_L"))
    assert gi.neurons.fit(snapshot).frequency.unique().tolist() == [2, 5]
    assert gi.progress.accuracies(snapshot).sel(split="all").item() == 1.0
    without_2 = gi.interventions.ablate(gi.interventions.frequency(2))(snapshot)
    assert gi.fourier.key_frequencies(without_2) == (5,)


@each_config
def test_operand_rows_are_read_and_set_in_the_same_places(config, random_params):
    params = random_params(config, TASK)
    rows = config.operand_rows(params, TASK)
    again = config.set_operand_rows(params, rows)
    assert all(torch.equal(again[name], p) for name, p in params.items())
    # Swapping two tokens' rows swaps the two as operands.
    a, b = torch.tensor([1, 2, 5]), torch.tensor([2, 2, 1])
    swap = torch.tensor([0, 2, 1, 3, 4, 5, 6])
    swapped = config.set_operand_rows(params, rows[swap])
    assert_close(config.logits(swapped, a, b), config.logits(params, swap[a], swap[b]))
