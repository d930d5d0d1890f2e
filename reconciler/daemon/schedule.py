"""When the next round is due. Pure: the time is given, and so is chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable

EVENT, POLL = "event", "poll"
SETTLE = 0.03  # seconds from the first event to the round: one cause makes several
FIRST_RETRY = 1.0  # seconds after a round that did not converge, then doubled
RESYNC = 60.0  # seconds between rounds that nothing asked for
LOOKING = 0.001  # share of a core that looking for nothing may take; 10,000 peers are then looked at less often
LONGEST = 600.0  # seconds between two such looks, whatever they take

Chance = Callable[[float, float], float]  # random.uniform


class Schedule:
    """One round answers everything that was asked before it began."""

    def __init__(self, resync: float | None, chance: Chance) -> None:
        """`resync`: seconds that a person chose, whatever a look costs."""
        self._resync, self._chance = RESYNC if resync is None else resync, chance
        self._longest = LONGEST if resync is None else resync
        self._asked: dict[str, float] = {}  # trigger → when it is due
        self._reasons: set[str] = set()  # of the event
        self._timers: dict[str, float] = {}
        self._failures = 0

    def ask(self, trigger: str, now: float, delay: float = 0.0) -> None:
        """A trigger wants a round; asked twice, the first time counts."""
        self._asked.setdefault(trigger, now + delay)

    def heard(self, reasons: Iterable[str], now: float) -> None:
        """Events on what we manage: soon."""
        self._reasons |= set(reasons)
        self._asked.setdefault(EVENT, now + SETTLE)

    def rest(self, until: float) -> None:
        """A row is left alone, and may be tried again then."""
        self._timers["row"] = min(until, self._timers.get("row", until))

    @property
    def next(self) -> float:
        """When something is due."""
        return min((*self._asked.values(), *self._timers.values()), default=0.0)

    def take(self, now: float) -> tuple[str, ...]:
        """The triggers of a round that is due now; empty when none is."""
        if self.next > now:
            return ()
        due = [self._named(trigger) for trigger in self._asked]
        due += [name for name, when in self._timers.items() if when <= now]
        if due == [POLL]:
            del self._timers[POLL]  # a look that may find nothing: all else stays due when it is
            return (POLL,)
        self._asked.clear()
        self._reasons.clear()
        self._timers.clear()
        return tuple(due)

    def _named(self, trigger: str) -> str:
        return f"{EVENT}: {', '.join(sorted(self._reasons))}" if trigger == EVENT else trigger

    def done(self, now: float, *, converged: bool, polls: Iterable[float] = (), rested: float | None = None, took: float = 0.0) -> None:
        """A round has ended: when the next one comes without being asked for.

        polls: seconds between looks at kinds without events. rested: when a row that is left alone may be tried again.
        took: seconds that it took to find nothing to do; 0 where something was.
        """
        pause = max(self._resync, min(took / LOOKING, self._longest))
        self._timers["resync"] = now + pause * self._chance(0.9, 1.1)
        self.looked(now, polls)
        if rested is not None:
            self._timers["row"] = rested
        if converged:
            self._failures = 0
            return
        self._failures += 1
        pause = min(self._resync, FIRST_RETRY * 2 ** min(self._failures - 1, 16))
        self._timers["retry"] = now + pause * self._chance(0.5, 1.0)

    def looked(self, now: float, polls: Iterable[float]) -> None:
        """Kinds without events were looked at: when to look again."""
        poll = min(polls, default=self._resync)
        if poll < self._resync:
            self._timers[POLL] = now + poll * self._chance(0.9, 1.0)
