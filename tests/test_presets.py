import json

import pytest

from grokinterp.config import RunConfig, from_dict, to_dict
from grokinterp.presets import PRESETS, mlp_onehot, nanda2023, power2022, quick, transformer_lens_demo


each_preset = pytest.mark.parametrize("name", PRESETS)


@each_preset
def test_a_preset_survives_json(name):
    config = PRESETS[name]()
    assert isinstance(config, RunConfig)
    assert from_dict(RunConfig, json.loads(json.dumps(to_dict(config)))) == config


@each_preset
def test_a_preset_can_be_built(name):
    config = PRESETS[name]()
    task = config.task.build()
    is_train = config.split.build(task, config.seed)
    assert is_train.sum() == int(config.split.fraction * task.table.numel())
    params = config.model.initial_params(task, seed=config.seed)
    assert {name: tuple(p.shape) for name, p in params.items()} == config.model.shapes(task)


def test_presets_are_listed_under_their_functions_names():
    assert {name: preset.__name__ for name, preset in PRESETS.items()} == {name: name for name in PRESETS}
    assert all("Source:" in (preset.__doc__ or "") for preset in PRESETS.values())


def test_the_paper_s_run_is_that_of_its_code():
    config = nanda2023()
    assert to_dict(config.task) == {"operation": "addition", "p": 113, "also": [], "seed": 0}
    assert to_dict(config.split) == {"fraction": 0.3, "rule": "paper", "seed": None}
    assert (config.seed, config.epochs, config.checkpoint_every) == (0, 40_000, 100)
    optim = config.optim
    assert (optim.lr, optim.weight_decay, optim.betas, optim.eps) == (1e-3, 1.0, (0.9, 0.98), 1e-8)
    assert optim.batch_size is None
    assert [optim.lr * optim.warmup(step) for step in (0, 5, 10)] == [0.0, 5e-4, 1e-3]
    model = config.model
    assert (model.n_layers, model.d_model, model.n_heads, model.d_head, model.d_mlp) == (1, 128, 4, 32, 512)
    assert (model.act_fn, model.normalization, model.biases, model.init) == ("relu", "none", "mlp", "paper")
    assert model.equals_in_output


def test_the_demo_s_run_is_that_of_its_notebook():
    config = transformer_lens_demo()
    assert (config.task.p, config.split.fraction, config.split.rule, config.split.seed) == (113, 0.3, "uniform", 598)
    assert (config.seed, config.epochs, config.optim.warmup_steps) == (999, 25_000, 0)
    assert (config.model.biases, config.model.equals_in_output) == ("none", False)
    assert config.model.init == "hooked_transformer"


def test_the_quick_run_is_smaller_than_the_paper_s():
    assert quick().epochs <= nanda2023().epochs // 10
    assert quick().task.p < nanda2023().task.p


def test_the_two_layers_are_those_that_grokking_was_first_seen_in():
    config = power2022()
    assert (config.task.operation, config.task.p, config.split.fraction) == ("division", 97, 0.5)
    model, optim = config.model, config.optim
    assert (model.n_layers, model.n_heads, model.d_model, model.n_positions) == (2, 4, 128, 4)
    assert (model.normalization, model.act_fn) == ("LN", "gelu")
    assert (optim.lr, optim.weight_decay, optim.betas) == (1e-3, 1.0, (0.9, 0.98))
    assert (optim.batch_size, optim.warmup_steps) == (512, 10)


def test_the_perceptron_reads_one_hot_pairs_and_has_two_hidden_layers():
    config = mlp_onehot()
    sizes = config.model.shapes(config.task.build())
    weights = ("blocks.0.mlp.W_in", "blocks.1.mlp.W_in", "unembed.W_U")
    assert [sizes[name] for name in weights] == [(194, 128), (128, 128), (128, 97)]
    assert len(sizes) == 2 * len(weights)
    assert (config.optim.lr, config.optim.weight_decay, config.optim.betas) == (1e-3, 1.0, (0.9, 0.999))
    assert (config.split.fraction, config.epochs, config.loss.dtype) == (0.5, 5_000, "torch_float32")
