"""The optimizers: torch's to the bit where they are torch's, and the formulas written out where they are more."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from grokinterp.config import OptimConfig
from grokinterp.models.architecture import Params
from grokinterp.runs.layout import Layout
from grokinterp.runs.resume import ResumePoint, read_resume, write_resume
from grokinterp.training.optimizers import Optimizer


SHAPES = {
    "embed.W_E": (5, 4),
    "blocks.0.attn.W_Q": (2, 4, 3),
    "blocks.0.mlp.W_in": (4, 9),
    "blocks.0.mlp.b_in": (9,),
    "blocks.0.mlp.W_square": (4, 4),
    "unembed.W_U": (4, 5),
}
MATRICES = [name for name in SHAPES if name.startswith("blocks.") and ".W_" in name]
NAMES = ["AdamW", "SGD", "Muon"]
each_name = pytest.mark.parametrize("name", NAMES)


def draw(seed: int, dtype: torch.dtype = torch.float32) -> Params:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in SHAPES.items()}


def leaves(params: Params) -> Params:
    return {name: p.clone().requires_grad_() for name, p in params.items()}


def gradients(step: int, dtype: torch.dtype = torch.float32) -> Params:
    return draw(1000 + step, dtype)


def factors(step: int) -> tuple[float, float]:
    """A warm-up and a decay that grows."""
    return min(step / 3, 1.0), 1 + step / 10


def update(optimizer: Optimizer, params: Params, steps: Iterator[int] | range) -> None:
    for step in steps:
        optimizer.zero_grad()
        for name, grad in gradients(step, params["embed.W_E"].dtype).items():
            params[name].grad = grad
        optimizer.set_rates(*factors(step))
        optimizer.step()


def trained(config: OptimConfig, steps: int = 6, **options: object) -> Params:
    """What some updates make of the parameters of seed 0, beside initial ones of seed 1."""
    params = leaves(draw(0, torch.float64))
    update(Optimizer(params, config, initial=draw(1, torch.float64), **options), params, range(steps))
    return {name: p.detach() for name, p in params.items()}


def assert_same(found: Params, wanted: Params, **tolerances: float) -> None:
    assert found.keys() == wanted.keys()
    for name, p in found.items():
        assert_close(p, wanted[name], msg=lambda text, name=name: f"{name}: {text}", **tolerances)


def plain_adamw(p: Tensor, config: OptimConfig, name: str, lr: float, decay: float, origin: Tensor | float) -> Tensor:
    p, m, v = p.clone(), torch.zeros_like(p), torch.zeros_like(p)
    for step in range(6):
        g, (lr_factor, decay_factor) = gradients(step, p.dtype)[name], factors(step)
        m, v = (beta * x + (1 - beta) * y for beta, x, y in zip(config.betas, (m, v), (g, g * g), strict=True))
        m_hat, v_hat = (x / (1 - beta ** (step + 1)) for beta, x in zip(config.betas, (m, v), strict=True))
        p = p - lr * lr_factor * (m_hat / (v_hat.sqrt() + config.eps) + decay * decay_factor * (p - origin))
    return p


def plain_sgd(p: Tensor, config: OptimConfig, name: str, lr: float, decay: float, origin: Tensor | float) -> Tensor:
    p, buffer = p.clone(), torch.zeros_like(p)
    for step in range(6):
        lr_factor, decay_factor = factors(step)
        buffer = config.momentum * buffer + gradients(step, p.dtype)[name] + decay * decay_factor * (p - origin)
        p = p - lr * lr_factor * buffer
    return p


def orthogonalized(matrix: Tensor) -> Tensor:
    """Keller Jordan's quintic, in bfloat16."""
    x = matrix.bfloat16()
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T if len(x) <= len(x.T) else x.T @ x
        more = -4.7750 * gram + 2.0315 * gram @ gram
        x = 3.4445 * x + (more @ x if len(x) <= len(x.T) else x @ more)
    return x.to(matrix.dtype)


