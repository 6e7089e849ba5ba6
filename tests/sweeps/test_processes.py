"""Processes on this machine: killed, interrupted, and orphaned."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch

import grokinterp as gi
from grokinterp.config import RunConfig, to_dict
from grokinterp.models import architecture
from grokinterp.runs.layout import RunBusyError
from grokinterp.sweeps import processes, scheduler, sweep
from grokinterp.sweeps.executors import train_one
from grokinterp.training.loop import train
from sweeps.disk import at_work, saved, wait_for, written
from sweeps.gate import HELD_AT, gated_train_one, is_open, open_gate, wait_for_held


pytestmark = pytest.mark.exhaustive

TESTS = Path(__file__).parents[1]
SWEEPING = """
import json, sys
from pathlib import Path
import grokinterp as gi
from grokinterp.config import RunConfig, from_dict
from grokinterp.sweeps import scheduler
from sweeps.gate import gated_train_one
if __name__ == "__main__":
    scheduler.train_one = gated_train_one
    config = from_dict(RunConfig, json.loads(Path(sys.argv[1]).read_text()))
    gi.sweep(gi.grid(config, {"seed": [1, 2]}), sys.argv[2], 2, progress=False)
"""


def workers_of(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
def sweeping(long: RunConfig, tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A separate process that sweeps seeds 1 and 2 into tmp_path/sweep with two workers, held at the gate."""
    (tmp_path / "config.json").write_text(json.dumps(to_dict(long)))
    (tmp_path / "script.py").write_text(SWEEPING)
    command = [sys.executable, tmp_path / "script.py", tmp_path / "config.json", tmp_path / "sweep"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(gi.__file__).parents[1]), str(TESTS)])}
    # Tests running in the background ignore Ctrl-C, and their child processes would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        signal.signal(signal.SIGINT, before)
        yield process
        process.kill()


def test_a_worker_killed_in_mid_run_costs_nothing_that_was_saved(
    long: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "train_one", gated_train_one)
    configs = gi.grid(long, {"seed": [1, 2, 3]})
    root = tmp_path / "sweep"
    with ThreadPoolExecutor(1) as other:
        result = other.submit(sweep, configs, root, 2, progress=False)
        wait_for_held(root, 2)
        before = saved(root)
        workers_of(os.getpid())[0].kill()
        open_gate(root)
        done = result.result(timeout=300)
    assert len(done.runs) == 3
    assert not done.failed
    assert before.items() <= written(root).items()
    alone = train(configs[0], tmp_path / "alone", progress=False)
    assert all(torch.equal(done.runs[0].params()[name], p) for name, p in alone.params().items())


def test_a_run_that_kills_its_workers_is_given_up_and_the_rest_goes_on(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "train_one", deadly)
    with processes(1) as executor:
        done = sweep(gi.grid(tiny, {"seed": range(2)}), tmp_path, executor, progress=False)
    assert [run.config.seed for run in done.runs] == [1]
    (error,) = done.failed.values()
    assert error.startswith("3 workers died in this run before its first checkpoint; check that there is enough memory")


def deadly(config: dict, path: str, stop: str, module: str) -> str:
    """`train_one`, except that seed 0 kills its process."""
    if config["seed"] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return train_one(config, path, stop, module)


def test_ctrl_c_lets_every_run_write_a_checkpoint(sweeping: subprocess.Popen, long: RunConfig, tmp_path: Path) -> None:
    root = tmp_path / "sweep"
    wait_for_held(root, 2)
    # As from a terminal: to all processes; the workers must ignore it.
    for process in [*workers_of(sweeping.pid), sweeping]:
        process.send_signal(signal.SIGINT)
    wait_for("the order to stop", lambda: [*root.glob(".stop-*")])
    open_gate(root)
    _, said = sweeping.communicate(timeout=300)
    assert f"stopped with 0 of 2 runs finished; sweep the same configs into {root} to resume." in said
    assert "spawn" not in said
    before = saved(root)
    assert [max(layout.checkpoint_epochs()) for layout in at_work(root)] == [HELD_AT + 1] * 2
    done = sweep(gi.grid(long, {"seed": [1, 2]}), root, progress=False)
    assert len(done.runs) == 2
    assert before.items() <= written(root).items()


def test_two_sweeps_in_processes_of_their_own_share_a_root(
    sweeping: subprocess.Popen, long: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "sweep"

    def opening_when_busy(config: dict, path: str, stop: str, module: str) -> str:
        try:
            return train_one(config, path, stop, module)
        except RunBusyError:
            open_gate(root)
            raise

    monkeypatch.setattr(scheduler, "train_one", opening_when_busy)
    wait_for_held(root, 2)
    done = sweep(gi.grid(long, {"seed": [1, 2]}), root, progress=False)
    assert is_open(root), "the other sweep's runs were not found busy"
    assert len(done.runs) == 2
    assert not done.failed
    before = saved(root)
    _, said = sweeping.communicate(timeout=300)
    assert (sweeping.returncode, said) == (0, "")
    assert before == saved(root)


def test_workers_end_with_a_sweep_that_was_killed_and_another_goes_on(
    sweeping: subprocess.Popen, long: RunConfig, tmp_path: Path
) -> None:
    root = tmp_path / "sweep"
    wait_for_held(root, 2)
    workers = workers_of(sweeping.pid)
    assert len(workers) == 2
    sweeping.kill()
    before = saved(root)
    done = sweep(gi.grid(long, {"seed": [1, 2]}), root, progress=False)
    assert len(done.runs) == 2
    assert not psutil.wait_procs(workers, timeout=300)[1]
    assert before.items() <= written(root).items()


def test_workers_have_one_thread_and_leave_ctrl_c_to_the_sweep() -> None:
    with processes(1) as executor:
        assert executor.submit(torch.get_num_threads).result() == 1
        assert executor.submit(signal.raise_signal, signal.SIGINT).result() is None
        assert executor.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN


def test_a_custom_kind_of_model_is_known_to_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "custom_kind.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import Literal\n"
        "import grokinterp as gi\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class CustomConfig(gi.MLPConfig):\n"
        "    kind: Literal['custom'] = 'custom'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    # Forgotten after the test.
    monkeypatch.setitem(architecture.KINDS, "custom", gi.MLPConfig)
    del architecture.KINDS["custom"]
    model = importlib.import_module("custom_kind").CustomConfig(d_mlp=8)
    config = gi.RunConfig(task=gi.TaskConfig(p=7), model=model, epochs=2)
    done = sweep([config], tmp_path / "sweep", 1, progress=False)
    assert [run.config.model for run in done.runs] == [model]
