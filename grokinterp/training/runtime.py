"""Settings of the training process: Ctrl-C, progress bar, memory and deterministic algorithms."""

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


_STOP_REQUESTED: ContextVar[Callable[[], bool]] = ContextVar("_STOP_REQUESTED", default=lambda: False)


class _Interruption(threading.Event):
    """Set by Ctrl-C or by the function passed to `stopping_when`."""

    def __init__(self) -> None:
        super().__init__()
        self._stop_requested = _STOP_REQUESTED.get()

    def is_set(self) -> bool:
        return super().is_set() or self._stop_requested()


@contextmanager
def stopping_when(stop_requested: Callable[[], bool]) -> Iterator[None]:
    """Stop training in this thread as on Ctrl-C once `stop_requested` returns True; it is called at every epoch.

    For workers, which Ctrl-C does not reach.
    """
    token = _STOP_REQUESTED.set(stop_requested)
    try:
        yield
    finally:
        _STOP_REQUESTED.reset(token)


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; a second Ctrl-C raises KeyboardInterrupt at once.

    Ctrl-C has no effect here outside the main thread, where Python does not allow signal handlers, and in a process
    that ignores Ctrl-C, such as a script's background job. `stopping_when` works in either case.
    """
    event = _Interruption()
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous in (None, signal.SIG_IGN):
        yield event
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)


def progress_bar(label: str, total: int, done: int, *, show: bool) -> Any:
    """A progress bar, which is updated only once a minute outside terminals and notebooks."""
    is_interactive = sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)
    interval = 0.1 if is_interactive else 60.0
    return tqdm(
        total=total,
        initial=done,
        desc=label,
        unit="epoch",
        disable=not show,
        dynamic_ncols=is_interactive,
        mininterval=interval,
        maxinterval=max(interval, 10.0),
    )


# mallopt's parameter numbers in glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Make glibc keep up to 1 GB of freed memory instead of returning it to the kernel.

    A full-batch step frees about 50 MB and allocates it again; returning it would cost 10 % of the step or more in page
    faults.

    Returns:
        Whether the setting was made, which requires Linux with glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 32 << 20) and mallopt(_TRIM_THRESHOLD, 1 << 30))


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Restrict torch to deterministic algorithms within a block."""
    previous = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if device.type == "cuda":
        # cuBLAS requires this variable to be deterministic.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=previous, warn_only=warn_only)