def plain_muon(p: Tensor, config: OptimConfig, name: str, lr: float, decay: float, origin: Tensor | float) -> Tensor:
    """Of one matrix [in, out], or of several, each by itself."""
    p, mean = p.clone(), torch.zeros_like(p)
    longer = math.sqrt(max(1, p.shape[-1] / p.shape[-2]))
    for step in range(6):
        g, (lr_factor, decay_factor) = gradients(step, p.dtype)[name], factors(step)
        mean = config.momentum * mean + (1 - config.momentum) * g
        nesterov = config.momentum * mean + (1 - config.momentum) * g
        matrices = [orthogonalized(x) for x in (nesterov if p.ndim == 3 else [nesterov])]
        o = torch.stack(matrices).reshape(p.shape)
        p = p - lr * lr_factor * (longer * o + decay * decay_factor * (p - origin))
    return p


def plain(config: OptimConfig, decays: Callable[[str], float]) -> Params:
    """Every parameter by the formula that is its own."""
    result = {}
    for name, p in draw(0, torch.float64).items():
        origin = draw(1, torch.float64)[name] if config.decay_toward == "initial" else 0.0
        if config.name == "Muon" and name in MATRICES:
            result[name] = plain_muon(p, config, name, config.muon_lr, decays(name), origin)
        else:
            rule = plain_sgd if config.name == "SGD" else plain_adamw
            result[name] = rule(p, config, name, config.lr, decays(name), origin)
    return result


def test_adamw_is_one_of_torchs_over_all_parameters_to_the_bit() -> None:
    config = OptimConfig(lr=1e-2, weight_decay=1.5, betas=(0.9, 0.98))
    ours, theirs = leaves(draw(0)), leaves(draw(0))
    optimizer = Optimizer(ours, config, initial=draw(1))
    wanted = torch.optim.AdamW(theirs.values(), lr=1e-2, betas=(0.9, 0.98), eps=1e-8, weight_decay=1.5, fused=True)
    for step in range(8):
        update(optimizer, ours, range(step, step + 1))
        for name, grad in gradients(step).items():
            theirs[name].grad = grad
        wanted.param_groups[0]["lr"], wanted.param_groups[0]["weight_decay"] = (
            rate * factor for rate, factor in zip((1e-2, 1.5), factors(step), strict=True)
        )
        wanted.step()
    assert all(torch.equal(ours[name], theirs[name]) for name in SHAPES)
    kept = wanted.state_dict()["state"]
    for name, (i, entry) in zip(SHAPES, kept.items(), strict=True):
        assert optimizer.state()[name].keys() == entry.keys(), i
        assert all(torch.equal(optimizer.state()[name][key], value) for key, value in entry.items())


@each_name
@pytest.mark.parametrize("toward", ["zero", "initial"])
def test_updates_are_those_of_the_formula(name: str, toward: str) -> None:
    config = OptimConfig(name=name, lr=0.01, weight_decay=0.3, momentum=0.8, muon_lr=0.05, decay_toward=toward)
    # Muon works in bfloat16, in another order than the plain one.
    tolerance = {"rtol": 0.0, "atol": 1e-2} if name == "Muon" else {"rtol": 0.0, "atol": 1e-12}
    assert_same(trained(config), plain(config, lambda _: 0.3), **tolerance)


@each_name
def test_patterns_have_a_decay_of_their_own_and_the_first_that_fits_decides(name: str) -> None:
    decay_of = (("embed.*", 0.0), ("*.mlp.W_*", 2.0), ("*W_*", 0.7))
    config = OptimConfig(name=name, lr=0.01, weight_decay=0.3, momentum=0.8, muon_lr=0.05, decay_of=decay_of)
    decays = dict.fromkeys(SHAPES, 0.7) | {"embed.W_E": 0.0, "blocks.0.mlp.b_in": 0.3}
    decays |= {"blocks.0.mlp.W_in": 2.0, "blocks.0.mlp.W_square": 2.0}
    tolerance = {"rtol": 0.0, "atol": 1e-2} if name == "Muon" else {"rtol": 0.0, "atol": 1e-12}
    assert_same(trained(config), plain(config, decays.__getitem__), **tolerance)


