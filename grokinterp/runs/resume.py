"""What a run needs besides its last parameters to be trained on: the states of the optimizer and the generator."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from grokinterp.arguments import integer, number, shown
from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.tensors import Shapes, read_tensors, write_tensors


OptimizerState = dict[str, dict[str, Tensor]]
# Entries of an optimizer's state that are single numbers. All others are shaped as the parameter and have its dtype.
_NUMBERS: Final = {"step": torch.float32, "grokfast_updates": torch.int64}
# What every number of a run that was counted is below, and float64 can tell from the next one.
_MOST: Final = 2**53
_MOMENTS: Final = ("exp_avg", "exp_avg_sq", "momentum_buffer", "grokfast_mean", "grokfast_window")


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """Where training stands at a checkpoint.

    Attributes:
        epoch: Of the checkpoint that holds the parameters.
        step: Updates so far.
        seconds: Time trained so far.
        generator: State of the generator that orders the batches.
        optimizer: State of the optimizer and of gradient filters, by parameter and by their own names; empty before
            the first update.
        schedules: State of those schedules that are no function of the update's number, JSON values by name.
    """

    epoch: int
    step: int
    seconds: float
    generator: Tensor
    optimizer: OptimizerState
    schedules: dict[str, Any] = field(default_factory=dict)


def write_resume(path: Path, point: ResumePoint) -> None:
    """Write the point as one file, since two cannot be renamed at once."""
    tensors = {f"{name}/{key}": value for name, entry in point.optimizer.items() for key, value in entry.items()}
    about = {
        "epoch": point.epoch,
        "step": point.step,
        "seconds": point.seconds,
        "generator": point.generator.tolist(),
        "schedules": point.schedules,
    }
    write_tensors(path, tensors, about)


def read_start(layout: Layout, like: Shapes) -> ResumePoint | None:
    """Where a fork began, or None for a run from initial parameters. As `read_resume`."""
    return _read(layout.start, like) if layout.start.exists() else None


def read_resume(layout: Layout, like: Shapes) -> ResumePoint | None:
    """Where training stands, or None before the first checkpoint.

    Args:
        layout: The run directory's.
        like: Shape of every parameter of the model, by name.

    Raises:
        RunError: If the file is broken or of another model, or missing although training went on.
    """
    if not layout.resume.exists():
        # Killed right after the checkpoint of epoch 0, a run begins again; with later ones, that would undo them.
        if any(layout.checkpoint_epochs()):
            msg = f"{layout.root} lacks the {layout.resume.name} that training goes on from; choose another directory."
            raise RunError(msg)
        return None
    return _read(layout.resume, like)


def _read(path: Path, like: Shapes) -> ResumePoint:
    tensors, about = read_tensors(path)
    optimizer: OptimizerState = {}
    try:
        for key, tensor in tensors.items():
            name, _, entry = key.rpartition("/")
            _check_entry(name, entry, tensor, like)
            optimizer.setdefault(name, {})[entry] = tensor
        return ResumePoint(
            epoch=integer(about["epoch"], "its epoch", minimum=0, maximum=_MOST),
            step=integer(about["step"], "its step", minimum=0, maximum=_MOST),
            seconds=number(about["seconds"], "its seconds", minimum=0),
            generator=_generator(about["generator"]),
            optimizer=optimizer,
            schedules=_schedules(about.get("schedules", {})),
        )
    except KeyError as error:
        msg = f"{path} must hold what training goes on from, but lacks {error}; restore it from a copy."
        raise RunError(msg) from None
    except ValueError as error:
        msg = f"{path} must hold what training goes on from, but {error} Restore it from a copy."
        raise RunError(msg) from None


def _check_entry(name: str, entry: str, tensor: Tensor, like: Shapes) -> None:
    """Torch trusts what it is given here: with a moment of another shape it would write beyond its memory.

    Raises:
        ValueError: If the tensor is not an entry of the state of a parameter.
    """
    what = f"its {name}/{entry}" if name else f"its {entry}"
    if name not in like:
        msg = f"it is of another model: it has a state of {name!r}."
        raise ValueError(msg)
    if entry not in (*_NUMBERS, *_MOMENTS):
        msg = f"{what} is nothing that an optimizer remembers."
        raise ValueError(msg)
    shape = () if entry in _NUMBERS else like[name]
    if entry == "grokfast_window":
        shape = (*tensor.shape[:1], *shape)
    dtype = _NUMBERS.get(entry, torch.float32)
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        msg = f"{what} must be {dtype} of shape {shape}, got {tensor.dtype} of shape {tuple(tensor.shape)}."
        raise ValueError(msg)
    is_signed = entry not in (*_NUMBERS, "exp_avg_sq")
    if not bool((tensor.isfinite() & (is_signed | (tensor >= 0))).all()):
        msg = f"{what} must be finite{'' if is_signed else ' and not negative'}."
        raise ValueError(msg)


def _schedules(states: Any) -> dict[str, Any]:
    """The states of plateaus, as `Plateau.state` gives them."""
    try:
        for state in dict(states).values():
            number(state["factor"], "factor", minimum=0)
            integer(state["waited"], "waited", minimum=0)
            if state["lowest"] is not None:
                number(state["lowest"], "lowest")
    except (KeyError, TypeError, ValueError):
        msg = f"its schedules must each have a factor, a lowest loss and updates waited, got {shown(states)}."
        raise ValueError(msg) from None
    return dict(states)


def _generator(state: object) -> Tensor:
    """The state of a generator from its bytes."""
    try:
        if not isinstance(state, list):
            raise TypeError
        found = torch.tensor(list(bytes(state)), dtype=torch.uint8)
        torch.Generator().set_state(found)
    except (TypeError, ValueError, RuntimeError):
        msg = "its generator must be the bytes of a torch.Generator's state."
        raise ValueError(msg) from None
    return found
