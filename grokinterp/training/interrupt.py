"""Ctrl-C as something that a loop asks about, so that no update is cut in half."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets; a second Ctrl-C stops at once.

    Nothing sets it outside the main thread, where Python lets nobody handle signals, nor in a process that
    ignores Ctrl-C, as one that a script started in the background does.
    """
    event = threading.Event()
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