def test_muon_makes_each_matrix_orthogonal_by_itself_and_as_long_as_its_shape_says() -> None:
    config = OptimConfig(name="Muon", muon_lr=1.0, weight_decay=0.0)
    params = leaves(draw(0, torch.float64))
    before = draw(0, torch.float64)
    optimizer = Optimizer(params, config, initial=before)
    grads = gradients(0, torch.float64)
    # One head's gradient is far larger, which must not drown the other's.
    grads["blocks.0.attn.W_Q"][0] *= 1e4
    for name, grad in grads.items():
        params[name].grad = grad
    optimizer.step()
    for name, wanted in {"blocks.0.attn.W_Q": 1.0, "blocks.0.mlp.W_in": 1.5, "blocks.0.mlp.W_square": 1.0}.items():
        lengths = torch.linalg.svdvals(before[name] - params[name].detach()) / wanted
        # torch's five steps of the quintic stop within this of 1, but for singular values that are next to nothing.
        assert lengths.max() < 1.3
        assert lengths.mean() > 0.6, name


@each_name
def test_at_the_initial_parameters_decay_toward_them_does_nothing(name: str) -> None:
    config = OptimConfig(name=name, lr=0.1, weight_decay=1.0, decay_toward="initial")
    start = draw(1)
    params = leaves(start)
    optimizer = Optimizer(params, config, initial=start)
    for p in params.values():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert_same(params, start, rtol=0.0, atol=1e-6)


def test_initial_parameters_are_those_that_were_handed_over() -> None:
    start = draw(1)
    params = leaves(draw(0))
    optimizer = Optimizer(params, OptimConfig(lr=0.5, weight_decay=1.0, decay_toward="initial"), initial=start)
    for p in start.values():
        p.zero_()
    for p in params.values():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    wanted = {name: (p + draw(0)[name]) / 2 for name, p in draw(1).items()}
    assert_same({name: p.detach() for name, p in params.items()}, wanted)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "SGD"},
        {"name": "Muon"},
        {"lr": 2e-3},
        {"weight_decay": 0.5},
        {"betas": (0.8, 0.98)},
        {"betas": (0.9, 0.9)},
        {"eps": 1e-2},
        {"decay_toward": "initial"},
        {"decay_of": (("embed.*", 0.0),)},
        {"name": "SGD", "momentum": 0.5},
        {"name": "Muon", "momentum": 0.5},
        {"name": "Muon", "muon_lr": 0.01},
    ],
)
def test_each_option_changes_the_update(changes: dict[str, object]) -> None:
    base = OptimConfig(name=changes.get("name", "AdamW")) if len(changes) > 1 else OptimConfig()
    found, others = trained(OptimConfig(**changes)), trained(base)
    assert any(not torch.equal(p, others[name]) for name, p in found.items())


@each_name
def test_frozen_parameters_stay_and_all_others_move_as_ever(name: str) -> None:
    config, frozen = OptimConfig(name=name), ("embed.*", "*.attn.*")
    found, others = trained(config, frozen=frozen), trained(config)
    before = draw(0, torch.float64)
    for parameter in SHAPES:
        is_frozen = parameter in ("embed.W_E", "blocks.0.attn.W_Q")
        assert torch.equal(found[parameter], before[parameter]) == is_frozen
        assert torch.equal(found[parameter], others[parameter]) != is_frozen


