import math

import pytest
import torch
from torch.testing import assert_close

from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.tasks import all_pairs, operation


TASK = operation("addition", 5)
SMALL = {"d_model": 6, "n_heads": 2, "d_head": 4, "d_mlp": 7}
CONFIGS = [
    TransformerConfig(**SMALL),
    TransformerConfig(**SMALL, biases="mlp", act_fn="quadratic", equals_in_output=True),
    TransformerConfig(**SMALL, biases="all", act_fn="gelu"),
    TransformerConfig(**SMALL, n_layers=2, normalization="LN", biases="all"),
    TransformerConfig(**SMALL, sequence="a b"),
    TransformerConfig(**SMALL, sequence="a op b =", biases="mlp"),
]
IDS = ["none", "quadratic", "gelu", "two layers, LN", "operands alone", "with the operation"]
each_config = pytest.mark.parametrize("config", CONFIGS, ids=IDS)


def oracle(params, config, tokens: list[int]) -> torch.Tensor:
    """The logits after a sequence, one vector at a time, from the definition."""

    def get(name: str) -> torch.Tensor:
        return params.get(name, torch.zeros((), dtype=torch.float64))

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        if config.normalization == "none":
            return x
        scale = ((x - x.mean()).square().mean() + 1e-5).sqrt()
        return (x - x.mean()) / scale * get(f"{name}.w") + get(f"{name}.b")

    act = {
        "relu": lambda x: x.clamp(min=0),
        "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
        "quadratic": lambda x: x * x,
    }[config.act_fn]
    residual = [get("embed.W_E")[token] + get("pos_embed.W_pos")[i] for i, token in enumerate(tokens)]
    for layer in range(config.n_layers):
        name = f"blocks.{layer}"
        normed = [norm(f"{name}.ln1", x) for x in residual]
        mixed = [x.clone() for x in residual]
        for i in range(len(tokens)):
            mixed[i] = mixed[i] + get(f"{name}.attn.b_O")
            for h in range(config.n_heads):
                bias = {m: get(f"{name}.attn.b_{m}").expand(config.n_heads, config.d_head)[h] for m in "QKV"}
                q, k, v = ([x @ get(f"{name}.attn.W_{m}")[h] + bias[m] for x in normed] for m in "QKV")
                weights = [math.exp(float(q[i] @ k[j]) / math.sqrt(config.d_head)) for j in range(i + 1)]
                z = sum(weight / sum(weights) * v[j] for j, weight in enumerate(weights))
                mixed[i] = mixed[i] + z @ get(f"{name}.attn.W_O")[h]
        residual = []
        for x in mixed:
            neurons = act(norm(f"{name}.ln2", x) @ get(f"{name}.mlp.W_in") + get(f"{name}.mlp.b_in"))
            residual.append(x + neurons @ get(f"{name}.mlp.W_out") + get(f"{name}.mlp.b_out"))
    return norm("ln_final", residual[-1]) @ get("unembed.W_U") + get("unembed.b_U")


@each_config
def test_the_forward_is_its_definition(config, random_params):
    params = random_params(config, TASK, dtype=torch.float64)
    a, b = all_pairs(TASK)
    found = config.logits(params, a, b)
    read = {"a b =": lambda x, y: [x, y, 5], "a b": lambda x, y: [x, y], "a op b =": lambda x, y: [x, 6, y, 5]}
    each = [read[config.sequence](x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    wanted = torch.stack([oracle(params, config, tokens) for tokens in each])
    assert_close(found, wanted, atol=1e-11, rtol=1e-11)
    assert found.std() > 0.1


@each_config
def test_every_hook_is_seen_once_in_order(config, random_params):
    seen = []

    def look(name: str, activation: torch.Tensor) -> torch.Tensor:
        seen.append(name)
        return activation

    config.logits(random_params(config, TASK), *all_pairs(TASK), look)
    assert tuple(seen) == config.hook_names()
    assert len(set(seen)) == len(seen)


@each_config
def test_activations_have_the_shapes_of_transformer_lens(config, random_params):
    cache = config.activations(random_params(config, TASK), *all_pairs(TASK))
    assert tuple(cache) == config.hook_names()
    classes, n = 6 if config.equals_in_output else 5, config.n_positions
    kinds = {"hook_pattern": (2, n, n), "hook_pre": (n, 7), "hook_post": (n, 7), "unembed.hook_out": (n, classes)}
    kinds |= {f"hook_{x}": (n, 2, 4) for x in "qkvz"}
    for name, activation in cache.items():
        wanted = next((shape for end, shape in kinds.items() if name.endswith(end)), (n, 6))
        assert activation.shape == (25, *wanted), name


@pytest.mark.slow
@each_config
def test_what_a_hook_returns_takes_the_activation_s_place(config, random_params):
    params = random_params(config, TASK)
    a, b = all_pairs(TASK)
    plain = config.logits(params, a, b)
    for name in config.hook_names():

        def square(at: str, activation: torch.Tensor, name: str = name) -> torch.Tensor:
            return activation.square() if at == name else activation

        assert (config.logits(params, a, b, square) - plain).abs().max() > 1e-3, name


@each_config
def test_attention_is_causal_and_sums_to_one(config, random_params):
    params = random_params(config, TASK)
    a, b = all_pairs(TASK)
    cache, other = config.activations(params, a, b), config.activations(params, a, (b + 1) % 5)
    for layer in range(config.n_layers):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        assert_close(pattern.sum(dim=-1), torch.ones(25, 2, config.n_positions), atol=1e-6, rtol=0)
        assert (pattern.triu(1) == 0).all()
        name = f"blocks.{layer}.hook_resid_post"
        of_b = config.sequence.split().index("b")
        assert torch.equal(cache[name][:, :of_b], other[name][:, :of_b])
        assert not torch.equal(cache[name][:, of_b], other[name][:, of_b])


def test_equals_is_the_last_token():
    tokens = TransformerConfig().tokens({"embed.W_E": torch.zeros(6, 2)}, torch.tensor([0, 3]), torch.tensor([4, 1]))
    assert tokens.tolist() == [[0, 4, 5], [3, 1, 5]]


def test_the_token_of_the_operation_comes_after_that_of_equals():
    config = TransformerConfig(sequence="a op b =")
    assert config.tokens({"embed.W_E": torch.zeros(7, 2)}, torch.tensor([3]), torch.tensor([1])).tolist() == [
        [3, 6, 1, 5]
    ]
    alone = TransformerConfig(sequence="a b")
    assert alone.tokens({"embed.W_E": torch.zeros(5, 2)}, torch.tensor([3]), torch.tensor([1])).tolist() == [[3, 1]]


def test_parameters_may_be_stacked_under_vmap(random_params):
    config, (a, b) = CONFIGS[3], all_pairs(TASK)
    each = [random_params(config, TASK, seed=seed) for seed in range(3)]
    stacked = {name: torch.stack([params[name] for params in each]) for name in each[0]}
    found = torch.func.vmap(lambda params: config.logits(params, a, b))(stacked)
    wanted = torch.stack([config.logits(params, a, b) for params in each])
    assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_keep_the_dtype_of_the_parameters(dtype, random_params):
    assert CONFIGS[2].logits(random_params(CONFIGS[2], TASK, dtype=dtype), *all_pairs(TASK)).dtype == dtype
