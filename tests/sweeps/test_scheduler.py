"""Sweeps in this process and in threads: skipped runs, failures, interruptions, and two sweeps at once."""

import errno
import io
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import grokinterp as gi
from grokinterp.config import RunConfig
from grokinterp.runs.layout import Layout, RunBusyError, RunError
from grokinterp.sweeps import Sweep, scheduler, sweep
from grokinterp.sweeps.directories import assign
from grokinterp.sweeps.progress import epochs_done
from grokinterp.training.loop import train
from grokinterp.training.trainer import Trainer
from sweeps.disk import saved, written


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def heeds_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each run was trained, by directory name."""
    counts: Counter[str] = Counter()
    fit = Trainer.fit

    def counting(trainer: Trainer, **kwargs: Any) -> None:
        counts[trainer.layout.root.name] += 1
        fit(trainer, **kwargs)

    monkeypatch.setattr(Trainer, "fit", counting)
    return counts


def swept(configs: list[RunConfig], root: Path, executor: Executor | int | None = None) -> Sweep:
    return sweep(configs, root, executor, progress=False)


def test_each_run_is_that_of_train(tiny: RunConfig, tmp_path: Path) -> None:
    configs = gi.grid(tiny, {"optim.weight_decay": [0.3, 1.0], "seed": [0, 1]})
    done = swept(configs, tmp_path / "sweep")
    assert [run.config for run in done.runs] == configs
    assert not done.failed
    for i, run in enumerate(done.runs):
        alone = train(configs[i], tmp_path / f"{i}", progress=False)
        assert all((run.params()[name] == p).all() for name, p in alone.params().items())


def test_finished_runs_are_skipped_and_a_widened_sweep_trains_only_what_is_new(
    tiny: RunConfig, tmp_path: Path, fits: Counter[str]
) -> None:
    swept(gi.grid(tiny, {"seed": [0, 1]}), tmp_path)
    before = saved(tmp_path)
    done = swept(gi.grid(tiny, {"optim.weight_decay": [0.3, 1.0], "seed": [0, 1, 2]}), tmp_path)
    assert len(done.runs) == 6
    assert {*fits.values()} == {1}
    assert len(fits) == 6
    assert before.items() <= written(tmp_path).items()


def test_runs_in_threads_are_those_in_this_process(tiny: RunConfig, tmp_path: Path) -> None:
    configs = gi.grid(tiny, {"seed": range(4)})
    with ThreadPoolExecutor(2) as executor:
        threads = swept(configs, tmp_path / "threads", executor)
    here = swept(configs, tmp_path / "here")
    for left, right in zip(threads.runs, here.runs, strict=True):
        assert all((left.params()[name] == p).all() for name, p in right.params().items())


def test_a_config_that_fails_at_once_is_named_and_stops_no_other(tiny: RunConfig, tmp_path: Path) -> None:
    configs = gi.grid(tiny, {"task.operation": ["division", "addition"], "task.p": [8, 7]})
    done = swept(configs, tmp_path)
    assert [(run.config.task.operation, run.config.task.p) for run in done.runs] == [
        ("division", 7),
        ("addition", 8),
        ("addition", 7),
    ]
    ((path, error),) = done.failed.items()
    assert path.name == "task.operation=division,task.p=8,seed=0"
    assert "p must be prime for division, got p=8" in error
    records = {record["run"]: record for record in json.loads((tmp_path / "summary.json").read_text())["runs"]}
    assert (records[path.name]["status"], records[path.name]["error"]) == ("failed", error)


def test_another_sweep_on_a_root_keeps_why_runs_of_the_first_failed(tiny: RunConfig, tmp_path: Path) -> None:
    first = swept(gi.grid(tiny, {"task.operation": ["division"], "task.p": [8]}), tmp_path)
    ((path, error),) = first.failed.items()
    assert not swept([tiny], tmp_path).failed
    records = {record["run"]: record for record in json.loads((tmp_path / "summary.json").read_text())["runs"]}
    assert (records[path.name]["status"], records[path.name]["error"]) == ("failed", error)


def test_a_run_that_diverges_is_named(tiny: RunConfig, tmp_path: Path) -> None:
    done = swept(gi.grid(tiny, {"optim.lr": [1e30, 1e-3]}), tmp_path)
    assert [run.config.optim.lr for run in done.runs] == [1e-3]
    assert "the loss at epoch" in done.failed[tmp_path / "optim.lr=1e+30,seed=0"]


def test_a_programming_error_is_named_with_its_kind(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        msg = "no such\nthing"
        raise LookupError(msg)

    monkeypatch.setattr(Trainer, "fit", broken)
    assert swept([tiny], tmp_path).failed == {tmp_path / "seed=0": "LookupError: no such thing"}


def test_a_full_disk_in_one_run_fails_that_one_and_can_be_gone_on_with(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: Counter[str]
) -> None:
    configs = gi.grid(tiny, {"seed": [0, 1, 2]})
    real = Path.replace

    def full(path: Path, target: Path) -> Path:
        if target == (tmp_path / "seed=1" / "checkpoints" / "0000010.safetensors").absolute():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        done = swept(configs, tmp_path)
    assert [run.config.seed for run in done.runs] == [0, 2]
    (error,) = done.failed.values()
    assert "seed=1 could not be written: [Errno 28] No space left on device; its last checkpoint is from" in error
    assert "\n" not in error

    before = saved(tmp_path)
    again = swept(configs, tmp_path)
    assert [run.config.seed for run in again.runs] == [0, 1, 2]
    assert not again.failed
    assert fits == {"seed=0": 1, "seed=1": 2, "seed=2": 1}
    assert before.items() <= written(tmp_path).items()


@pytest.mark.parametrize("lost", ["the last one", "all"])
def test_a_finished_run_that_lost_checkpoints_is_not_finished(tiny: RunConfig, tmp_path: Path, lost: str) -> None:
    configs = gi.grid(tiny, {"seed": range(2)})
    first, _ = swept(configs, tmp_path).runs
    for epoch in first.checkpoint_epochs[-1:] if lost == "the last one" else first.checkpoint_epochs:
        first.layout.checkpoint(epoch).unlink()
    assert epochs_done(first.path, first.config) < first.config.epochs
    again = swept(configs, tmp_path)
    assert [run.config.seed for run in again.runs] == [1]
    assert "seed=0 is marked as finished, but lacks the checkpoint of its last epoch" in again.failed[first.path]
    assert json.loads((tmp_path / "summary.json").read_text())["counts"] == {
        "finished": 1,
        "failed": 1,
        "unfinished": 0,
    }


def test_a_full_disk_at_the_summary_loses_no_run(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.replace

    def full(path: Path, target: Path) -> Path:
        if Path(target).name == "summary.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(RunError, match=r"could not be written: .*No space left on device\. Fix this"):
            swept([tiny], tmp_path)
    assert Layout(tmp_path / "seed=0").finished.exists()


def _ctrl_c_in(monkeypatch: pytest.MonkeyPatch, *, seed: int, epoch: int, is_seen: Callable[[], bool]) -> None:
    """Ctrl-C in the update after an epoch of a run; the update lasts until the Ctrl-C is seen."""
    update = Trainer.advance

    def interrupted(trainer: Trainer) -> None:
        if (trainer.config.seed, trainer.epoch) == (seed, epoch):
            os.kill(os.getpid(), signal.SIGINT)
            deadline = time.monotonic() + 300
            while not is_seen():
                assert time.monotonic() < deadline, "Ctrl-C was not seen"
                time.sleep(0.01)
        update(trainer)

    monkeypatch.setattr(Trainer, "advance", interrupted)


@pytest.mark.parametrize("threads", [None, 1])
def test_ctrl_c_writes_a_checkpoint_and_the_sweep_goes_on_from_it(
    tiny: RunConfig, threads: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: Counter[str]
) -> None:
    configs = gi.grid(tiny, {"seed": [0, 1, 2]})
    executor = None if threads is None else ThreadPoolExecutor(threads)
    monkeypatch.setattr("grokinterp.sweeps.executors._CHECK_EVERY", 0.0)
    with monkeypatch.context() as patch:
        # In this process the run itself receives Ctrl-C; threads are told by a file.
        _ctrl_c_in(patch, seed=1, epoch=4, is_seen=lambda: threads is None or bool([*tmp_path.glob(".stop-*")]))
        with pytest.raises(KeyboardInterrupt, match=f"stopped with 1 of 3 runs finished; .* into {tmp_path} to resume"):
            swept(configs, tmp_path, executor)
    stopped = Layout(tmp_path / "seed=1")
    assert max(stopped.checkpoint_epochs()) == 5
    assert not Layout(tmp_path / "seed=2").config.exists()
    assert not [*tmp_path.glob(".stop-*")]
    statuses = {r["run"]: r["status"] for r in json.loads((tmp_path / "summary.json").read_text())["runs"]}
    assert statuses == {"seed=0": "finished", "seed=1": "unfinished", "seed=2": "unfinished"}

    before = saved(tmp_path)
    done = swept(configs, tmp_path, executor)
    assert len(done.runs) == 3
    assert fits == {"seed=0": 1, "seed=1": 2, "seed=2": 1}
    assert before.items() <= written(tmp_path).items()
    if executor is not None:
        executor.shutdown()


def test_two_sweeps_on_one_root_train_each_run_once(
    tiny: RunConfig, tmp_path: Path, fits: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "RETRY_DELAYS", (0.05,))
    configs = gi.grid(replace(tiny, epochs=60), {"seed": range(6)})
    with ThreadPoolExecutor(2) as both:
        results = [
            both.submit(swept, order, tmp_path, ThreadPoolExecutor(2)) for order in (configs, [*reversed(configs)])
        ]
        left, right = (result.result() for result in results)
    assert not left.failed
    assert not right.failed
    assert [run.path for run in left.runs] == [run.path for run in right.runs][::-1]
    assert fits == {f"seed={seed}": 1 for seed in range(6)}


def test_a_run_that_another_trainer_is_at_work_in_is_waited_for(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a worker that seems dead: its lock is released when it ends."""
    monkeypatch.setattr(scheduler, "RETRY_DELAYS", (0.05,))
    configs = gi.grid(tiny, {"seed": [0, 1]})
    assign(tmp_path, configs)
    (tmp_path / "seed=0").mkdir()
    lock = FileLock(tmp_path / "seed=0" / ".lock")
    lock.acquire()
    with pytest.raises(RunBusyError, match="another process is training in"):
        train(configs[0], tmp_path / "seed=0", progress=False)
    with ThreadPoolExecutor(1) as other:
        result = other.submit(swept, configs, tmp_path)
        deadline = time.monotonic() + 300
        while not Layout(tmp_path / "seed=1").finished.exists():
            assert time.monotonic() < deadline, "the other run did not come"
            time.sleep(0.02)
        assert not Layout(tmp_path / "seed=0").finished.exists()
        lock.release()
        done = result.result(timeout=300)
    assert len(done.runs) == 2
    assert not done.failed