def test_a_frozen_parameter_keeps_a_gradient_of_its_own_and_loses_it_with_the_others() -> None:
    params = leaves(draw(0))
    params["unembed.W_U"].requires_grad_(False)
    optimizer = Optimizer(params, OptimConfig(), initial=draw(1), frozen=("embed.*", "unembed.*"))
    assert params["embed.W_E"].requires_grad
    assert not params["unembed.W_U"].requires_grad
    assert optimizer.names == tuple(name for name in SHAPES if name.startswith("blocks."))
    params["embed.W_E"].grad = torch.ones(5, 4)
    optimizer.step()
    assert "embed.W_E" not in optimizer.state()
    optimizer.zero_grad()
    assert params["embed.W_E"].grad is None


@each_name
@pytest.mark.parametrize("toward", ["zero", "initial"])
def test_gradients_are_left_as_they_were(name: str, toward: str) -> None:
    params, grads = leaves(draw(0)), gradients(0)
    optimizer = Optimizer(params, OptimConfig(name=name, decay_toward=toward), initial=draw(1))
    for parameter, grad in grads.items():
        params[parameter].grad = grad
    optimizer.step()
    assert all(params[parameter].grad is grad for parameter, grad in grads.items())
    assert all(torch.equal(grad, gradients(0)[parameter]) for parameter, grad in grads.items())


@each_name
def test_a_parameter_without_a_gradient_is_left_alone(name: str) -> None:
    params = leaves(draw(0))
    optimizer = Optimizer(params, OptimConfig(name=name, decay_toward="initial"), initial=draw(1))
    params["unembed.W_U"].grad = torch.ones(4, 5)
    optimizer.step()
    moved = [parameter for parameter, p in params.items() if not torch.equal(p, draw(0)[parameter])]
    assert moved == list(optimizer.state()) == ["unembed.W_U"]


@each_name
def test_rates_are_read_back_from_torch(name: str) -> None:
    config = OptimConfig(name=name, lr=0.5, weight_decay=0.25, muon_lr=0.7, decay_of=(("embed.*", 3.0),))
    params = leaves(draw(0))
    optimizer = Optimizer(params, config, initial=draw(1))
    assert (optimizer.learning_rate, optimizer.weight_decay) == (0.5, 0.25)
    update(optimizer, params, range(2, 3))
    assert (optimizer.learning_rate, optimizer.weight_decay) == (0.5 * (2 / 3), 0.25 * 1.2)
    optimizer.set_rates(0.0, 2.0)
    assert (optimizer.learning_rate, optimizer.weight_decay) == (0.0, 0.5)


@each_name
@pytest.mark.parametrize("toward", ["zero", "initial"])
def test_a_state_goes_on_to_the_same_bits_in_the_middle_of_updates(name: str, toward: str, tmp_path: Path) -> None:
    config = OptimConfig(name=name, decay_toward=toward, decay_of=(("*.mlp.*", 0.1),))
    whole = leaves(draw(0))
    optimizer = Optimizer(whole, config, initial=draw(1))
    update(optimizer, whole, range(5))
    generator = torch.Generator().get_state()
    point = ResumePoint(epoch=5, step=5, seconds=0.0, generator=generator, optimizer=optimizer.state())
    write_resume(Layout(tmp_path).resume, point)
    halfway = {parameter: p.detach().clone() for parameter, p in whole.items()}
    update(optimizer, whole, range(5, 10))

    again = leaves(halfway)
    resumed = Optimizer(again, config, initial=draw(1))
    resumed.load(read_resume(Layout(tmp_path), SHAPES).optimizer)
    update(resumed, again, range(5, 10))
    assert all(torch.equal(again[parameter], p) for parameter, p in whole.items())
    assert all(not torch.equal(again[parameter], p) for parameter, p in halfway.items())


