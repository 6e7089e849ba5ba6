"""A dask cluster of real processes over TCP: a worker killed in mid-run, and a scheduler that is gone."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import grokinterp as gi
from grokinterp.cli import main
from grokinterp.config import RunConfig
from grokinterp.runs.layout import Layout, RunError
from grokinterp.sweeps import dask_executor, sweep
from grokinterp.sweeps import scheduler as sweep_scheduler
from grokinterp.training.loop import train
from sweeps.disk import at_work, saved, wait_for, written
from sweeps.gate import gated_train_one, open_gate, wait_for_held


pytest.importorskip("distributed", reason="clusters need the extra dask, which `test` brings")
pytestmark = pytest.mark.slow

Begin = Callable[..., subprocess.Popen]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Starts `dask scheduler` or `dask worker` as a process that ends with the test."""
    processes: list[subprocess.Popen] = []
    places = [Path(gi.__file__).parents[1], Path(__file__).parents[1]]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))}
    environment.pop("OMP_NUM_THREADS", None)

    def start(kind: str, *flags: str) -> subprocess.Popen:
        with (tmp_path / f"{kind}{len(processes)}.log").open("w") as log:
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *flags, "--no-dashboard"]
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def scheduler(begin: Begin, tmp_path: Path) -> tuple[subprocess.Popen, str]:
    """A scheduler and its address."""
    file = tmp_path / "scheduler.json"
    process = begin("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
    # The file exists before it has content.
    wait_for("the scheduler", lambda: file.exists() and file.read_text().endswith("}"))
    return process, json.loads(file.read_text())["address"]


@pytest.fixture
def workers(begin: Begin, scheduler: tuple[subprocess.Popen, str], tmp_path: Path) -> list[subprocess.Popen]:
    """Two workers with one thread each, without nannies, which would restart a dead one."""
    flags = ("--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path / "dask"))
    return [begin("worker", scheduler[1], *flags) for _ in range(2)]


def test_a_worker_killed_in_mid_run_costs_nothing_that_was_saved(
    long: RunConfig,
    scheduler: tuple[subprocess.Popen, str],
    workers: list[subprocess.Popen],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep_scheduler, "train_one", gated_train_one)
    configs = gi.grid(long, {"seed": range(1, 5)})
    root = tmp_path / "sweep"
    with dask_executor(scheduler[1]) as executor, ThreadPoolExecutor(1) as other:
        executor.client.wait_for_workers(2, timeout=300)
        result = other.submit(sweep, configs, root, executor, progress=False)
        wait_for_held(root, 2)
        # One of the two runs dies with its worker.
        workers[0].kill()
        before, layouts = saved(root), at_work(root)
        open_gate(root)
        done = result.result(timeout=300)
        threads = executor.submit(torch.get_num_threads).result(timeout=300)
        # dask caches no results: a call that failed may succeed later.
        assert len({executor.submit(os.urandom, 8).result(timeout=300) for _ in range(2)}) == 2
    assert [run.config for run in done.runs] == configs
    assert not done.failed
    assert threads == 1
    assert before.items() <= written(root).items()
    died = next(run for run in done.runs if run.layout in layouts)
    alone = train(died.config, tmp_path / "alone", progress=False)
    assert all(torch.equal(died.params()[name], p) for name, p in alone.params().items())


def test_a_scheduler_that_is_gone_ends_the_sweep_and_loses_nothing(
    long: RunConfig,
    scheduler: tuple[subprocess.Popen, str],
    workers: list[subprocess.Popen],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep_scheduler, "train_one", gated_train_one)
    configs = gi.grid(long, {"seed": range(4)})
    root = tmp_path / "sweep"
    gone = rf"the dask scheduler at {re.escape(scheduler[1])} is gone\); 1 of 4 runs are finished\. Sweep"
    with dask_executor(scheduler[1]) as executor, ThreadPoolExecutor(1) as other:
        result = other.submit(sweep, configs, root, executor, progress=False)
        wait_for("the run that passes the gate", lambda: [*root.glob("*/FINISHED")])
        wait_for_held(root, 2)
        before = saved(root)
        scheduler[0].kill()
        with pytest.raises(RunError, match=gone):
            result.result(timeout=300)
    open_gate(root)
    # Running runs stop by themselves or with their worker, and a sweep in this process waits for them and resumes.
    done = sweep(configs, root, progress=False)
    assert len(done.runs) == 4
    assert before.items() <= written(root).items()


def test_what_fails_on_a_worker_is_told_here(
    tiny: RunConfig,
    scheduler: tuple[subprocess.Popen, str],
    workers: list[subprocess.Popen],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--task.operation", "division", "--task.p", "7", "8", "--epochs", "2", "--model.d-mlp", "16", "--quiet"]
    root = tmp_path / "sweep"
    assert main(["sweep", "quick", *flags, "--scheduler", scheduler[1], "--out", str(root)]) == 1
    said = capsys.readouterr()
    assert f"{root / 'task.p=8,seed=0'}: p must be prime for division, got p=8" in said.out
    assert "1 of 2 runs failed" in said.err
    assert Layout(root / "task.p=7,seed=0").finished.exists()


def test_no_scheduler_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grokinterp.sweeps.executors.CONNECT_TIMEOUT", 0.2)
    with pytest.raises(
        RunError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:9 .* fix the address"
    ) as raised:
        dask_executor("tcp://127.0.0.1:9")
    assert "\n" not in str(raised.value)


def test_without_distributed_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"needs the package 'distributed' .*; pip install 'grokinterp\[dask\]'"):
        dask_executor("tcp://127.0.0.1:9")
