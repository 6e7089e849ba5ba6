"""Ctrl-C as something that a loop asks about, so that no update is cut in half."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType


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