@each_name
def test_a_state_is_by_name_shaped_as_the_parameters_and_a_copy(name: str) -> None:
    params = leaves(draw(0))
    optimizer = Optimizer(params, OptimConfig(name=name), initial=draw(1))
    assert optimizer.state() == {}
    update(optimizer, params, range(2))
    state = optimizer.state()
    assert list(state) == list(SHAPES)
    for parameter, entry in state.items():
        is_momentum = name == "SGD" or (name == "Muon" and parameter in MATRICES)
        assert set(entry) == ({"momentum_buffer"} if is_momentum else {"step", "exp_avg", "exp_avg_sq"})
        assert all(value.shape in (SHAPES[parameter], ()) for value in entry.values())
    before = {parameter: {key: value.clone() for key, value in entry.items()} for parameter, entry in state.items()}
    update(optimizer, params, range(2, 3))
    optimizer.load(state)
    update(optimizer, params, range(2, 3))
    for parameter, entry in before.items():
        assert all(torch.equal(state[parameter][key], value) for key, value in entry.items())


def test_what_others_remember_of_a_parameter_is_left_alone() -> None:
    params = leaves(draw(0))
    optimizer = Optimizer(params, OptimConfig(), initial=draw(1), frozen=("embed.*",))
    update(optimizer, params, range(2))
    state = {name: entry | {"grokfast_mean": torch.ones(7)} for name, entry in optimizer.state().items()}
    optimizer.load(state | {"embed.W_E": {"momentum_buffer": torch.ones(3)}})
    assert all(entry.keys() == {"step", "exp_avg", "exp_avg_sq"} for entry in optimizer.state().values())
    assert "embed.W_E" not in optimizer.state()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"W": {}}, r"belongs to a different model: 'W' is not one of embed\.W_E, "),
        (
            {"embed.W_E": {"momentum_buffer": torch.ones(5, 4)}},
            r"a different optimizer than AdamW: it lacks 'step'",
        ),
        (
            {"embed.W_E": {"step": torch.tensor(1.0), "exp_avg": torch.ones(5, 3), "exp_avg_sq": torch.ones(5, 3)}},
            r"'embed\.W_E' belongs to a different model: exp_avg is \(5, 3\), not \(5, 4\)",
        ),
    ],
)
def test_a_state_of_another_model_or_optimizer_is_refused(state: dict[str, Params], message: str) -> None:
    optimizer = Optimizer(leaves(draw(0)), OptimConfig(), initial=draw(1))
    with pytest.raises(ValueError, match=message):
        optimizer.load(state)


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"decay_of has the pattern 'W_E', which matches none of the .* embed\.W_E"):
        Optimizer(draw(0), OptimConfig(decay_of=(("W_E", 0.0),)), initial=draw(1))
    with pytest.raises(ValueError, match=r"frozen has the pattern 'blocks\.1\.\*', which matches none"):
        Optimizer(draw(0), OptimConfig(), initial=draw(1), frozen=("embed.*", "blocks.1.*"))


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"frozen must leave a parameter to update, but \('\*',\) matches all"):
        Optimizer(draw(0), OptimConfig(), initial=draw(1), frozen=("*",))
    with pytest.raises(ValueError, match=r"name='Muon' updates weight matrices .* use name='AdamW'"):
        Optimizer(draw(0), OptimConfig(name="Muon"), initial=draw(1), frozen=("blocks.*",))


def test_a_torch_without_muon_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ImportError, match=r"name='Muon' needs torch 2\.9 or later, which has torch\.optim\.Muon, got"):
        Optimizer(draw(0), OptimConfig(name="Muon"), initial=draw(1))


@pytest.mark.parametrize(("name", "key"), [("AdamW", "exp_avg_sq"), ("SGD", "momentum_buffer"), ("Muon", "exp_avg")])
def test_a_moment_that_is_a_single_number_is_refused(name: str, key: str) -> None:
    params = leaves(draw(0))
    optimizer = Optimizer(params, OptimConfig(name=name, momentum=0.9), initial=draw(1))
    update(optimizer, params, range(2))
    state = optimizer.state()
    parameter = next(parameter for parameter, entry in state.items() if key in entry)
    state[parameter][key] = torch.tensor(0.5)
    with pytest.raises(ValueError, match=rf"belongs to a different model: {key} is \(\), not \("):
        optimizer.load(state)
