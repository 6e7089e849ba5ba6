"""Where runs are trained: in this process, in several processes, or by the workers of a dask cluster."""

import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch

from grokinterp import arguments
from grokinterp.config import RunConfig, from_dict
from grokinterp.runs.layout import Layout, RunError
from grokinterp.training.loop import train
from grokinterp.training.runtime import stopping_when


# Seconds to wait for a dask scheduler to answer.
CONNECT_TIMEOUT: Final = 10.0
# Seconds between checks for the stop file; training asks at every epoch.
_CHECK_EVERY: Final = 0.5


class InProcess(Executor):
    """Runs each call at once in this process, so that Ctrl-C reaches the run."""

    workers = 1

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future:
        """A finished future; KeyboardInterrupt is raised here."""
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # As in every executor: the future holds whatever a run raised.
            future.set_exception(error)
        return future


class Processes(Executor):
    """Spawned processes; if one is killed, the next `submit` starts a new pool."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), initializer=_initialize_worker)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future:
        """Submit a call to a worker process and return its future."""
        try:
            return self._pool.submit(fn, *args, **kwargs)
        except BrokenExecutor:
            self.shutdown()  # Waits for the old processes, which hold the locks of their runs.
            self._pool = self._start()
            return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """End the processes."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


def processes(workers: int) -> Processes:
    """Processes that each train one run at a time, with one torch thread.

    They are spawned, so a script that uses them needs `if __name__ == "__main__":`. They end with the process that
    started them, even if it is killed.

    Args:
        workers: Number of processes.

    Returns:
        An executor for `sweep`; as a context manager it ends its processes.

    Raises:
        ValueError: If workers < 1.

    Examples:
        >>> with processes(2) as executor:
        ...     executor.workers
        2
    """
    return Processes(arguments.integer(workers, "workers", minimum=1))


def _initialize_worker() -> None:
    """One torch thread; ignore Ctrl-C, which the sweep passes on to its runs; end with the parent process."""
    _one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _one_thread() -> None:
    torch.set_num_threads(1)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


class DaskExecutor(Executor):
    """dask's own executor, which breaks when its scheduler is gone and closes its connection at the end."""

    def __init__(self, client: Any, address: str) -> None:
        self.client, self._address = client, address
        # Not pure: dask would answer a config that failed with the failure it remembers.
        self._executor = client.get_executor(pure=False)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future:
        """Submit a call to a worker and return its future.

        Raises:
            BrokenExecutor: If the scheduler is gone.
        """
        if self.client.status != "running":
            msg = f"the dask scheduler at {self._address} is gone"
            raise BrokenExecutor(msg)
        return self._executor.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, **_: Any) -> None:  # noqa: FBT001, FBT002
        """Close the connection; a task that is running continues."""
        if self.client.status == "running":
            self._executor.shutdown(wait=wait)
        else:
            # It would log, at length, that it cannot reconnect.
            logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        self.client.close(timeout=2)


def dask_executor(address: str) -> DaskExecutor:
    """The workers of a dask scheduler, on any machines that share the sweep's file system.

    Args:
        address: The scheduler's address, e.g. `tcp://10.0.0.1:8786`.

    Returns:
        An executor for `sweep`; as a context manager it closes the connection. Its workers use one torch thread each.

    Raises:
        ImportError: If dask's `distributed` is not installed.
        RunError: If no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        msg = f"a dask scheduler needs the package 'distributed' ({error}); pip install 'grokinterp[dask]'."
        raise ImportError(msg) from None
    try:
        client = Client(address, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        msg = f"no dask scheduler answers at {address} ({error}); start one with `dask scheduler`, or fix the address."
        raise RunError(msg) from None
    client.register_worker_callbacks(setup=_one_thread)
    return DaskExecutor(client, address)


class StoppedError(RunError):
    """The run wrote a checkpoint and stopped because its sweep was stopped."""


def train_one(config: dict[str, Any], path: str, stop: str, module: str) -> str:
    """Train one run of a sweep, or resume it from its last checkpoint. Executors receive this function by name.

    Args:
        config: The config as made by `to_dict`.
        path: The run directory.
        stop: A file; once it exists, the run writes a checkpoint and stops.
        module: Module that defines the kind of model, which is imported first.

    Returns:
        The path.

    Raises:
        StoppedError: If the run was stopped.
        RunError: As in `train`; likewise ValueError.
    """
    with suppress(ImportError):  # an unknown kind is then an error of the config
        import_module(module)
    is_asked = _exists(Path(stop))
    if not is_asked():
        with stopping_when(is_asked):
            try:
                train(from_dict(RunConfig, config), path, progress=False)
            except KeyboardInterrupt:
                # Without a stop file it is the user's Ctrl-C, in the process that sweeps.
                if not Path(stop).exists():
                    raise
    if not Layout(Path(path)).is_finished(config["epochs"]):
        msg = f"{path} was stopped."
        raise StoppedError(msg)
    return path


def _exists(file: Path) -> Callable[[], bool]:
    """Whether a file exists, looked up at most every `_CHECK_EVERY` seconds."""
    checked, exists = -math.inf, False

    def is_asked() -> bool:
        nonlocal checked, exists
        if not exists and time.monotonic() - checked > _CHECK_EVERY:
            exists, checked = file.exists(), time.monotonic()
        return exists

    return is_asked


def one_line(error: BaseException) -> str:
    """An error's message on one line, with its type unless the library raised it."""
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    if isinstance(error, (RunError, ValueError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
