"""Schedules are torch's, update by update; the state of a plateau survives JSON."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from grokinterp.config import Schedule
from grokinterp.training.schedules import Plateau, factor


BASE = 0.02
FALLING_FACTORS = st.floats(0.0, 0.99)


def torch_optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE)


def factors_of(build: Callable[[torch.optim.Optimizer], Any], updates: int) -> list[float]:
    """The factors that one of torch's schedulers has at each update."""
    optimizer = torch_optimizer()
    scheduler, found = build(optimizer), []
    for _ in range(updates):
        found.append(optimizer.param_groups[0]["lr"] / BASE)
        optimizer.step()
        scheduler.step()
    return found


def ours(schedule: Schedule, updates: int) -> list[float]:
    return [factor(schedule, step, None) for step in range(updates)]


def plateau_factors(schedule: Schedule, losses: list[float], plateau: Plateau | None = None) -> list[float]:
    plateau, found = plateau or Plateau(schedule), []
    for step, loss in enumerate(losses):
        found.append(factor(schedule, step, plateau))
        plateau.update(loss)
    return [*found, plateau.factor]


def torchs_plateau_factors(schedule: Schedule, losses: list[float]) -> list[float]:
    optimizer = torch_optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="min",
        factor=schedule.factor,
        patience=schedule.steps,
        threshold=1e-4,
        threshold_mode="rel",
        min_lr=BASE * schedule.limit,
        eps=0.0,
    )
    found = []
    for loss in losses:
        found.append(optimizer.param_groups[0]["lr"] / BASE)
        scheduler.step(loss)
    return [*found, optimizer.param_groups[0]["lr"] / BASE]


def test_a_constant_schedule_changes_nothing() -> None:
    assert ours(Schedule(), 5000) == [1.0] * 5000


@given(st.integers(1, 30), st.floats(0.0, 1.0))
def test_linear_is_torchs(steps: int, end: float) -> None:
    wanted = factors_of(lambda o: lr_scheduler.LinearLR(o, 1.0, end, total_iters=steps), 50)
    assert ours(Schedule(kind="linear", steps=steps, factor=end), 50) == pytest.approx(wanted, abs=1e-9)


@given(st.integers(1, 30), st.floats(0.0, 1.0))
def test_cosine_is_torchs_down_to_its_minimum_and_stays_there(steps: int, end: float) -> None:
    wanted = factors_of(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=steps, eta_min=BASE * end), steps + 1)
    found = ours(Schedule(kind="cosine", steps=steps, factor=end), steps + 40)
    assert found == pytest.approx(wanted + [end] * 39, abs=1e-9)


@given(st.integers(1, 30), st.floats(0.0, 1.0))
def test_cyclic_is_torchs_triangle(steps: int, low: float) -> None:
    wanted = factors_of(
        lambda o: lr_scheduler.CyclicLR(
            o, BASE * low, BASE, step_size_up=steps, mode="triangular", cycle_momentum=False
        ),
        100,
    )
    assert ours(Schedule(kind="cyclic", steps=steps, factor=low), 100) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "cyclic"])
@pytest.mark.parametrize("end", [0.1, 10.0])
def test_a_schedule_as_a_function_makes_torchs_lambda_schedule(kind: str, end: float) -> None:
    schedule = Schedule(kind=kind, steps=7, factor=end)
    assert factors_of(lambda o: lr_scheduler.LambdaLR(o, schedule.at), 30) == pytest.approx(ours(schedule, 30))


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("linear", [1.0, 3.0, 5.0, 7.0, 9.0, 9.0, 9.0]),
        ("cosine", [1.0, 5 - 4 * math.sqrt(0.5), 5.0, 5 + 4 * math.sqrt(0.5), 9.0, 9.0, 9.0]),
        ("cyclic", [9.0, 7.0, 5.0, 3.0, 1.0, 3.0, 5.0]),
    ],
)
def test_a_factor_above_one_grows(kind: str, wanted: list[float]) -> None:
    # Torch has no name for it, but a weight decay or a batch may grow.
    assert ours(Schedule(kind=kind, steps=4, factor=9.0), 7) == pytest.approx(wanted)


@given(
    st.integers(1, 5),
    FALLING_FACTORS,
    st.floats(0.0, 1.0),
    st.lists(st.sampled_from([5.0, 4.0, 3.9997, 3.9995, 3.0, 0.0, math.nan, math.inf]), max_size=40),
)
def test_a_plateau_is_torchs(steps: int, times: float, limit: float, losses: list[float]) -> None:
    schedule = Schedule(kind="plateau", steps=steps, factor=times, limit=limit)
    wanted = torchs_plateau_factors(schedule, losses)
    assert plateau_factors(schedule, losses) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@given(st.integers(0, 2**20), st.integers(1, 5), FALLING_FACTORS)
def test_a_plateau_is_torchs_on_noisy_losses(seed: int, steps: int, times: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    losses = (torch.linspace(3, 1, 60) + 0.3 * torch.randn(60, generator=generator)).tolist()
    schedule = Schedule(kind="plateau", steps=steps, factor=times, limit=0.01)
    assert plateau_factors(schedule, losses) == pytest.approx(torchs_plateau_factors(schedule, losses), rel=1e-9)


def test_a_plateau_falls_after_more_than_its_steps_without_a_new_low() -> None:
    schedule = Schedule(kind="plateau", steps=3, factor=0.5, limit=0.2)
    # A part in ten thousand less is no new low.
    losses = [2.0, 2.0, 1.9999, 2.5, 2.0, *[3.0] * 12]
    wanted = [1.0] * 5 + [0.5] * 4 + [0.25] * 4 + [0.2] * 5
    assert plateau_factors(schedule, losses) == pytest.approx(wanted)
    # One that is one begins the wait anew.
    losses[3] = 1.9
    assert plateau_factors(schedule, losses)[:9] == pytest.approx([1.0] * 8 + [0.5])


def test_a_plateau_may_grow_up_to_its_limit() -> None:
    schedule = Schedule(kind="plateau", steps=1, factor=2.0, limit=3.0)
    assert plateau_factors(schedule, [1.0] * 7) == [1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0]


@given(st.integers(0, 30))
def test_a_plateau_goes_on_from_json(updates: int) -> None:
    losses = [1.0, *torch.rand(29, generator=torch.Generator().manual_seed(0)).tolist()]
    schedule = Schedule(kind="plateau", steps=2, factor=0.7)
    plateau, again = Plateau(schedule), Plateau(schedule)
    for loss in losses[:updates]:
        plateau.update(loss)
    text = json.dumps(plateau.state(), allow_nan=False)
    again.load(json.loads(text))
    assert again.state() == plateau.state()
    whole = plateau_factors(schedule, losses)
    assert len(set(whole)) > 3
    assert plateau_factors(schedule, losses[updates:], again) == whole[updates:]


def test_only_a_plateau_looks_at_the_losses() -> None:
    low = Plateau(Schedule(kind="plateau"))
    low.load({"factor": 0.25, "lowest": 1.0, "waited": 0})
    assert factor(Schedule(kind="plateau"), 7, low) == 0.25
    assert factor(Schedule(kind="linear", steps=10, factor=0.0), 5, low) == 0.5
    with pytest.raises(ValueError, match=r"with kind='plateau' depends on the loss history; pass a Plateau tracker"):
        factor(Schedule(kind="plateau"), 7, None)
