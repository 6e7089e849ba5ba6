"""Many runs over any executor: what is finished is skipped, what failed is named, what was killed goes on elsewhere."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

from grokinterp import arguments
from grokinterp.config import RunConfig, as_run_configs, to_dict
from grokinterp.runs.layout import Layout, RunBusyError, RunError
from grokinterp.runs.run import Run, load_run
from grokinterp.sweeps.directories import assign
from grokinterp.sweeps.executors import InProcess, Processes, processes
from grokinterp.sweeps.progress import watched
from grokinterp.sweeps.summary import write_summary
from grokinterp.sweeps.worker import StoppedError, one_line, train_one
from grokinterp.training.runtime import interruption


# Deaths of its worker that a run may see without a new checkpoint in between.
MAX_WORKER_CRASHES: Final = 3
# Seconds between two tries of a run that another trainer is at work in: the first ones, and all later ones.
RETRY_DELAYS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
# What a run is told when its worker, and not the run, came to an end.
WORKER_ERRORS: Final = (BrokenExecutor, CancelledError)
# Seconds between two looks at Ctrl-C.
_LOOK_EVERY: Final = 0.2


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What came out of a sweep.

    Attributes:
        root: The folder of its runs.
        runs: The finished ones, in the order of their configs.
        failed: Why each of the others is not, in one line, by its directory.
    """

    root: Path
    runs: tuple[Run, ...]
    failed: Mapping[Path, str]


def sweep(
    configs: Iterable[RunConfig], root: str | Path, executor: Executor | int | None = None, *, progress: bool = True
) -> Sweep:
    """Train a run for each config, each in a directory of its own below a root; or go on with them.

    Finished runs are skipped, and one that was stopped or killed goes on from its last checkpoint, so that a sweep
    can be stopped and started again at will, with more values too. Ctrl-C lets each run write a checkpoint. A run
    that fails does not stop the rest. Two sweeps may share a root: each run is trained by one of them, and the other
    waits for it. At the end `summary.json` and `summary.csv` are written into the root.

    Args:
        configs: Such as `grid` makes; equal ones count once.
        root: The folder, made if it is not there. Directories in it are named by what differs between configs;
            `sweep.json` remembers which is whose.
        executor: None: one run after another in this process. A number: so many processes, each with one torch
            thread. Or any `concurrent.futures.Executor`, such as `dask_executor(address)`, whose workers share the
            file system.
        progress: Whether to show a progress bar over all runs.

    Returns:
        The finished runs, and why the others failed.

    Raises:
        RunError: If the executor breaks down, such as when dask's scheduler is gone, or the root cannot be written.
            Runs that are finished stay so.
        ValueError: If there is no config, or a number of processes below 1.
        KeyboardInterrupt: After the checkpoints that Ctrl-C asks for.

    Examples:
        >>> import tempfile, grokinterp as gi
        >>> small = gi.TransformerConfig(d_model=8, n_heads=1, d_mlp=16)
        >>> config = gi.RunConfig(task=gi.TaskConfig(p=7), model=small, epochs=3)
        >>> done = sweep(gi.grid(config, {"seed": range(2)}), tempfile.mkdtemp(), progress=False)
        >>> [run.path.name for run in done.runs]
        ['seed=0', 'seed=1']
    """
    progress = arguments.flag(progress, "progress")
    configs = as_run_configs(configs)
    if not configs:
        msg = "a sweep needs at least one config, got none; gi.grid(config, axes) makes them."
        raise ValueError(msg)
    if not isinstance(executor, Executor):
        workers = None if executor is None else arguments.integer(executor, "executor", minimum=1)
        with InProcess() if workers is None else processes(workers) as own:
            return sweep(configs, root, own, progress=progress)
    root = Path(root).absolute()  # so that a change of the working directory does not split the sweep
    places = assign(root, configs)
    work = _Scheduler(root=root, places=places, executor=executor)
    try:
        with watched(places, work.failed, show=progress):
            work.do()
    except KeyboardInterrupt as stopped:
        msg = f"stopped with {work.count} finished; sweep the same configs into {root} to go on."
        raise KeyboardInterrupt(msg) from stopped
    finally:
        write_summary(root, work.failed, tried=places.keys())
    runs = tuple(load_run(path) for path in places if path not in work.failed)
    return Sweep(root=root, runs=runs, failed=work.failed)


