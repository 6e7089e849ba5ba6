"""A run that was killed, at whatever moment, ends as one that was not."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import grokinterp as gi
from grokinterp.config import RunConfig, to_dict
from grokinterp.runs.cache import CachedMeasure
from grokinterp.runs.layout import Layout
from grokinterp.runs.run import load_run
from grokinterp.training.loop import train


pytestmark = pytest.mark.exhaustive


# Trains with monitors, and kills itself when it has trained for some epochs: python -c ... CONFIG RUN EPOCH
MONITORED = """
import json, os, signal, sys
from pathlib import Path
import torch
import grokinterp as gi
from grokinterp.config import from_dict
from grokinterp.training.trainer import Trainer

torch.set_num_threads(1)
config, run, last = sys.argv[1:]
advance = Trainer.advance

def advance_or_die(trainer):
    if trainer.epoch == int(last):
        os.kill(os.getpid(), signal.SIGKILL)
    advance(trainer)

Trainer.advance = advance_or_die
config = from_dict(gi.RunConfig, json.loads(Path(config).read_text()))
gi.train(config, run, monitors=[gi.progress.losses, gi.progress.weight_norm], progress=False)
"""
PROCESS = Path(__file__).with_name("trainer_process.py")


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the library may catch it."""


@pytest.mark.parametrize("batch_size", [None, 8])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks trainers, which only POSIX systems can")
def test_sigkill_at_random_moments_changes_no_bit(
    tiny: RunConfig, batch_size: int | None, tmp_path: Path, contents: Callable[[Path], dict[str, Any]]
) -> None:
    # Many checkpoints and an entry for each epoch, so that many kills come while a file is written.
    optim = dataclasses.replace(tiny.optim, batch_size=batch_size)
    config = dataclasses.replace(tiny, optim=optim, epochs=200, log_every=1, checkpoint_every=4)
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    command = [sys.executable, PROCESS, tmp_path / "config.json", tmp_path / "disturbed", "0", "14"]
    killed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    undisturbed = train(config, tmp_path / "undisturbed", progress=False)

    assert int(killed) == 14
    assert contents(tmp_path / "disturbed") == contents(undisturbed.path)


@pytest.mark.parametrize("place", ["before the flush", "after the renaming"])
def test_killed_at_every_write_in_turn(
    tiny: RunConfig,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contents: Callable[[Path], dict[str, Any]],
) -> None:
    config = dataclasses.replace(tiny, epochs=4, log_every=2, checkpoint_every=3)
    undisturbed = contents(train(config, tmp_path / "undisturbed", progress=False).path)
    moments = 0
    while _is_killed_at(moments, place, config, tmp_path / f"{moments}", monkeypatch):
        run = train(config, tmp_path / f"{moments}", progress=False)
        assert contents(run.path) == undisturbed, f"killed at write {moments}"
        moments += 1
    # Three files at the start, two for each of five checkpoints.
    assert moments >= 13


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="only POSIX systems have SIGKILL")
def test_monitors_of_a_killed_run_are_those_of_an_undisturbed_one(tiny: RunConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, log_every=1)
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    for epoch in (7, 17, 17):
        command = [sys.executable, "-c", MONITORED, tmp_path / "config.json", tmp_path / "disturbed", str(epoch)]
        assert subprocess.run(command, check=False, timeout=300).returncode == -signal.SIGKILL
    monitors = [gi.progress.losses, gi.progress.weight_norm]
    disturbed = train(config, tmp_path / "disturbed", monitors=monitors, progress=False)
    undisturbed = train(config, tmp_path / "undisturbed", monitors=monitors, progress=False)

    found = gi.trajectory(disturbed, monitors, progress=False)
    assert found.epoch.values.tolist() == [*range(25)]
    xr.testing.assert_equal(found, gi.trajectory(undisturbed, monitors, progress=False))
    xr.testing.assert_equal(found, gi.trajectory(disturbed, monitors, epochs=range(25), progress=False))
    for file in ("loss.nc", "weight_norm.nc"):
        one, other = (run.layout.analysis / file for run in (disturbed, undisturbed))
        assert one.read_bytes() == other.read_bytes()


