"""The contract with TransformerLens, of versions 3 and 4 alike: logits, hooks, weights, and the way back."""

import random
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from grokinterp.models import lens
from grokinterp.models.kinds.mlp import MLPConfig
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.snapshots import Snapshot
from grokinterp.tasks import all_pairs, operation


TASK = operation("addition", 11)
SMALL = {"d_model": 16, "n_heads": 2, "d_head": 6, "d_mlp": 20}
CONFIGS = {
    "no biases": TransformerConfig(**SMALL),
    "mlp biases": TransformerConfig(**SMALL, biases="mlp", equals_in_output=True),
    "all biases": TransformerConfig(**SMALL, biases="all", act_fn="gelu"),
    "two layers, LN": TransformerConfig(**SMALL, n_layers=2, normalization="LN", biases="all"),
    "LN, no biases": TransformerConfig(**SMALL, normalization="LN"),
    "operands alone": TransformerConfig(**SMALL, sequence="a b"),
    "with the operation": TransformerConfig(**SMALL, sequence="a op b =", equals_in_output=True),
}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
needs_hooked_transformer = pytest.mark.skipif(
    not lens.has_hooked_transformer(), reason="TransformerLens 4 has no HookedTransformer"
)
needs_bridge = pytest.mark.skipif(lens.has_hooked_transformer(), reason="TransformerLens 3 gives a HookedTransformer")


def native_model(**changes: Any) -> Any:
    """A model as a user of TransformerLens builds it, without this library."""
    sizes = {"n_layers": 1, "d_model": 16, "n_heads": 2, "d_head": 8, "d_mlp": 24, "d_vocab": 12, "d_vocab_out": 11}
    sizes |= {"n_ctx": 5, "act_fn": "relu", "normalization_type": None, "seed": 0} | changes
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", DeprecationWarning)  # version 3's class is deprecated
        if lens.has_hooked_transformer():
            from transformer_lens import HookedTransformer, HookedTransformerConfig

            return HookedTransformer(HookedTransformerConfig(**sizes, device="cpu"))
        from transformer_lens.config import TransformerBridgeConfig
        from transformer_lens.model_bridge import TransformerBridge

        return TransformerBridge.boot_native(TransformerBridgeConfig(**sizes), device="cpu")


def test_the_model_is_of_the_installed_version(random_params):
    config = CONFIGS["no biases"]
    model = lens.to_transformer_lens(random_params(config, TASK), config)
    assert type(model).__name__ == ("HookedTransformer" if lens.has_hooked_transformer() else "TransformerBridge")


@each_config
def test_logits_are_equal_on_all_pairs(config, random_params):
    params = random_params(config, TASK)
    a, b = all_pairs(TASK)
    with torch.no_grad():
        theirs = lens.to_transformer_lens(params, config)(config.tokens(params, a, b))[:, -1]
    ours = config.logits(params, a, b)
    assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
    assert ours.std() > 0.1


@pytest.mark.slow
def test_logits_are_equal_on_all_pairs_of_the_paper_s_model():
    task = operation("addition", 113)
    config = TransformerConfig(biases="mlp", equals_in_output=True, init="paper")
    params, (a, b) = config.initial_params(task, seed=0), all_pairs(task)
    with torch.no_grad():
        theirs = lens.to_transformer_lens(params, config)(config.tokens(params, a, b))[:, -1]
        ours = config.logits(params, a, b)
    assert_close(theirs, ours, atol=1e-5, rtol=0)


