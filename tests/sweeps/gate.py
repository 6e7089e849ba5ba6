"""A gate that holds the runs of a sweep at one epoch until a test opens it, so that no test races a run."""

import time
from pathlib import Path
from typing import Any
from unittest import mock

from grokinterp.sweeps import executors
from grokinterp.training.trainer import Trainer
from sweeps.disk import wait_for


HELD_AT = 120


def gated_train_one(config: dict[str, Any], path: str, stop: str, module: str) -> str:
    """`train_one` with a run that waits at epoch 120 until the gate is open; runs with seed 0 pass.

    In place of `train_one` in `sweeps.scheduler`, from where it goes to the workers by name.
    """
    advance = Trainer.advance
    here = _gates(Path(path).parent)

    def held(trainer: Trainer) -> None:
        if trainer.epoch == HELD_AT and config["seed"] != 0:
            here.mkdir(exist_ok=True)
            (here / f"seed={config['seed']}").touch()
            while not (here / "open").exists():
                time.sleep(0.01)
        advance(trainer)

    # Checks for the stop file at every epoch, so that the run cannot end between two checks.
    with mock.patch.object(Trainer, "advance", held), mock.patch.object(executors, "_CHECK_EVERY", -1.0):
        return executors.train_one(config, path, stop, module)


def wait_for_held(root: Path, count: int) -> None:
    """Wait until `count` runs are at the gate, where they write nothing."""
    wait_for(f"{count} runs", lambda: len([*_gates(root).glob("seed=*")]) == count)


def open_gate(root: Path) -> None:
    """Let the runs below a sweep's root continue."""
    _gates(root).mkdir(exist_ok=True)
    (_gates(root) / "open").touch()


def is_open(root: Path) -> bool:
    """Whether the gate is open."""
    return (_gates(root) / "open").exists()


def _gates(root: Path) -> Path:
    return root.parent / "gate"