class Breaking(Executor):
    """Breaks at a call, like a pool of processes."""

    def __init__(self, call: int) -> None:
        self.left = call

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        self.left -= 1
        if self.left < -1:
            msg = "a child died"
            raise BrokenExecutor(msg)
        if self.left < 0:
            future.set_exception(BrokenExecutor("a child died"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def test_an_executor_that_breaks_down_ends_the_sweep_and_loses_nothing(tiny: RunConfig, tmp_path: Path) -> None:
    configs = gi.grid(tiny, {"seed": range(3)})
    broke = r"the executor failed \(a child died\); 1 of 3 runs are finished\. Sweep"
    with pytest.raises(RunError, match=broke):
        swept(configs, tmp_path, Breaking(1))
    before = saved(tmp_path)
    assert len(swept(configs, tmp_path).runs) == 3
    assert before.items() <= written(tmp_path).items()


class Elsewhere(Executor):
    """Trains where this process cannot see it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        future.set_result(args[1])
        return future


def test_workers_that_do_not_share_the_file_system_are_told_of(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "RETRY_DELAYS", (0.0, 0.0))
    (error,) = swept([tiny], tmp_path, Elsewhere()).failed.values()
    assert "seed=0 was trained where this process cannot see it; let all workers share" in error


def test_a_sweep_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a sweep needs at least one config, got none"):
        swept([], tmp_path)


def test_no_processes_are_refused(tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="executor must be an integer of at least 1, got 0"):
        swept([tiny], tmp_path, 0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_counts_epochs_and_runs_and_shows_the_time_left(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny, tmp_path / "seed=0", progress=False)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    sweep(gi.grid(tiny, {"seed": [0, 1], "task.p": [7]}) + gi.grid(tiny, {"split.fraction": [1e-9]}), tmp_path)
    lines = terminal.getvalue().split("\r")
    assert "20/60" in lines[1]
    assert "sweep: 100%" in lines[-1]
    assert "40/40" in lines[-1]
    assert "2 of 3 runs, 1 failed" in lines[-1]
    assert "<00:00" in lines[-1]


def test_nothing_is_shown_without_progress(tiny: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swept([tiny], tmp_path)
    assert capsys.readouterr() == ("", "")


def test_a_sweep_in_a_thread_needs_no_signals(tiny: RunConfig, tmp_path: Path) -> None:
    thread = threading.Thread(target=swept, args=([tiny], tmp_path))
    thread.start()
    thread.join(timeout=300)
    assert Layout(tmp_path / "seed=0").finished.exists()


def test_another_working_directory_does_not_split_a_sweep(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    advance = Trainer.advance

    def moving(trainer: Trainer) -> None:
        os.chdir(tmp_path / "there")
        advance(trainer)

    monkeypatch.setattr(Trainer, "advance", moving)
    done = swept(gi.grid(tiny, {"seed": [0, 1]}), Path("sweep"))
    assert done.root == tmp_path / "here" / "sweep"
    assert len(done.runs) == 2
    assert (done.root / "summary.json").exists()
    assert not any((tmp_path / "there").iterdir())