@dataclass(kw_only=True)
class _Scheduler:
    """The runs that are still to be trained: waiting, in the executor's hands, or in those of another trainer.

    Attributes:
        root: The folder of the runs.
        places: The configs by directory.
        executor: Who trains them.
        stop: The file that tells runs to stop.
        waiting: Runs to hand over, in order.
        running: Runs by their future.
        later: Runs to try again, and when.
        tries: How often that was, by run.
        deaths: The checkpoint at which workers last died on a run, and how many.
        failed: Why a run is given up.
    """

    root: Path
    places: Mapping[Path, RunConfig]
    executor: Executor
    stop: Path = field(init=False)
    waiting: list[Path] = field(init=False)
    running: dict[Future, Path] = field(default_factory=dict)
    later: dict[Path, float] = field(default_factory=dict)
    tries: Counter[Path] = field(default_factory=Counter)
    deaths: dict[Path, tuple[int, int]] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A name of its own, since another sweep on this root is not to stop.
        self.stop = (self.root / f".stop-{uuid4().hex[:8]}").absolute()
        self.waiting = [*self.places]

    @property
    def count(self) -> str:
        """How many runs are finished, in words."""
        return f"{sum(map(self._is_finished, self.places))} of {len(self.places)} runs"

    def _is_finished(self, path: Path) -> bool:
        return Layout(path).is_finished(self.places[path].epochs)

    def do(self) -> None:
        """Train all runs.

        Raises:
            KeyboardInterrupt: After Ctrl-C, once no run is at work any more.
            RunError: If the executor breaks down.
        """
        given = self.executor
        try:
            # In this process Ctrl-C is the run's, which stops in order.
            with nullcontext(threading.Event()) if isinstance(given, InProcess) else interruption() as interrupted:
                while self.waiting or self.running or self.later:
                    if interrupted.is_set():
                        self._stop()
                    self._submit()
                    self._collect()
                if interrupted.is_set():
                    raise KeyboardInterrupt
        except BaseException:
            self._stop()
            raise
        finally:
            if self.executor is not given:
                self.executor.shutdown(wait=not self.running)
            if not self.running:
                self.stop.unlink(missing_ok=True)

    def _stop(self) -> None:
        """Tell the runs at work, and begin no others."""
        self.waiting.clear()
        self.later.clear()
        if self.running:
            self.stop.touch()

    def _submit(self) -> None:
        """Give the executor what it has room for: a pool so many runs as it has workers, any other all of them."""
        complaint = getattr(self.executor, "complaint", "")
        if complaint:
            # What it was at work on may go on out of reach, and is told to stop by the file that stays.
            raise self._broken(complaint)
        due = [path for path, when in self.later.items() if when <= time.monotonic() or self._is_finished(path)]
        for path in due:
            del self.later[path]
        self.waiting += due
        room = getattr(self.executor, "workers", len(self.places))
        while self.waiting and len(self.running) < room:
            path = self.waiting[0]
            if not self._is_finished(path):
                arguments = (to_dict(self.places[path]), str(path.absolute()), str(self.stop))
                try:
                    self.running[self.executor.submit(train_one, *arguments)] = path
                except BrokenExecutor as error:
                    return self._renew(error)
            del self.waiting[0]
        return None

    def _renew(self, error: BrokenExecutor) -> None:
        """Another pool in place of one that broke, once the last of its futures has told so."""
        if not isinstance(self.executor, Processes):
            what = f"the executor broke down ({one_line(error)})"
            raise self._broken(what) from error
        if not self.running:
            self.executor = processes(self.executor.workers)

    def _broken(self, what: str) -> RunError:
        msg = f"{what}; {self.count} are finished. Sweep the same configs into {self.root} to go on."
        return RunError(msg)

    def _collect(self) -> None:
        """Wait a moment for runs that end."""
        if not self.running:
            time.sleep(_LOOK_EVERY if self.later else 0.0)
            return
        for future in wait(self.running, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED).done:
            path = self.running.pop(future)
            error = CancelledError() if future.cancelled() else future.exception()
            if not self.stop.exists() or not isinstance(error, (StoppedError, *WORKER_ERRORS)):
                self._handle_result(path, error)

    def _handle_result(self, path: Path, error: BaseException | None) -> None:
        """What becomes of a run that came back."""
        if isinstance(error, RunBusyError):
            self._try_later(path)
        elif isinstance(error, WORKER_ERRORS):
            self._try_elsewhere(path)
        elif error is not None:
            self.failed[path] = one_line(error)
        elif not self._is_finished(path):
            # A file system that several machines share may show a file a moment later.
            self._try_later(path)
            if self.tries[path] > len(RETRY_DELAYS):
                del self.later[path]
                self.failed[path] = (
                    f"{path} was trained where this process cannot see it; let all workers share {self.root}."
                )

    def _try_later(self, path: Path) -> None:
        seconds = RETRY_DELAYS[min(self.tries[path], len(RETRY_DELAYS) - 1)]
        self.later[path] = time.monotonic() + seconds
        self.tries[path] += 1

    def _try_elsewhere(self, path: Path) -> None:
        """Hand a run whose worker died to another, unless it has killed several at one place."""
        epoch = max(Layout(path).checkpoint_epochs(), default=-1)
        at, before = self.deaths.get(path, (epoch, 0))
        count = before + 1 if at == epoch else 1
        self.deaths[path] = (epoch, count)
        if count < MAX_WORKER_CRASHES:
            self.waiting.insert(0, path)
        else:
            where = "before its first checkpoint" if epoch < 0 else f"between epoch {epoch} and its next checkpoint"
            self.failed[path] = (
                f"{count} workers died in it {where}; look whether memory suffices, and whether a script that begins "
                "processes has its `if __name__ == '__main__':`."
            )