@each_config
def test_every_hook_fires_and_is_cached_with_equal_values(config, random_params):
    params = random_params(config, TASK)
    a, b = all_pairs(TASK)
    model, tokens = lens.to_transformer_lens(params, config), config.tokens(params, a, b)
    fired = []

    def look(activation: torch.Tensor, hook: Any) -> torch.Tensor:
        fired.append(hook.name)
        return activation

    with torch.no_grad():
        model.run_with_hooks(tokens, fwd_hooks=[(name, look) for name in config.hook_names()])
        _, cache = model.run_with_cache(tokens)
    assert len(fired) == len(config.hook_names())
    for name, ours in config.activations(params, a, b).items():
        assert_close(cache[name], ours, atol=1e-5, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.slow
@each_config
def test_every_hook_is_editable_and_an_edit_does_the_same_to_both(config, random_params):
    params = random_params(config, TASK)
    a, b = all_pairs(TASK)
    model, tokens = lens.to_transformer_lens(params, config), config.tokens(params, a, b)
    plain = config.logits(params, a, b)
    for name in config.hook_names():

        def edit(activation: torch.Tensor, hook: Any = None) -> torch.Tensor:
            return activation.tanh() + 0.1

        kept = {}

        def edit_ours(at: str, activation: torch.Tensor, name: str = name, kept: Any = kept) -> torch.Tensor:
            if at == name:
                kept[at] = activation
                return edit(activation)
            # In a bridge hook_resid_mid is the MLP's input alone: past the MLP goes what was there before the edit.
            if not lens.has_hooked_transformer() and at.replace("resid_post", "resid_mid") in kept:
                before = kept.pop(at.replace("resid_post", "resid_mid"))
                return activation - edit(before) + before
            return activation

        with torch.no_grad():
            theirs = model.run_with_hooks(tokens, fwd_hooks=[(name, edit)])[:, -1]
        assert (theirs - plain).abs().max() > 1e-3, name
        wanted = config.logits(params, a, b, edit_ours)
        assert_close(theirs, wanted, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@each_config
def test_weights_are_read_under_their_names(config, random_params):
    params = random_params(config, TASK)
    model = lens.to_transformer_lens(params, config)
    assert torch.equal(model.W_E, params["embed.W_E"])
    assert torch.equal(model.W_pos, params["pos_embed.W_pos"])
    assert torch.equal(model.W_U, params["unembed.W_U"])
    for layer in range(config.n_layers):
        for module, names in {"attn": ("W_Q", "W_K", "W_V", "W_O"), "mlp": ("W_in", "W_out")}.items():
            for name in names:
                wanted = params[f"blocks.{layer}.{module}.{name}"]
                assert torch.equal(getattr(model, name)[layer], wanted), name
                assert torch.equal(getattr(getattr(model.blocks[layer], module), name), wanted), name
        for module, names in {"attn": ("b_Q", "b_K", "b_V", "b_O"), "mlp": ("b_in", "b_out")}.items():
            for name in names:
                wanted = params.get(f"blocks.{layer}.{module}.{name}", torch.zeros(()))
                found = getattr(model, name)[layer]
                assert torch.equal(found, wanted.expand_as(found)), name
    assert torch.equal(model.b_U, params.get("unembed.b_U", torch.zeros(())).expand_as(model.b_U))


@each_config
def test_the_way_back_gives_the_same_parameters_and_config(config, random_params):
    params = random_params(config, TASK)
    found, found_config = lens.from_transformer_lens(lens.to_transformer_lens(params, config), config.sequence)
    assert found_config == config
    assert list(found) == list(params)
    assert all(torch.equal(found[name], params[name]) for name in params)
    # A bridge shows transposed views; products of those round differently, and files cannot hold them.
    assert all(p.is_contiguous() for p in found.values())


@each_config
def test_the_model_holds_copies(config, random_params):
    params = random_params(config, TASK)
    before = {name: p.clone() for name, p in params.items()}
    model = lens.to_transformer_lens(params, config)
    found, _ = lens.from_transformer_lens(model, config.sequence)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    assert all(torch.equal(params[name], before[name]) for name in params)
    assert all(torch.equal(found[name], before[name]) for name in params)


def test_gradients_flow_to_the_model_and_not_to_the_parameters(random_params):
    config = CONFIGS["no biases"]
    params = {name: p.requires_grad_() for name, p in random_params(config, TASK).items()}
    model = lens.to_transformer_lens(params, config)
    model(torch.tensor([[1, 2, 11]]))[:, -1].square().sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())
    assert all(p.grad is None for p in params.values())


def test_float64_is_kept(random_params):
    config = CONFIGS["two layers, LN"]
    params = random_params(config, TASK, dtype=torch.float64)
    a, b = all_pairs(TASK)
    with torch.no_grad():
        theirs = lens.to_transformer_lens(params, config)(config.tokens(params, a, b))[:, -1]
    assert_close(theirs, config.logits(params, a, b), atol=1e-10, rtol=1e-10)


@each_config
def test_building_a_model_leaves_the_global_random_states_as_they_are(config, random_params):
    params = random_params(config, TASK)
    lens.to_transformer_lens(params, config)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    lens.to_transformer_lens(params, config)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_building_a_model_does_not_seed_python_s_random(monkeypatch, random_params):
    monkeypatch.setattr(random, "seed", lambda *_: pytest.fail("the global state of Python's random was used"))
    config = CONFIGS["no biases"]
    assert lens.to_transformer_lens(random_params(config, TASK), config) is not None


@pytest.mark.parametrize("normalization_type", [None, "LN"])
def test_a_model_built_with_transformer_lens_itself_is_read(normalization_type):
    model = native_model(normalization_type=normalization_type)
    params, config = lens.from_transformer_lens(model)
    assert (len(params["embed.W_E"]), config.biases, config.equals_in_output) == (12, "none", False)
    assert config.normalization == ("none" if normalization_type is None else "LN")
    assert params["pos_embed.W_pos"].shape == (3, 16)
    a, b = all_pairs(TASK)
    with torch.no_grad():
        theirs = model(config.tokens(params, a, b))[:, -1]
    assert_close(config.logits(params, a, b), theirs, atol=1e-5, rtol=1e-5)


@needs_hooked_transformer
def test_the_quadratic_activation_has_a_hooked_transformer(random_params):
    config = TransformerConfig(**SMALL, act_fn="quadratic", biases="mlp")
    params = random_params(config, TASK)
    a, b = all_pairs(TASK)
    model = lens.to_transformer_lens(params, config)
    with torch.no_grad():
        assert_close(model(config.tokens(params, a, b))[:, -1], config.logits(params, a, b), atol=1e-5, rtol=1e-5)
    assert lens.from_transformer_lens(model)[1] == config


@needs_bridge
def test_the_quadratic_activation_has_no_bridge(random_params):
    config = TransformerConfig(**SMALL, act_fn="quadratic")
    with pytest.raises(
        ValueError, match="TransformerBridge does not support act_fn='quadratic'; use transformer-lens<4"
    ):
        lens.to_transformer_lens(random_params(config, TASK), config)


@needs_hooked_transformer
@each_config
def test_the_hooked_engine_is_the_full_forward_with_its_gradients(config, random_params):
    params = random_params(config, TASK, dtype=torch.float64)
    a, b = all_pairs(TASK)
    forward = lens.hooked_logits(random_params(config, TASK, seed=1, dtype=torch.float64), config)
    results = []
    for call in (forward, lambda params, a, b: config.logits(params, a, b)):
        leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
        out = call(leaves, a, b)
        results.append((out.detach(), torch.autograd.grad(out.square().sum(), list(leaves.values()))))
    (theirs, their_gradients), (ours, our_gradients) = results
    assert_close(theirs, ours, atol=1e-10, rtol=1e-10)
    for name, found, wanted in zip(params, their_gradients, our_gradients, strict=True):
        assert_close(found, wanted, atol=1e-8, rtol=1e-8, msg=lambda text, name=name: f"{name}: {text}")


@needs_bridge
def test_the_hooked_engine_needs_version_3(random_params):
    config = CONFIGS["no biases"]
    with pytest.raises(ImportError, match="engine='hooked' requires transformer-lens<4"):
        lens.hooked_logits(random_params(config, TASK), config)


@pytest.mark.parametrize("model", [None, torch.nn.Linear(2, 2), {"embed.W_E": torch.zeros(2, 2)}, SimpleNamespace()])
def test_what_is_no_transformer_lens_model_is_refused(model):
    with pytest.raises(TypeError, match="model must be a Snapshot, HookedTransformer or TransformerBridge, got "):
        lens.from_transformer_lens(model)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("normalization_type", "RMS", "model.cfg.normalization_type must be None or 'LN' for this library, got 'RMS'"),
        ("positional_embedding_type", "rotary", "must be 'standard' for this library, got 'rotary'"),
        ("attn_only", True, "model.cfg.attn_only must be False for this library, got True"),
        ("parallel_attn_mlp", True, "model.cfg.parallel_attn_mlp must be False"),
        ("gated_mlp", True, "model.cfg.gated_mlp must be False"),
        ("use_attn_scale", False, "model.cfg.use_attn_scale must be True for this library, got False"),
        ("scale_attn_by_inverse_layer_idx", True, "model.cfg.scale_attn_by_inverse_layer_idx must be False"),
        (
            "attn_scores_soft_cap",
            30.0,
            "model.cfg.attn_scores_soft_cap must be -1.0 or None for this lib",
        ),
        ("output_logits_soft_cap", 30.0, "model.cfg.output_logits_soft_cap must be -1.0 or None"),
        ("n_key_value_heads", 1, "model.cfg.n_key_value_heads must be None or 2 for this library, got 1"),
        ("eps", 1e-6, "model.cfg.eps must be 1e-05 for this library, got 1e-06"),
        ("attn_scale", 3.0, "model.cfg.attn_scale must be "),
        ("act_fn", "silu", "model.cfg.act_fn must be 'relu' or 'gelu' for this library, got 'silu'"),
        ("n_ctx", 2, "sequence 'a b =' requires n_ctx >= 3, got n_ctx=2; pass the sequence"),
    ],
)
def test_a_model_of_another_kind_is_refused(name, value, message, random_params):
    config = CONFIGS["no biases"]
    model = lens.to_transformer_lens(random_params(config, TASK), config)
    lens.from_transformer_lens(model)
    setattr(model.cfg, name, value)
    with pytest.raises(ValueError, match=message):
        lens.from_transformer_lens(model)


