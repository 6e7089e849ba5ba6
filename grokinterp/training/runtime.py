"""The process that trains: Ctrl-C, the progress bar, memory and deterministic algorithms."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

import torch
from tqdm.auto import tqdm
from tqdm.notebook import tqdm_notebook


_IS_ASKED: ContextVar[Callable[[], bool]] = ContextVar("_IS_ASKED", default=lambda: False)


class _Interruption(threading.Event):
    """Set by Ctrl-C, or by the question of `stopping_when`."""

    def __init__(self) -> None:
        super().__init__()
        self._is_asked = _IS_ASKED.get()

    def is_set(self) -> bool:
        """Whether to stop."""
        return super().is_set() or self._is_asked()


@contextmanager
def stopping_when(is_asked: Callable[[], bool]) -> Iterator[None]:
    """Within, and in this thread, training stops as at Ctrl-C once this is true: for whoever is out of its reach.

    Args:
        is_asked: Asked at every epoch, so it must be quick.
    """
    token = _IS_ASKED.set(is_asked)
    try:
        yield
    finally:
        _IS_ASKED.reset(token)


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets; a second Ctrl-C stops at once.

    Ctrl-C does not set it outside the main thread, where Python lets nobody handle signals, nor in a process that
    ignores Ctrl-C, as one that a script started in the background does. `stopping_when` does so anywhere.
    """
    event = _Interruption()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
        yield event
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def bar(label: str, total: int, done: int, *, show: bool) -> Any:
    """A line for people: at once in a terminal or a notebook, else once a minute."""
    is_watched = sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)
    interval = 0.1 if is_watched else 60.0
    return tqdm(
        total=total,
        initial=done,
        desc=label,
        unit="epoch",
        disable=not show,
        dynamic_ncols=is_watched,
        mininterval=interval,
        maxinterval=max(interval, 10.0),
    )


# glibc's names for what mallopt sets.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Ask the C library to keep what is freed in place of handing it back to the kernel; up to 1 GB.

    A full-batch step frees some 50 MB and asks for them again at once. Where each round goes through the kernel,
    page faults take a tenth of the step or more.

    Returns:
        Whether it was done: under Linux with glibc, and nowhere else.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 32 << 20) and mallopt(_TRIM_THRESHOLD, 1 << 30))


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Let torch use deterministic algorithms alone for the time of a block."""
    before = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    if device.type == "cuda":
        # Without it cuBLAS refuses to work in a fixed order.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before, warn_only=only_warns)
