"""What one daemon keeps on disk, and whose word it hears there: the state folder as the loop sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from reconciler.daemon.content import Inputs, Rejected
from reconciler.daemon.state import StateFolder, Waiting
from reconciler.daemon.step import Report

OFTEN = 10.0  # seconds between two writes of content that keeps changing


class Restored(NamedTuple):
    """Content that was good before this start."""

    inputs: Inputs | None
    saved: float | None  # seconds since the epoch


class Keeper:
    """Without a folder it keeps nothing. In a dry run it only reads."""

    def __init__(self, folder: StateFolder | None, unpack: Callable[[bytes], Inputs], *, reads_only: bool = False) -> None:
        self._folder, self._unpack, self._reads_only = folder, unpack, reads_only
        self._good: Inputs | None = None  # what is to be kept
        self._kept: Inputs | None = None
        self._tried = float("-inf")

    @property
    def problems(self) -> tuple[str, ...]:
        return self._folder.problems if self._folder else ()

    @property
    def path(self) -> str:
        """Empty where nothing is kept."""
        return str(self._folder.path) if self._folder else ""

    def open(self) -> None:
        """Raises StateBusy."""
        if self._folder and not self._reads_only:
            self._folder.open()

    def close(self) -> None:
        if self._folder:
            self._folder.close()

    def restore(self) -> Restored:
        kept = self._folder.load() if self._folder else None
        if self._folder is None or kept is None:
            return Restored(None, None)
        try:
            return Restored(self._unpack(kept.body), kept.saved)
        except Rejected as rejected:
            self._folder.reject(rejected.problems[0])
            return Restored(None, None)

    def confirmed(self) -> frozenset[str]:
        """Digests that somebody confirmed and that were not acted on yet."""
        return self._folder.confirmed() if self._folder and not self._reads_only else frozenset()

    def after(self, report: Report, good: Inputs | None, confirmed: frozenset[str], now: float, wall: float) -> frozenset[str]:
        """A round has ended. Returns confirmations that fit nothing that waits: they are used up too.

        The content goes to the disk before the word by which it came into force does from there.
        """
        if self._folder is None or self._reads_only:
            return frozenset()
        if good is not None and not good.stale:
            self._good = good
        self.write(now, wall, at_once=bool(report.used))
        waiting = tuple(_waiting(report))
        self._folder.wait(waiting)
        judged = bool(report.plans) and not report.problems
        astray = confirmed - report.used - {one.digest for one in waiting} if judged else frozenset[str]()
        self._folder.use_up(report.used | astray)
        return astray

    def write(self, now: float, wall: float, *, at_once: bool = False) -> None:
        """What is to be kept and was not written yet, unless the last write was a moment ago. Costs nothing where there is none."""
        if self._folder is None or self._good is None or self._good is self._kept or not (at_once or now - self._tried >= OFTEN):
            return
        self._tried = now
        if self._folder.save(self._good.packed(), wall):
            self._kept = self._good


def _waiting(report: Report) -> list[Waiting]:
    found = []
    if report.suspect is not None:
        found.append(Waiting(report.content, "content", report.suspect.reason))
    if report.plans and report.plans[-1].refusal is not None:
        plan = report.plans[-1]
        found.append(Waiting(plan.digest, "plan", plan.refusal.reason if plan.refusal else ""))
    return found
