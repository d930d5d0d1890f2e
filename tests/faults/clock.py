"""A clock that a test drives, for threads that wait by it: an hour passes as fast as they can do what they do in it."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest


class Clock:
    """Seconds since some moment; they pass when `advance` says so."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self.passed = threading.Condition()
        self.waits: list[tuple[str, float]] = []  # name of the thread, and how long it meant to wait
        self._until: dict[int, float] = {}  # thread → when its wait ends

    def monotonic(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        with self.passed:
            self.now += seconds
            self.passed.notify_all()

    @property
    def waiting(self) -> int:
        """Threads that wait for a time to come."""
        with self.passed:
            return sum(until > self.now for until in self._until.values())

    @property
    def next(self) -> float:
        """Seconds until the first of them goes on."""
        with self.passed:
            return min(until - self.now for until in self._until.values())

    def drives(self, patch: pytest.MonkeyPatch, *modules: str) -> None:
        """These modules know no other time than this one."""
        for module in modules:
            patch.setattr(f"{module}.time", SimpleNamespace(monotonic=self.monotonic, time=time.time))
            if module.startswith("reconciler.cluster."):
                made = SimpleNamespace(Event=lambda: _Event(self), Lock=threading.Lock, Thread=threading.Thread)
                patch.setattr(f"{module}.threading", made)

    def wait(self, event: Any, seconds: float) -> bool:
        me = threading.get_ident()
        with self.passed:
            self.waits.append((threading.current_thread().name, seconds))
            self._until[me] = until = self.now + seconds
            while not event.is_set() and self.now < until:
                self.passed.wait()
            del self._until[me]
        return bool(event.is_set())


class _Event(threading.Event):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def set(self) -> None:
        super().set()
        with self._clock.passed:
            self._clock.passed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait() if timeout is None else self._clock.wait(self, timeout)
