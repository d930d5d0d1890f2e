"""A clock that a test drives, for threads that wait by it: an hour passes as fast as they can do what they do in it."""

from __future__ import annotations

import math
import threading
import time
from types import SimpleNamespace
from typing import NamedTuple

import pytest


class Clock:
    """Seconds since some moment; they pass when `advance` says so."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self.passed = threading.Condition()
        self.waits: list[tuple[str, float]] = []  # name of the thread, and how long it meant to wait
        self._resting: dict[int, _Rest] = {}  # by thread

    def monotonic(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        with self.passed:
            self.now += seconds
            self.passed.notify_all()

    @property
    def waiting(self) -> int:
        """Threads that wait: for a time to come, or for something that has not happened."""
        with self.passed:
            return sum(rest.until > self.now and not rest.event.is_set() for rest in self._resting.values())

    @property
    def next(self) -> float:
        """Seconds until the first of them goes on."""
        with self.passed:
            return min(rest.until - self.now for rest in self._resting.values())

    def drives(self, patch: pytest.MonkeyPatch, *modules: str) -> None:
        """These modules know no other time than this one."""
        for module in modules:
            patch.setattr(f"{module}.time", SimpleNamespace(monotonic=self.monotonic, time=time.time))
            if module.startswith("reconciler.cluster."):
                made = SimpleNamespace(Event=lambda: _Event(self), Lock=threading.Lock, Thread=threading.Thread)
                patch.setattr(f"{module}.threading", made)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        me = threading.get_ident()
        with self.passed:
            if seconds < math.inf:
                self.waits.append((threading.current_thread().name, seconds))
            self._resting[me] = rest = _Rest(event, self.now + seconds)
            while not event.is_set() and self.now < rest.until:
                self.passed.wait()
            del self._resting[me]
        return event.is_set()


class _Rest(NamedTuple):
    event: threading.Event  # ends it, too
    until: float


class _Event(threading.Event):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def set(self) -> None:
        super().set()
        with self._clock.passed:
            self._clock.passed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        return self._clock.wait(self, math.inf if timeout is None else timeout)
