"""Gradient filters beside their authors' code, and torch's clipping; states that go on to the same bits."""

import copy
import math
from collections import deque
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from grokinterp.config import RegularizationConfig
from grokinterp.models.architecture import Params
from grokinterp.runs.layout import Layout
from grokinterp.runs.resume import ResumePoint, read_resume, write_resume
from grokinterp.training.regularization import Grokfast, clip, hold_norm, norm, orthogonal, process_gradients


SHAPES = {"embed.W_E": (5, 4), "blocks.0.attn.W_Q": (2, 4, 3), "blocks.0.mlp.b_in": (6,)}
KINDS = ["ema", "ma"]
each_kind = pytest.mark.parametrize("kind", KINDS)


def draw(seed: int, dtype: torch.dtype = torch.float32) -> Params:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in SHAPES.items()}


def flat(tensors: Params) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def assert_same(found: Params, wanted: Params, **tolerances: float) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        assert_close(tensor, wanted[name], msg=lambda text, name=name: f"{name}: {text}", **tolerances)


def plain_orthogonal(weight: Tensor, grad: Tensor) -> Tensor:
    """As Prieto et al. 2025 have it in their code, in flat vectors."""
    w, g = weight.flatten(), grad.flatten()
    g_orth = g - torch.dot(w, g) / (torch.dot(w, w) + 1e-30) * w
    return (g_orth * (g.norm() / (g_orth.norm() + 1e-30))).reshape(grad.shape)


def plain_grokfast(config: RegularizationConfig, gradients: list[Tensor]) -> list[Tensor]:
    """As Lee et al. 2024 have it in their code, for one parameter."""
    mean, window, result = None, deque(maxlen=config.grokfast_window), []
    for g in gradients:
        mean = g if mean is None else mean
        mean = mean * config.grokfast_decay + g * (1 - config.grokfast_decay)
        window.append(g)
        if config.grokfast == "ema":
            result.append(g + mean * config.grokfast_gain)
        else:
            slow = sum(window) / len(window) if len(window) == config.grokfast_window else 0.0
            result.append(g + slow * config.grokfast_gain)
    return result


def test_orthogonal_gradients_are_those_of_the_authors_code() -> None:
    grads, params = draw(0, torch.float64), draw(1, torch.float64)
    wanted = {name: plain_orthogonal(params[name], grad) for name, grad in grads.items()}
    assert_same(orthogonal(grads, params), wanted, rtol=0.0, atol=1e-14)


@given(st.integers(0, 2**20), st.floats(0.01, 100), st.floats(0.01, 100))
def test_an_orthogonal_gradient_has_no_part_along_its_parameter_and_keeps_its_length(
    seed: int, longer: float, heavier: float
) -> None:
    grads = {name: grad * longer for name, grad in draw(seed, torch.float64).items()}
    params = {name: p * heavier for name, p in draw(seed + 1, torch.float64).items()}
    for name, grad in orthogonal(grads, params).items():
        length = grads[name].norm()
        assert abs((grad * params[name]).sum()) <= 1e-12 * length * params[name].norm()
        assert_close(grad.norm(), length)


def test_a_gradient_is_kept_where_the_parameter_is_zero() -> None:
    grads, params = draw(0), {name: torch.zeros_like(p) for name, p in draw(1).items()}
    assert_same(orthogonal(grads, params), grads)


def test_an_orthogonal_gradient_is_per_parameter_and_not_of_all_together() -> None:
    grads, params = draw(0, torch.float64), draw(1, torch.float64)
    alone = orthogonal({"embed.W_E": grads["embed.W_E"]}, params)
    assert torch.equal(orthogonal(grads, params)["embed.W_E"], alone["embed.W_E"])


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 6.0, 1e3])
def test_clipping_is_torchs_to_the_bit(max_norm: float) -> None:
    grads, params = draw(0), {name: torch.zeros(shape).requires_grad_() for name, shape in SHAPES.items()}
    for name, p in params.items():
        p.grad = grads[name].clone()
    torch.nn.utils.clip_grad_norm_(params.values(), max_norm)
    assert_same(clip(grads, max_norm), {name: p.grad for name, p in params.items()}, rtol=0.0, atol=0.0)


def test_clipping_shortens_only_what_is_too_long() -> None:
    grads = draw(0)
    assert_close(flat(clip(grads, 2.0)).norm().item(), 2.0, rtol=1e-5, atol=0)
    assert_same(clip(grads, 2 * flat(grads).norm().item()), grads, rtol=0.0, atol=0.0)


def test_the_norm_is_that_of_all_tensors_as_one_vector() -> None:
    assert_close(
        norm(draw(0, torch.float64)).item(), math.sqrt(sum(x * x for x in flat(draw(0, torch.float64)).tolist()))
    )


