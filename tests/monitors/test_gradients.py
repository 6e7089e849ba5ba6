"""Gradients: never empty, equal to finite differences and to torch's own backward pass, and zero at an optimum."""

import pytest
import torch
import torch.nn.functional as F

import grokinterp as gi
from grokinterp.monitors.gradients import gradients
from grokinterp.tasks import all_pairs


def half_the_neurons(name: str, x: torch.Tensor) -> torch.Tensor:
    return x / 2 if name.endswith("hook_post") else x


SETTINGS = [
    {},
    {"equals_in_output": True, "biases": "none"},
    {"n_layers": 2, "normalization": "LN", "act_fn": "gelu"},
    {"hook": half_the_neurons},
]


def train_loss(snapshot: gi.Snapshot, params: dict[str, torch.Tensor]) -> torch.Tensor:
    """The mean cross-entropy over the training pairs, by the forward pass of every position."""
    edit = [] if snapshot.hook is None else [snapshot.hook]
    logits = snapshot.config.logits(params, *all_pairs(snapshot.task), *edit)
    is_train = snapshot.is_train.flatten()
    return F.cross_entropy(logits[is_train].double(), snapshot.task.table.flatten()[is_train])


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_gradients_equal_finite_differences_in_every_parameter(small, settings) -> None:
    snapshot, step = small(**settings), 1e-5
    found = gradients(snapshot)
    generator = torch.Generator().manual_seed(1)
    for name, x in snapshot.params.items():
        direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        ends = [train_loss(snapshot, snapshot.params | {name: x + sign * step * direction}) for sign in (1, -1)]
        slope = (ends[0] - ends[1]).item() / (2 * step)
        assert (found[name] * direction).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-9), name


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradients_are_those_of_a_backward_pass(small, settings) -> None:
    snapshot = small(**settings)
    params = {name: x.clone().requires_grad_() for name, x in snapshot.params.items()}
    train_loss(snapshot, params).backward()
    norms = gi.monitors.gradient_norm(snapshot)
    assert norms.parameter.values.tolist() == [name.removeprefix("blocks.0.") for name in params]
    for name, norm in zip(params, norms.values, strict=True):
        torch.testing.assert_close(gradients(snapshot)[name], params[name].grad)
        assert norm == pytest.approx(params[name].grad.norm().item())


def test_gradients_are_not_empty_whatever_an_optimizer_has_zeroed(small) -> None:
    snapshot = small(dtype=torch.float32)
    optimizer = torch.optim.SGD([x.requires_grad_() for x in snapshot.params.values()])
    train_loss(snapshot, snapshot.params).backward()
    optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        norms = gi.monitors.gradient_norm(snapshot)
    # A key's bias adds the same to every score, of which the softmax sees nothing.
    assert (norms.drop_sel(parameter="attn.b_K") > 1e-4).all()
    assert all(x.grad is None for x in snapshot.params.values())


def test_gradients_leave_the_model_as_it_was(small) -> None:
    snapshot = small()
    before = {name: x.clone() for name, x in snapshot.params.items()}
    gradients(snapshot)
    for name, x in snapshot.params.items():
        assert not x.requires_grad
        assert x.equal(before[name])


def test_gradients_are_zero_at_an_exact_optimum() -> None:
    """Where the right answer leads by so much that its probability is 1 in float64."""
    snapshot = gi.testing.planted_snapshot(7, (1, 3), amplitude=5000.0)
    assert gi.progress.losses(snapshot).sel(split="train").item() == 0.0
    assert (gi.monitors.gradient_norm(snapshot) == 0).all()
    assert gi.monitors.alignment(snapshot).item() == 0.0
    assert (gi.monitors.gradient_alignment(snapshot) == 0).all()
    assert (gi.monitors.gradient_norm(gi.testing.planted_snapshot(7, (1, 3))) > 1e-3).any()


def test_alignment_is_the_cosine_of_two_vectors(small) -> None:
    snapshot = small(biases="mlp")
    found = gradients(snapshot)
    cosines = gi.monitors.gradient_alignment(snapshot)
    for name, cosine in zip(found, cosines.values, strict=True):
        expected = F.cosine_similarity(-found[name].flatten(), snapshot.params[name].flatten(), dim=0)
        assert cosine == pytest.approx(expected.item())
    joined = [torch.cat([x[name].flatten() for name in found]) for x in (found, snapshot.params)]
    cosine = F.cosine_similarity(-joined[0], joined[1], dim=0).item()
    assert gi.monitors.alignment(snapshot).item() == pytest.approx(cosine)


def test_where_all_is_right_a_step_lengthens_the_unembedding_and_where_all_is_wrong_it_shortens_it() -> None:
    right = gi.testing.planted_snapshot(7, (1, 3), amplitude=4.0)
    wrong_params = right.params | {"unembed.W_U": -right.params["unembed.W_U"]}
    wrong = gi.Snapshot(params=wrong_params, config=right.config, task=right.task, is_train=right.is_train)
    of_unembedding = {"parameter": "unembed.W_U"}
    assert gi.monitors.gradient_alignment(right).sel(of_unembedding).item() > 0.5
    assert gi.monitors.gradient_alignment(wrong).sel(of_unembedding).item() < -0.5


def test_a_model_of_unknown_training_pairs_has_no_train_gradient(small) -> None:
    snapshot = small()
    unknown = gi.Snapshot(params=snapshot.params, config=snapshot.config, task=snapshot.task)
    with pytest.raises(ValueError, match="split='train' requires the training pairs"):
        gi.monitors.gradient_norm(unknown)
