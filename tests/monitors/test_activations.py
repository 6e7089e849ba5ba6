"""Statistics of activations: known ones of planted models, and a plain loop over what the forward pass keeps."""

import pytest
import torch

import grokinterp as gi
from grokinterp.tasks import all_pairs


SETTINGS = [{}, {"n_layers": 2, "normalization": "LN"}, {"act_fn": "gelu"}]


@pytest.mark.parametrize("settings", SETTINGS)
def test_statistics_are_those_of_a_loop_over_hooks_at_the_last_position(small, settings) -> None:
    snapshot = small(**settings)
    cache = snapshot.config.activations(snapshot.params, *all_pairs(snapshot.task))
    measures = gi.monitors.activation_mean, gi.monitors.activation_std
    measures += gi.monitors.activation_sparsity, gi.monitors.activation_norm
    found = [measure(snapshot) for measure in measures]
    assert found[0].hook.values.tolist() == list(snapshot.config.hook_names())
    for name, activation in cache.items():
        x = activation[:, :, -1] if name.endswith("pattern") else activation[:, -1]
        norms = [row.flatten().norm().item() for row in x]
        zeros = sum(value == 0 for value in x.flatten().tolist()) / x.numel()
        expected = [x.mean().item(), x.std(correction=0).item(), zeros, sum(norms) / len(norms)]
        assert [of_hook.sel(hook=name).item() for of_hook in found] == pytest.approx(expected), name


def test_a_planted_models_statistics_are_known() -> None:
    snapshot = gi.testing.planted_snapshot(7, (1, 3))
    # Attention from '=' to three positions sums to 1, and '=' has the unit vector of its position among 128.
    assert gi.monitors.activation_mean(snapshot).sel(hook="blocks.0.attn.hook_pattern").item() == pytest.approx(1 / 3)
    of_position = {"hook": "hook_pos_embed"}
    assert gi.monitors.activation_norm(snapshot).sel(of_position).item() == pytest.approx(1.0)
    assert gi.monitors.activation_mean(snapshot).sel(of_position).item() == pytest.approx(1 / 128)
    assert gi.monitors.activation_sparsity(snapshot).sel(of_position).item() == pytest.approx(127 / 128)
    assert gi.monitors.activation_std(snapshot).sel(of_position).item() == pytest.approx((127 / 128**2) ** 0.5)


def test_a_negative_neuron_is_dead_under_relu_alone() -> None:
    quadratic, relu = (gi.testing.planted_snapshot(7, (1, 3), act_fn=act_fn) for act_fn in ("quadratic", "relu"))
    post = {"hook": "blocks.0.mlp.hook_post"}
    assert gi.monitors.activation_sparsity(quadratic).sel(post).item() < 0.02
    dead = (relu.activation("blocks.0.mlp.hook_pre") <= 0).double().mean().item()
    assert gi.monitors.activation_sparsity(relu).sel(post).item() == dead > 0.3


def test_an_edited_model_is_watched_as_edited(small) -> None:
    def without_mlp(name: str, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x) if name.endswith("hook_post") else x

    sparsity = gi.monitors.activation_sparsity(small(hook=without_mlp))
    assert sparsity.sel(hook="blocks.0.mlp.hook_post").item() == 1.0
    assert sparsity.sel(hook="blocks.0.mlp.hook_pre").item() == 0.0
