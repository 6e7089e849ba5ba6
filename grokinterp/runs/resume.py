"""What a run needs to resume besides its parameters: the states of the optimizer, the schedules and the generator."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from grokinterp.arguments import integer, number
from grokinterp.models.architecture import Shapes
from grokinterp.runs.layout import Layout, RunError, valid_content
from grokinterp.runs.tensors import read_tensors, write_tensors


OptimizerState = dict[str, dict[str, Tensor]]
# Scalar entries of an optimizer's state. All others have the shape and dtype of their parameter.
_SCALARS: Final = {"step": torch.float32, "grokfast_updates": torch.int64}
_MOMENTS: Final = ("exp_avg", "exp_avg_sq", "momentum_buffer", "grokfast_mean", "grokfast_window")
_MAX_COUNT: Final = 2**53  # float64 is exact for integers up to here


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """The state of training at a checkpoint.

    Attributes:
        epoch: Epoch of the checkpoint with the parameters.
        step: Number of updates so far.
        seconds: Training time so far.
        generator: State of the generator that shuffles the batches.
        optimizer: State of the optimizer and the gradient filter, by parameter and entry; empty before the first
            update.
        schedules: State of the schedules that depend on the loss history: JSON values by name.
    """

    epoch: int
    step: int
    seconds: float
    generator: Tensor
    optimizer: OptimizerState
    schedules: dict[str, Any] = field(default_factory=dict)


def write_resume(path: Path, point: ResumePoint) -> None:
    """Write a resume point as one file, since two files cannot be replaced atomically."""
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
    """The resume point that a fork started from; None if the run is not a fork. Raises as `read_resume`."""
    return _read(layout.start, like) if layout.start.exists() else None


def read_resume(layout: Layout, like: Shapes) -> ResumePoint | None:
    """The last resume point; None before the first checkpoint.

    Args:
        layout: Paths of the run directory.
        like: Shape of each model parameter by name.

    Raises:
        RunError: If the file is damaged, belongs to a different model, or is missing although later checkpoints exist.
    """
    if not layout.resume.exists():
        # A run killed right after the checkpoint of epoch 0 restarts; with later checkpoints, restarting loses them.
        if any(layout.checkpoint_epochs()):
            msg = f"{layout.root} lacks {layout.resume.name}, which resuming requires; choose a different directory."
            raise RunError(msg)
        return None
    return _read(layout.resume, like)


def _read(path: Path, like: Shapes) -> ResumePoint:
    tensors, about = read_tensors(path)
    optimizer: OptimizerState = {}
    with valid_content(path, "the state to resume from"):
        for key, tensor in tensors.items():
            name, _, entry = key.rpartition("/")
            _check_entry(name, entry, tensor, like)
            optimizer.setdefault(name, {})[entry] = tensor
        schedules = dict(about.get("schedules", {}))
        for name, state in schedules.items():
            number(state["factor"], f"{name}.factor", minimum=0)
            integer(state["waited"], f"{name}.waited", minimum=0)
            if state["lowest"] is not None:
                number(state["lowest"], f"{name}.lowest")
        return ResumePoint(
            epoch=integer(about["epoch"], "epoch", minimum=0, maximum=_MAX_COUNT),
            step=integer(about["step"], "step", minimum=0, maximum=_MAX_COUNT),
            seconds=number(about["seconds"], "seconds", minimum=0),
            generator=_generator(about["generator"]),
            optimizer=optimizer,
            schedules=schedules,
        )


def _check_entry(name: str, entry: str, tensor: Tensor, like: Shapes) -> None:
    """Raise a ValueError for an invalid optimizer state: torch writes out of bounds if a moment's shape is wrong."""
    what = f"{name}/{entry}" if name else entry
    if name not in like:
        msg = f"the model has no parameter {name!r}"
        raise ValueError(msg)
    if entry not in (*_SCALARS, *_MOMENTS):
        msg = f"{what} is not an entry of an optimizer's state"
        raise ValueError(msg)
    shape = () if entry in _SCALARS else like[name]
    if entry == "grokfast_window":
        shape = (*tensor.shape[:1], *shape)
    dtype = _SCALARS.get(entry, torch.float32)
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        msg = f"{what} must be {dtype} of shape {shape}, got {tensor.dtype} of shape {tuple(tensor.shape)}"
        raise ValueError(msg)
    is_signed = entry not in (*_SCALARS, "exp_avg_sq")
    if not bool((tensor.isfinite() & (is_signed | (tensor >= 0))).all()):
        msg = f"{what} must be finite{'' if is_signed else ' and not negative'}"
        raise ValueError(msg)


def _generator(state: Any) -> Tensor:
    try:
        read = torch.tensor(list(bytes(list(state))), dtype=torch.uint8)
        torch.Generator().set_state(read)
    except (TypeError, ValueError, RuntimeError):
        msg = "generator must be the bytes of a torch.Generator's state"
        raise ValueError(msg) from None
    return read
