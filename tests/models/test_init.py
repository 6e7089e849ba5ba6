import math
import warnings

import pytest
import torch
from torch.testing import assert_close

from grokinterp.losses import cross_entropy
from grokinterp.models import lens
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.tasks import Task, all_pairs, operation, paper_split


PAPER = TransformerConfig(biases="mlp", equals_in_output=True, init="paper")
ADDITION = operation("addition", 113)
LAYERED = TransformerConfig(n_layers=2, normalization="LN")


def test_the_paper_s_initial_squared_norms():
    wanted = {
        "embed.W_E": 115.45,
        "pos_embed.W_pos": 2.96,
        "blocks.0.attn.W_K": 126.84,
        "blocks.0.attn.W_Q": 127.69,
        "blocks.0.attn.W_V": 126.89,
        "blocks.0.attn.W_O": 129.09,
        "blocks.0.mlp.W_in": 512.16,
        "blocks.0.mlp.W_out": 513.27,
        "unembed.W_U": 129.05,
    }
    params = PAPER.initial_params(ADDITION, seed=0)
    found = {name: p.double().square().sum().item() for name, p in params.items() if "W_" in name}
    assert_close(found, wanted, atol=0.005, rtol=0)
    assert all(not params[f"blocks.0.mlp.{name}"].any() for name in ("b_in", "b_out"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "train", "test", "tolerance"),
    [(0, 4.76405, 4.76835, 5e-6), (1, 4.776912162749, 4.767726207078, 5e-9)],
)
def test_the_paper_s_initial_losses(seed, train, test, tolerance):
    is_train = paper_split(ADDITION, 0.3, seed=seed).flatten()
    labels = ADDITION.table.flatten()
    found = PAPER.logits(PAPER.initial_params(ADDITION, seed=seed), *all_pairs(ADDITION))
    assert found.shape == (113 * 113, 114)
    losses = [cross_entropy(found[mask], labels[mask]).item() for mask in (is_train, ~is_train)]
    assert_close(losses, [train, test], atol=tolerance, rtol=0)


def test_the_paper_s_draws_are_turned_to_the_layout_of_the_forward():
    """The layout decides nothing about norms, so the same draws are taken here one by one, in the paper's order."""
    config = TransformerConfig(d_model=6, n_heads=2, d_head=3, d_mlp=5, biases="mlp", init="paper")
    task = operation("addition", 7)
    params = config.initial_params(task, seed=3)
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / math.sqrt(6)

    assert torch.equal(params["embed.W_E"], draw(6, 8).T)
    assert torch.equal(params["pos_embed.W_pos"], draw(3, 6))
    for name in ("W_K", "W_Q", "W_V"):
        assert torch.equal(params[f"blocks.0.attn.{name}"], draw(2, 3, 6).transpose(1, 2)), name
    assert torch.equal(params["blocks.0.attn.W_O"], draw(6, 6).reshape(6, 2, 3).permute(1, 2, 0))
    assert torch.equal(params["blocks.0.mlp.W_in"], draw(5, 6).T)
    assert torch.equal(params["blocks.0.mlp.W_out"], draw(6, 5).T)
    assert_close(params["unembed.W_U"], draw(6, 7) * math.sqrt(6 / 7), atol=0, rtol=1e-6)


@pytest.mark.parametrize("config", [TransformerConfig(biases="all"), LAYERED], ids=["one layer", "two layers, LN"])
def test_weights_have_the_spread_of_hooked_transformer(config):
    params = config.initial_params(ADDITION, seed=0)
    for name, p in params.items():
        if "W_" in name:
            assert abs(p.std().item() / (0.8 / math.sqrt(128)) - 1) < 0.1, name
            assert abs(p.mean().item()) < 0.01, name
        else:
            assert (p == (1.0 if name.endswith(".w") else 0.0)).all(), name


@pytest.mark.skipif(not lens.has_hooked_transformer(), reason="TransformerLens 4 has no HookedTransformer")
@pytest.mark.parametrize("config", [TransformerConfig(), LAYERED], ids=["one layer", "two layers, LN"])
def test_the_initialisation_has_the_bits_of_hooked_transformer(config):
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", DeprecationWarning)  # the class is
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        cfg = HookedTransformerConfig(
            n_layers=config.n_layers,
            d_model=128,
            n_heads=4,
            d_head=32,
            d_mlp=512,
            act_fn="relu",
            normalization_type=None if config.normalization == "none" else "LN",
            d_vocab=114,
            d_vocab_out=113,
            n_ctx=3,
            seed=999,
            device="cpu",
        )
        theirs = HookedTransformer(cfg)
    wanted = dict(theirs.named_parameters())
    params = config.initial_params(ADDITION, seed=999)
    assert list(params) == [name for name in wanted if name in params]
    assert {name for name in wanted if name not in params} == {name for name in wanted if ".b_" in name}
    for name, p in params.items():
        assert torch.equal(p, wanted[name]), name


@pytest.mark.parametrize("biases", ["none", "mlp", "all"])
@pytest.mark.parametrize("normalization", ["none", "LN"])
def test_parameters_have_the_shapes_of_their_names(biases, normalization):
    config = TransformerConfig(n_layers=2, biases=biases, normalization=normalization, equals_in_output=True)
    params = config.initial_params(operation("division", 11), seed=0)
    wanted = config.shapes(operation("division", 11))
    assert {name: tuple(p.shape) for name, p in params.items()} == wanted
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in params.values())
    assert wanted["embed.W_E"] == (12, 128)
    assert wanted["unembed.W_U"] == (128, 12)
    assert wanted["blocks.1.attn.W_O"] == (4, 32, 128)
    assert ("blocks.1.mlp.b_in" in wanted) == (biases != "none")
    assert ("blocks.1.attn.b_Q" in wanted) == ("unembed.b_U" in wanted) == (biases == "all")
    assert ("blocks.1.ln2.w" in wanted) == ("ln_final.b" in wanted) == (normalization == "LN")


@pytest.mark.parametrize(("equals_in_output", "classes"), [(False, 7), (True, 8)])
def test_equals_is_a_class_where_the_config_asks_for_it(equals_in_output, classes):
    shapes = TransformerConfig(equals_in_output=equals_in_output).shapes(operation("addition", 7))
    assert shapes["unembed.W_U"] == (128, classes)


@pytest.mark.parametrize("config", [PAPER, TransformerConfig()], ids=["paper", "hooked_transformer"])
def test_the_seed_alone_decides(config):
    task: Task = operation("addition", 7)
    state = torch.get_rng_state()
    first, again, other = (config.initial_params(task, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first if "W_" in name)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"d_model": 0}, "TransformerConfig.d_model must be an integer of at least 1, got 0"),
        ({"n_layers": -1}, "TransformerConfig.n_layers must be an integer of at least 1, got -1"),
        ({"init": "paper", "n_layers": 2}, "init='paper' requires one layer"),
        ({"init": "paper", "normalization": "LN"}, "without normalization or attention biases and sequence 'a b ='"),
        ({"init": "paper", "biases": "all"}, "attention biases and sequence 'a b ='; use 'hooked_transformer'"),
    ],
)
def test_a_model_that_cannot_be_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**kwargs)
