"""Many runs on any executor: finished ones are skipped, failed ones reported, and killed ones resumed."""

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
from grokinterp.runs.run import load_run
from grokinterp.sweeps.directories import assign
from grokinterp.sweeps.executors import InProcess, Processes, StoppedError, one_line, processes, train_one
from grokinterp.sweeps.progress import progress_bar
from grokinterp.sweeps.results import Sweep
from grokinterp.sweeps.summary import write_summary
from grokinterp.training.runtime import interruption


# Workers that may die in one run without a new checkpoint in between.
MAX_WORKER_CRASHES: Final = 3
# Seconds before each retry of a run that another trainer holds; the last value is repeated.
RETRY_DELAYS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
# Errors of the worker and not of the run.
WORKER_ERRORS: Final = (BrokenExecutor, CancelledError)
# Seconds between checks for Ctrl-C.
_CHECK_EVERY: Final = 0.2


def sweep(
    configs: Iterable[RunConfig], root: str | Path, executor: Executor | int | None = None, *, progress: bool = True
) -> Sweep:
    """Train one run per config, each in its own directory below a root, or resume them.

    Finished runs are skipped, and a run that was stopped or killed resumes from its last checkpoint, so a sweep can be
    stopped and restarted at will, including with values added to the grid. On Ctrl-C each run writes a checkpoint. A
    failed run does not stop the others. Two sweeps may share a root: each run is trained by one of them, and the other
    waits for it. At the end `summary.json` and `summary.csv` are written to the root.

    Args:
        configs: The configs, e.g. from `grid`; duplicates are dropped.
        root: The sweep directory, created if missing. Run directories in it are named by the fields that differ;
            `sweep.json` maps directories to configs.
        executor: None: one run after another in this process. An int: that many processes, with one torch thread
            each. Or any `concurrent.futures.Executor`, e.g. `dask_executor(address)`, whose workers share the file
            system.
        progress: Whether to show a progress bar over all runs.

    Returns:
        The finished runs, and why the others failed.

    Raises:
        RunError: If the executor fails, e.g. when its dask scheduler is gone, or the root cannot be written. Finished
            runs are unaffected.
        ValueError: If configs is empty or executor < 1.
        KeyboardInterrupt: On Ctrl-C, after the checkpoints are written.

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
    root = Path(root).absolute()  # so that changing the working directory does not split the sweep
    by_path = assign(root, configs)
    scheduler = _Scheduler(root=root, configs=by_path, executor=executor)
    try:
        with progress_bar(by_path, scheduler.failed, show=progress):
            scheduler.run()
    except KeyboardInterrupt as stopped:
        msg = f"stopped with {scheduler.count} finished; sweep the same configs into {root} to resume."
        raise KeyboardInterrupt(msg) from stopped
    except BrokenExecutor as error:
        # Runs may continue out of reach, and this file stops them.
        scheduler.stop.touch()
        msg = f"the executor failed ({str(error) or type(error).__name__}); {scheduler.count} are finished. Sweep the"
        msg += f" same configs into {root} to resume."
        raise RunError(msg) from error
    finally:
        write_summary(root, scheduler.failed, attempted=by_path.keys())
    runs = tuple(load_run(path) for path in by_path if path not in scheduler.failed)
    return Sweep(root=root, runs=runs, failed=scheduler.failed)


@dataclass(kw_only=True)
class _Scheduler:
    """The runs that are not finished: waiting, running, or to be retried later.

    Attributes:
        root: The sweep directory.
        configs: The configs by run directory.
        executor: The executor that trains the runs.
        stop: The file that tells runs to stop.
        waiting: Runs to submit, in order.
        running: Submitted runs by future.
        later: When to retry a run, as `time.monotonic` counts.
        retries: Number of retries by run.
        crashes: The checkpoint at which workers last died in a run, and how many did.
        failed: Why a run was given up.
    """

    root: Path
    configs: Mapping[Path, RunConfig]
    executor: Executor
    stop: Path = field(init=False)
    waiting: list[Path] = field(init=False)
    running: dict[Future, Path] = field(default_factory=dict)
    later: dict[Path, float] = field(default_factory=dict)
    retries: Counter[Path] = field(default_factory=Counter)
    crashes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A unique name, since a second sweep on this root must not stop.
        self.stop = self.root / f".stop-{uuid4().hex[:8]}"
        self.waiting = [*self.configs]

    @property
    def count(self) -> str:
        """How many runs are finished, in words."""
        return f"{sum(map(self._is_finished, self.configs))} of {len(self.configs)} runs"

    def _is_finished(self, path: Path) -> bool:
        return Layout(path).is_finished(self.configs[path].epochs)

    def run(self) -> None:
        """Train all runs.

        Raises:
            KeyboardInterrupt: On Ctrl-C, once no run is training.
            BrokenExecutor: If the executor fails.
        """
        is_here = isinstance(self.executor, InProcess)  # Then the run itself handles Ctrl-C.
        try:
            with nullcontext(threading.Event()) if is_here else interruption() as interrupted:
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
            if not self.running:
                self.stop.unlink(missing_ok=True)

    def _stop(self) -> None:
        """Tell the running runs to stop, and start no more."""
        self.waiting.clear()
        self.later.clear()
        if self.running:
            self.stop.touch()

    def _submit(self) -> None:
        """Submit as many runs as a local executor has workers, so that queued ones do not break with it; else all."""
        due = [path for path, when in self.later.items() if when <= time.monotonic() or self._is_finished(path)]
        for path in due:
            del self.later[path]
        self.waiting += due
        room = self.executor.workers if isinstance(self.executor, (InProcess, Processes)) else len(self.configs)
        while self.waiting and len(self.running) < room:
            path = self.waiting[0]
            if not self._is_finished(path):
                config = self.configs[path]
                # Importing the module of a custom kind of model registers the kind in the worker.
                args = (to_dict(config), str(path), str(self.stop), type(config.model).__module__)
                self.running[self.executor.submit(train_one, *args)] = path
            del self.waiting[0]

    def _collect(self) -> None:
        """Wait a moment for runs to end."""
        if not self.running:
            time.sleep(_CHECK_EVERY if self.later else 0.0)
            return
        for future in wait(self.running, timeout=_CHECK_EVERY, return_when=FIRST_COMPLETED).done:
            path = self.running.pop(future)
            error = CancelledError() if future.cancelled() else future.exception()
            if not self.stop.exists() or not isinstance(error, (StoppedError, *WORKER_ERRORS)):
                self._handle_result(path, error)

    def _handle_result(self, path: Path, error: BaseException | None) -> None:
        if isinstance(error, RunBusyError):
            self._retry_later(path)
        elif isinstance(error, WORKER_ERRORS):
            self._handle_crash(path)
        elif error is not None:
            self.failed[path] = one_line(error)
        elif not self._is_finished(path):
            # On a file system shared by several machines, a file may appear a moment later.
            self._retry_later(path)
            if self.retries[path] > len(RETRY_DELAYS):
                del self.later[path]
                self.failed[path] = (
                    f"{path} was trained where this process cannot see it; let all workers share {self.root}."
                )

    def _retry_later(self, path: Path) -> None:
        seconds = RETRY_DELAYS[min(self.retries[path], len(RETRY_DELAYS) - 1)]
        self.later[path] = time.monotonic() + seconds
        self.retries[path] += 1

    def _handle_crash(self, path: Path) -> None:
        """Resubmit a run whose worker died, unless several have died at the same checkpoint."""
        epoch = max(Layout(path).checkpoint_epochs(), default=-1)
        last_epoch, crashes = self.crashes.get(path, (epoch, 0))
        crashes = crashes + 1 if last_epoch == epoch else 1
        self.crashes[path] = (epoch, crashes)
        if crashes < MAX_WORKER_CRASHES:
            self.waiting.insert(0, path)
        else:
            when = "before its first checkpoint" if epoch < 0 else f"between epoch {epoch} and its next checkpoint"
            self.failed[path] = (
                f"{crashes} workers died in this run {when}; check that there is enough memory, and that a script "
                "that starts processes has `if __name__ == '__main__':`."
            )