@pytest.mark.parametrize("normalization_type", [None, "LN"])
def test_bidirectional_attention_of_one_layer_is_read_and_is_the_same_at_the_last_position(normalization_type):
    model = native_model(attention_dir="bidirectional", normalization_type=normalization_type)
    snap = Snapshot(**dict(zip(("params", "config"), lens.from_transformer_lens(model), strict=True)), task=TASK)
    with torch.no_grad():
        theirs, cache = model.run_with_cache(snap.tokens)
    assert cache["blocks.0.attn.hook_pattern"][:, :, 0, 2].min() > 0  # the first position sees '=', indeed
    assert_close(snap.logits, theirs[:, -1].double().unflatten(0, TASK.shape), atol=1e-5, rtol=1e-5)
    for name in ("blocks.0.attn.hook_pattern", "blocks.0.attn.hook_z", "blocks.0.mlp.hook_post", "unembed.hook_in"):
        wanted = cache[name][:, :, -1] if name.endswith("pattern") else cache[name][:, -1]
        assert_close(snap.activation(name), wanted.unflatten(0, TASK.shape), atol=1e-5, rtol=1e-5)


def test_bidirectional_attention_of_two_layers_is_refused():
    model = native_model(attention_dir="bidirectional", n_layers=2)
    with pytest.raises(ValueError, match=r"cfg\.attention_dir must be 'causal' for this library, got 'bidirectional'"):
        lens.from_transformer_lens(model)


