"""Where runs are trained: in this process, in several, or on the machines of a dask cluster."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

import torch

from grokinterp import arguments


class InProcess(Executor):
    """Calls at once what is submitted, so that runs come one after another and Ctrl-C reaches them.

    Attributes:
        workers: One.
    """

    workers = 1

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future:
        """The finished future; Ctrl-C goes through."""
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # As every executor does: whatever goes wrong in a run is told, and the next comes.
            future.set_exception(error)
        return future


class Processes(ProcessPoolExecutor):
    """A pool of spawned processes that can be had anew when one of them was killed, which breaks a pool.

    Attributes:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers, multiprocessing.get_context("spawn"), initializer=_begin_worker)
        self.workers = workers


def processes(workers: int) -> Processes:
    """Processes that train a run each, with one torch thread.

    They are spawned, so a script that uses them needs its `if __name__ == "__main__":`. They end when the process
    that made them does, however it ends.

    Args:
        workers: How many runs at once.

    Returns:
        An executor for `sweep`; as a context it ends its processes.

    Raises:
        ValueError: If there is not at least one.

    Examples:
        >>> with processes(2) as executor:
        ...     executor.workers
        2
    """
    return Processes(arguments.integer(workers, "workers", minimum=1))


def _begin_worker() -> None:
    """One thread, deaf to Ctrl-C, of which the sweep tells its runs; and not longer alive than who began it."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def dask_executor(address: str) -> Executor:
    """The workers of a dask scheduler, which may be on any machine that shares the sweep's file system.

    Args:
        address: Of the scheduler, such as `tcp://10.0.0.1:8786`.

    Returns:
        An executor for `sweep`; as a context it ends the connection. Its workers get one torch thread each.

    Raises:
        ImportError: If dask's `distributed` is not installed.
        RunError: If no scheduler answers.
    """
    try:
        from grokinterp.sweeps.cluster import connect
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("grokinterp"):
            raise
        msg = f"a dask scheduler needs the package 'distributed' ({error}); pip install 'grokinterp[dask]'."
        raise ImportError(msg) from None
    return connect(address)