@given(st.integers(0, 2**20), st.floats(0.01, 100))
def test_holding_the_norm_scales_all_weights_by_one_factor(seed: int, length: float) -> None:
    params = draw(seed, torch.float64)
    held = hold_norm(params, length)
    assert_close(flat(held).norm().item(), length)
    assert_close(flat(held) / flat(params), torch.full_like(flat(params), length / flat(params).norm().item()))


def test_holding_the_norm_gives_plain_tensors_and_leaves_the_parameters_alone() -> None:
    params = {name: p.requires_grad_() for name, p in draw(0).items()}
    held = hold_norm(params, 1.0)
    assert not any(p.requires_grad for p in held.values())
    assert_same({name: p.detach() for name, p in params.items()}, draw(0), rtol=0.0, atol=0.0)


@each_kind
@pytest.mark.parametrize("window", [1, 4])
def test_grokfast_is_the_authors_code(kind: str, window: int) -> None:
    config = RegularizationConfig(grokfast=kind, grokfast_decay=0.7, grokfast_window=window, grokfast_gain=3.0)
    grokfast, gradients = Grokfast(config), [draw(seed, torch.float64) for seed in range(11)]
    found = [grokfast(grads) for grads in gradients]
    for name in SHAPES:
        wanted = plain_grokfast(config, [grads[name] for grads in gradients])
        for step, tensor in enumerate(wanted):
            assert_close(found[step][name], tensor, rtol=0, atol=1e-14)


def test_the_exponential_mean_has_the_bits_of_the_authors_code() -> None:
    config = RegularizationConfig(grokfast="ema")
    grokfast, gradients = Grokfast(config), [draw(seed) for seed in range(5)]
    found = [grokfast(grads)["embed.W_E"] for grads in gradients]
    wanted = plain_grokfast(config, [grads["embed.W_E"] for grads in gradients])
    assert all(map(torch.equal, found, wanted))


@each_kind
def test_a_constant_gradient_is_amplified_by_one_plus_the_gain(kind: str) -> None:
    grokfast = Grokfast(RegularizationConfig(grokfast=kind, grokfast_window=3, grokfast_gain=4.0))
    scales = [(grokfast(draw(0))["embed.W_E"] / draw(0)["embed.W_E"]).mean().item() for _ in range(5)]
    # The window has nothing to say until it is full.
    assert scales == pytest.approx([5.0] * 5 if kind == "ema" else [1.0, 1.0, 5.0, 5.0, 5.0])


@each_kind
def test_grokfast_leaves_what_it_was_given_alone(kind: str) -> None:
    grokfast, grads = Grokfast(RegularizationConfig(grokfast=kind, grokfast_window=1)), draw(0)
    amplified = grokfast(grads)
    assert_same(grads, draw(0), rtol=0.0, atol=0.0)
    for grad in grads.values():
        grad.zero_()
    again = grokfast(draw(0))
    assert_same(amplified, again)


@each_kind
@pytest.mark.parametrize("updates", [2, 9])
def test_grokfast_goes_on_to_the_same_bits_from_a_file(kind: str, updates: int, tmp_path: Path) -> None:
    config = RegularizationConfig(grokfast=kind, grokfast_window=4)
    grokfast, resumed = Grokfast(config), Grokfast(config)
    for seed in range(updates):
        grokfast(draw(seed))
    # Beside the state of an optimizer, as a run keeps it.
    state = {name: entry | {"exp_avg": torch.ones(SHAPES[name])} for name, entry in grokfast.state().items()}
    generator = torch.Generator().get_state()
    point = ResumePoint(epoch=updates, step=updates, seconds=0.0, generator=generator, optimizer=state)
    write_resume(Layout(tmp_path).resume, point)
    resumed.load(read_resume(Layout(tmp_path), SHAPES).optimizer)
    for seed in range(updates, updates + 7):
        assert_same(resumed(draw(seed)), grokfast(draw(seed)), rtol=0.0, atol=0.0)


@each_kind
def test_a_state_from_a_file_goes_where_the_gradients_are(kind: str) -> None:
    config = RegularizationConfig(grokfast=kind, grokfast_window=2)
    before, elsewhere = Grokfast(config), Grokfast(config)
    before(draw(0))
    elsewhere.load(before.state())
    amplified = elsewhere({name: grad.to("meta") for name, grad in draw(1).items()})
    assert {grad.device.type for grad in amplified.values()} == {"meta"}


@each_kind
def test_a_state_is_a_copy(kind: str) -> None:
    grokfast = Grokfast(RegularizationConfig(grokfast=kind, grokfast_window=2))
    assert grokfast.state() == {}
    grokfast(draw(0))
    state = grokfast.state()
    before = copy.deepcopy(state)
    grokfast(draw(1))
    grokfast.load(state)
    grokfast(draw(1))
    assert list(state) == list(SHAPES)
    for name, entry in before.items():
        assert all(torch.equal(state[name][key], value) for key, value in entry.items())


