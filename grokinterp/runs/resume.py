"""What a run needs besides its last parameters to be trained on: the states of the optimizer and the generator."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.tensors import read_tensors, write_tensors


OptimizerState = dict[str, dict[str, Tensor]]


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


def read_start(layout: Layout) -> ResumePoint | None:
    """Where a fork began, or None for a run from initial parameters."""
    return _read(layout.start) if layout.start.exists() else None


def read_resume(layout: Layout) -> ResumePoint | None:
    """Where training stands, or None before the first checkpoint.

    Raises:
        RunError: If the file is broken, or missing although training went on.
    """
    if not layout.resume.exists():
        # Killed right after the checkpoint of epoch 0, a run begins again; with later ones, that would undo them.
        if any(layout.epochs()):
            msg = f"{layout.root} lacks the {layout.resume.name} that training goes on from; choose another directory."
            raise RunError(msg)
        return None
    return _read(layout.resume)


def _read(path: Path) -> ResumePoint:
    tensors, about = read_tensors(path)
    optimizer: OptimizerState = {}
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition("/")
        optimizer.setdefault(name, {})[entry] = tensor
    try:
        return ResumePoint(
            epoch=about["epoch"],
            step=about["step"],
            seconds=about["seconds"],
            generator=torch.tensor(about["generator"], dtype=torch.uint8),
            optimizer=optimizer,
            schedules=about.get("schedules", {}),
        )
    except KeyError as error:
        msg = f"{path} must hold what training goes on from, but lacks {error}; restore it from a copy."
        raise RunError(msg) from None
