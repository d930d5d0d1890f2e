"""Which rows are left alone for a while: those that failed, and those that somebody else keeps changing.

Pure: the time is given, and so is chance. One bad row never slows the others: only
the row itself is held, and rounds come as they would.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from reconciler.engine.model import Ref

FIRST_PAUSE = 1.0  # seconds after a row's first failure, then doubled
SLOWEST = 60.0  # seconds
FIGHT = 10  # times that one row is put back within MEMORY: somebody else wants it otherwise
MEMORY = 60.0  # seconds
AT_ONCE = 0.05  # seconds

Chance = Callable[[float, float], float]  # random.uniform


class _Failed(NamedTuple):
    """A row whose lines did not do."""

    times: int
    until: float
    why: str


class Fight(NamedTuple):
    """A row that somebody else keeps changing."""

    row: Ref
    times: int  # put back since it began
    pause: float  # seconds that it is left alone
    until: float
    by: str = ""  # "bird (pid 812)"; empty where the kernel does not tell

    @property
    def why(self) -> str:
        """The same while the fight lasts."""
        return f"somebody else keeps changing it ({self.by or 'the kernel does not tell who'}): it is put back less and less often"


class Patience:
    """What one daemon remembers of its rows."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._failed: dict[Ref, _Failed] = {}
        self._repairs: Counter[Ref] = Counter()  # within MEMORY
        self._rounds: deque[tuple[float, tuple[Ref, ...]]] = deque()  # when which of them were put right: thousands at once, perhaps
        self._fights: dict[Ref, Fight] = {}
        self._by: dict[Ref, str] = {}  # who was told of when a row was put back more than once
        self._undone: frozenset[Ref] = frozenset()

    # -- what happened ---------------------------------------------------------------------

    def tried(self, failed: Mapping[Ref, str], left: Collection[Ref], now: float) -> None:
        """A round has ended: these rows failed, with the reasons; `left` are all that are not as they should be."""
        self._failed = {row: one for row, one in self._failed.items() if row in left}
        for row, why in failed.items():
            times = self._failed[row].times + 1 if row in self._failed else 1
            pause = min(SLOWEST, FIRST_PAUSE * 2 ** min(times - 1, 16))
            self._failed[row] = _Failed(times, now + pause * self._chance(0.5, 1.0), why)

    def forget_failures(self, rows: Iterable[Ref] | None = None) -> None:
        """What made these rows fail may be gone; without rows: what made any fail."""
        for row in tuple(self._failed) if rows is None else rows:
            self._failed.pop(row, None)

    def repaired(self, rows: Iterable[Ref], who: Callable[[Ref], str], now: float) -> tuple[Fight, ...]:
        """These rows were put right again, although nobody had asked for a change. Returns the fights that begin."""
        self._forget(now)
        rows = tuple(rows)
        peaceful = tuple(row for row in rows if row not in self._fights) if self._fights else rows
        if peaceful:
            self._repairs.update(peaceful)
            self._rounds.append((now, peaceful))
        begun = []
        for row in [row for row in rows if row in self._fights or self._repairs[row] > 1]:
            by = self._by[row] = who(row) or self._by.get(row, "")  # what is changed again while we put it back is told of too early
            if row not in self._fights and self._repairs[row] < FIGHT:
                continue
            fight = self._fights.get(row) or Fight(row, self._repairs[row] - 1, FIRST_PAUSE / 2, now)
            pause = min(SLOWEST, fight.pause * 2)
            fight = Fight(row, fight.times + 1, pause, now + pause * self._chance(0.9, 1.1), by or fight.by)
            if row not in self._fights:
                begun.append(fight)
            self._fights[row] = fight
        return tuple(begun)

    def undone(self, rows: Iterable[Ref], who: Callable[[Ref], str], now: float) -> tuple[Fight, ...]:
        """These were put right, and changed again by somebody before we looked: tried again at once, until that is a fight."""
        self._undone = frozenset(rows)
        return self.repaired(self._undone, who, now)

    def _forget(self, now: float) -> None:
        while self._rounds and now - self._rounds[0][0] >= MEMORY:
            _, rows = self._rounds.popleft()
            self._repairs.subtract(rows)
            for row in rows:
                if not self._repairs[row]:
                    del self._repairs[row]
                    self._by.pop(row, None)
        self._fights = {row: fight for row, fight in self._fights.items() if now < fight.until + MEMORY}

    # -- what follows ----------------------------------------------------------------------

    def resting(self, now: float) -> dict[Ref, str]:
        """The rows to leave alone now, each with the reason."""
        self._forget(now)
        failed = {row: one.why for row, one in self._failed.items() if now < one.until}
        return failed | {row: fight.why for row, fight in self._fights.items() if now < fight.until}

    @property
    def failed(self) -> Collection[Ref]:
        """Rows whose lines did not do when they were tried last."""
        return self._failed.keys()

    def fights(self, now: float) -> tuple[Fight, ...]:
        """Those that are not over: a row that was left in peace for MEMORY is."""
        self._forget(now)
        return tuple(self._fights.values())

    def next(self, left: Collection[Ref], now: float) -> float | None:
        """When the first of the rows that are not as they should be may be tried again."""
        times = [one.until for row, one in self._failed.items() if row in left]
        times += [fight.until for row, fight in self._fights.items() if row in left]
        times += [now + AT_ONCE for row in self._undone if row in left and row not in self._fights]
        return min((time for time in times if time > now), default=None)