@each_kind
def test_without_a_state_of_its_own_grokfast_begins_anew(kind: str) -> None:
    config, other = (
        RegularizationConfig(grokfast=kind, grokfast_window=2),
        RegularizationConfig(grokfast=KINDS[kind == "ema"]),
    )
    used, fresh, elsewhere = Grokfast(config), Grokfast(config), Grokfast(other)
    for seed in range(3):
        used(draw(seed))
        elsewhere(draw(seed))
    for state in ({}, elsewhere.state(), {"embed.W_E": {"exp_avg": torch.ones(5, 4)}}):
        used.load(state)
        fresh.load({})
        assert_same(used(draw(7)), fresh(draw(7)), rtol=0.0, atol=0.0)


def test_a_window_of_another_length_is_refused() -> None:
    used = Grokfast(RegularizationConfig(grokfast="ma", grokfast_window=3))
    used(draw(0))
    with pytest.raises(ValueError, match=r"grokfast_window must match the saved optimizer state, 3, got 5"):
        Grokfast(RegularizationConfig(grokfast="ma", grokfast_window=5)).load(used.state())


def test_filters_come_in_the_order_of_the_config() -> None:
    config = RegularizationConfig(orthogonal_gradient=True, grokfast="ema", grokfast_gain=5.0, clip_norm=0.5)
    grokfast, alone, params = Grokfast(config), Grokfast(config), draw(9)
    for seed in range(3):
        found = process_gradients(draw(seed), params, config, grokfast)
        wanted = clip(alone(orthogonal(draw(seed), params)), 0.5)
        assert_same(found, wanted, rtol=0.0, atol=0.0)
    # Another order is another gradient: this one would be longer than the clip.
    assert flat(alone(clip(orthogonal(draw(3), params), 0.5))).norm() > 0.6 > flat(found).norm()


@pytest.mark.parametrize(
    "changes",
    [
        {"orthogonal_gradient": True},
        {"clip_norm": 1.0},
        {"grokfast": "ema"},
        {"grokfast": "ema", "grokfast_decay": 0.5},
        {"grokfast": "ema", "grokfast_gain": 3.0},
        {"grokfast": "ma", "grokfast_window": 2},
        {"grokfast": "ma", "grokfast_window": 3},
    ],
)
def test_each_option_changes_the_gradient_in_its_own_way(changes: dict[str, object]) -> None:
    def gradient(**options: object) -> Tensor:
        config = RegularizationConfig(**options)
        grokfast = Grokfast(config) if config.grokfast != "none" else None
        return [flat(process_gradients(draw(seed), draw(9), config, grokfast)) for seed in range(3)][-1]

    others = [gradient(), gradient(grokfast="ema"), gradient(grokfast="ma", grokfast_window=2)]
    same = [other for other in others if torch.equal(gradient(**changes), other)]
    assert len(same) == (changes in ({"grokfast": "ema"}, {"grokfast": "ma", "grokfast_window": 2}))


def test_without_options_gradients_are_the_very_same() -> None:
    grads = draw(0)
    assert process_gradients(grads, draw(1), RegularizationConfig(), None) is grads


def test_filters_run_under_vmap_over_runs() -> None:
    config = RegularizationConfig(orthogonal_gradient=True, clip_norm=0.5)
    stacked = [{name: torch.stack([draw(i)[name], draw(j)[name]]) for name in SHAPES} for i, j in ((0, 1), (2, 3))]

    def both(grads: Params, params: Params) -> tuple[Params, Params]:
        return process_gradients(grads, params, config, None), hold_norm(params, 3.0)

    grads, held = torch.func.vmap(both)(*stacked)
    for run in range(2):
        of_run = {name: grad[run] for name, grad in grads.items()}
        assert_same(of_run, process_gradients(draw(run), draw(run + 2), config, None))
        assert_same({name: p[run] for name, p in held.items()}, hold_norm(draw(run + 2), 3.0))


@each_kind
def test_grokfast_of_stacked_runs_is_that_of_each(kind: str) -> None:
    config = RegularizationConfig(grokfast=kind, grokfast_window=2)
    together, apart = Grokfast(config), [Grokfast(config) for _ in range(2)]
    for seed in range(4):
        runs = [draw(2 * seed + run) for run in range(2)]
        found = together({name: torch.stack([grads[name] for grads in runs]) for name in SHAPES})
        for run, (grokfast, grads) in enumerate(zip(apart, runs, strict=True)):
            assert_same({name: grad[run] for name, grad in found.items()}, grokfast(grads))