def test_a_model_with_a_hook_left_on_is_refused(random_params):
    model = lens.to_transformer_lens(random_params(CONFIGS["no biases"], TASK), CONFIGS["no biases"])
    model.add_hook("blocks.0.mlp.hook_post", lambda activation, hook: 0 * activation)
    with pytest.raises(ValueError, match=r"differ by .*; remove all hooks \(model\.reset_hooks\(\)\)"):
        lens.from_transformer_lens(model)
    model.reset_hooks()
    assert len(lens.from_transformer_lens(model)) == 2


@needs_hooked_transformer
@pytest.mark.parametrize(
    "changes",
    [
        {"use_local_attn": True, "window_size": 2, "attn_types": ["local"]},
        {"post_embedding_ln": True, "normalization_type": "LN"},
    ],
)
def test_what_no_setting_is_looked_up_for_is_noticed(changes):
    with pytest.raises(ValueError, match="the model's logits must follow from its weights"):
        lens.from_transformer_lens(native_model(**changes))


@needs_hooked_transformer
def test_another_activation_put_in_by_hand_is_noticed(random_params):
    model = lens.to_transformer_lens(random_params(CONFIGS["no biases"], TASK), CONFIGS["no biases"])
    model.blocks[0].mlp.act_fn = torch.tanh
    with pytest.raises(ValueError, match="check that its MLP, attention and normalization are supported"):
        lens.from_transformer_lens(model)


MLPS = {
    "onehot": MLPConfig(d_mlp=6),
    "concatenated": MLPConfig(inputs="concatenated", d_model=4, n_layers=1, d_mlp=6, act_fn="quadratic"),
    "summed": MLPConfig(inputs="summed", d_model=4, n_layers=3, d_mlp=6, act_fn="gelu", biases="none"),
}


@pytest.mark.parametrize("config", MLPS.values(), ids=MLPS)
def test_an_mlp_has_transformer_lens_hooks_and_comes_back(config, random_params):
    params, (a, b) = random_params(config, TASK), all_pairs(TASK)
    model = lens.to_transformer_lens(params, config)
    ours = config.activations(params, a, b)
    with torch.no_grad():
        theirs, cache = model.run_with_cache(torch.stack([a, b], dim=1))
        edited = model.run_with_hooks(
            torch.stack([a, b], dim=1), fwd_hooks=[("blocks.0.mlp.hook_post", lambda x, hook: 0 * x)]
        )
    assert set(cache) == set(config.hook_names())
    assert all(torch.equal(cache[name], ours[name]) for name in cache)
    assert torch.equal(theirs, config.logits(params, a, b))
    assert len(edited.unique(dim=0)) == 1
    assert len(theirs.unique(dim=0)) > 1
    found, found_config = lens.from_transformer_lens(model)
    assert found_config == config
    assert list(found) == list(params)
    assert all(torch.equal(found[name], params[name]) for name in params)
    model.add_hook("blocks.0.mlp.hook_post", lambda activation, hook: 0 * activation)
    with pytest.raises(ValueError, match=r"differ by .*; remove all hooks"):
        lens.from_transformer_lens(model)
