"""What other threads and signal handlers have to say to the loop."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Inbox:
    """Triggers in their order; its descriptor wakes the loop."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()  # reentrant, as signal handlers need it
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def put(self, trigger: str) -> None:
        self._queue.put(trigger)
        os.eventfd_write(self._wake, 1)

    def fileno(self) -> int:
        return self._wake

    def take(self) -> Iterator[str]:
        try:
            os.eventfd_read(self._wake)
            while True:
                yield self._queue.get_nowait()
        except (queue.Empty, BlockingIOError):
            return

    def close(self) -> None:
        os.close(self._wake)


@contextmanager
def signals(stop: Callable[[], None], again: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT end it, SIGHUP reads everything again. Only the main thread can be told."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        stop()

    def reread(number: int, frame: FrameType | None) -> None:
        again()

    handlers = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: reread}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