def test_monitors_are_whole_wherever_a_run_is_killed(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(tiny, epochs=6, log_every=1, checkpoint_every=3)
    monitors = [gi.progress.losses]
    expected = gi.trajectory(train(config, tmp_path / "whole", monitors=monitors, progress=False), monitors)
    moments = 0
    while _is_killed_at(moments, "after the renaming", config, tmp_path / f"{moments}", monkeypatch, monitors):
        run = train(config, tmp_path / f"{moments}", monitors=monitors, progress=False)
        xr.testing.assert_equal(gi.trajectory(run, monitors, progress=False), expected)
        moments += 1
    assert moments >= 14


def _is_killed_at(
    moment: int,
    place: str,
    config: RunConfig,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    monitors: Sequence[gi.Measure] = (),
) -> bool:
    """Train until the given write, counted from 0; False where there are not so many."""
    calls = iter(range(1_000_000))
    owner, name = (os, "fsync") if place == "before the flush" else (Path, "replace")
    real, save, is_dead = getattr(owner, name), CachedMeasure.save, False

    def dying(*args: Any) -> Any:
        nonlocal is_dead
        is_dead = is_dead or next(calls) == moment
        if is_dead and place != "after the renaming":
            raise Killed
        result = real(*args)
        if is_dead:
            raise Killed
        return result

    def unless_dead(measure: CachedMeasure) -> None:
        """Which the `finally` of a process that is killed for real does not come to."""
        if not is_dead:
            save(measure)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        patch.setattr(CachedMeasure, "save", unless_dead)
        try:
            train(config, path, monitors=monitors, progress=False)
        except Killed:
            return True
    return False


def test_a_checkpoint_without_its_resume_file_is_made_again(
    tiny: RunConfig, tmp_path: Path, contents: Callable[[Path], dict[str, Any]]
) -> None:
    undisturbed = train(tiny, tmp_path / "undisturbed", progress=False)
    layout = Layout(tmp_path / "disturbed")
    train(dataclasses.replace(tiny, epochs=8), layout.root, progress=False)
    resume_at_8 = layout.resume.read_bytes()
    train(dataclasses.replace(tiny, epochs=16), layout.root, progress=False)
    # The disk as it is when the process dies after checkpoint 16 and before its resume file.
    layout.resume.write_bytes(resume_at_8)
    layout.finished.unlink()

    assert max(layout.checkpoint_epochs()) == 16
    assert contents(train(tiny, layout.root, progress=False).path) == contents(undisturbed.path)


def test_a_run_killed_before_its_first_resume_file_begins_again(
    tiny: RunConfig, tmp_path: Path, contents: Callable[[Path], dict[str, Any]]
) -> None:
    undisturbed = train(tiny, tmp_path / "undisturbed", progress=False)
    layout = Layout(tmp_path / "disturbed")
    train(dataclasses.replace(tiny, epochs=1), layout.root, progress=False)
    for path in (layout.checkpoint(1), layout.resume, layout.finished):
        path.unlink()
    layout.metrics.write_text(layout.metrics.read_text().splitlines(keepends=True)[0])

    assert contents(train(tiny, layout.root, progress=False).path) == contents(undisturbed.path)


def test_a_half_written_line_of_metrics_is_written_again(
    tiny: RunConfig, tmp_path: Path, contents: Callable[[Path], dict[str, Any]]
) -> None:
    undisturbed = train(tiny, tmp_path / "undisturbed", progress=False)
    layout = Layout(tmp_path / "disturbed")
    train(dataclasses.replace(tiny, epochs=8), layout.root, progress=False)
    with layout.metrics.open("a") as file:
        file.write('{"epoch": 9, "loss": {"tr')

    assert len(load_run(layout.root).metrics.epoch) == 4
    assert contents(train(tiny, layout.root, progress=False).path) == contents(undisturbed.path)


def test_what_a_killed_trainer_was_writing_is_removed(tiny: RunConfig, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    train(dataclasses.replace(tiny, epochs=8), tmp_path, progress=False)
    left = [
        layout.checkpoints / ".0000016.safetensors.0123456789abcdef.tmp",
        tmp_path / ".resume.safetensors.0123456789abcdef.tmp",
    ]
    others = [tmp_path / ".report.html.0123456789abcdef.tmp", tmp_path / "notes.tmp", layout.checkpoints / ".notes.tmp"]
    for path in left + others:
        path.write_bytes(b"half")
    train(tiny, tmp_path, progress=False)

    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)
