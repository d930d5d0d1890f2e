"""One change on trial: armed before its first line, decided after its last."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from reconciler.confirm import launch, lifeline, watchdog
from reconciler.confirm.journal import BadJournal, ConfirmFolder, Journal, boot_id, deadline
from reconciler.engine.inverse import inverse
from reconciler.engine.kind import Kinds
from reconciler.engine.model import Plan, Seen
from reconciler.engine.reader import ObservationFailed
from reconciler.engine.render import Renderer
from reconciler.facts.model import Host
from reconciler.kernel.probes import Probe, working

BEFORE = 3.0  # seconds that a probe has before the change
UNDOING = 30.0  # seconds that a watchdog has for the way back before we go it too
MARGIN = 5.0  # seconds between our own decision and the watchdog's


class Asked(NamedTuple):
    """What a change is judged by."""

    digest: str  # of network.yaml: the same on every node, and whichever nodes there are
    node: str
    host: Host  # before the change
    look: Callable[[], Host]  # the host as it is now; raises ObservationFailed
    probes: tuple[Probe, ...]  # besides the default gateways
    seconds: float  # what must answer has so long
    person: bool = False  # somebody confirms; the probes are not asked


class Trial:
    """Give `before` to a round, then `decide`."""

    def __init__(self, folder: ConfirmFolder, kinds: Kinds, asked: Asked) -> None:
        self._folder, self._kinds, self._asked = folder, kinds, asked
        self._worked: frozenset[Probe] = frozenset()
        self.armed = False
        self._journal: Journal | None = None
        self.watch = ""  # where the watchdog runs, for people

    @property
    def person(self) -> bool:
        """Whether somebody's word decides."""
        return self._asked.person

    @property
    def digest(self) -> str:
        """What is confirmed."""
        return self._asked.digest

    @property
    def left(self) -> float:
        """Seconds until the watchdog undoes it. Raises BadJournal."""
        journal = self._folder.armed()
        return journal.left if journal else 0.0

    @property
    def open(self) -> bool:
        """Nobody has decided yet. Raises BadJournal."""
        return self._folder.armed() is not None

    def keep(self) -> str:
        """Empty where it stays, else why it is too late. Raises BadJournal."""
        return "" if self._folder.keep() else self.outcome()

    def undo(self, why: str) -> str:
        """Why it is undone; empty where somebody else has confirmed it. Raises BadJournal."""
        return why if watchdog.undo(self._folder, why) else self.outcome()

    def wait(self, seconds: float) -> None:
        """Until something happens in the folder, or this time has passed."""
        self._folder.wait(seconds)

    def outcome(self) -> str:
        """What somebody else has decided: empty where it stays. Raises BadJournal."""
        while self.open:  # its time is up: the watchdog is about to
            self.wait(1.0)
        end = time.monotonic() + UNDOING
        while self._folder.interrupted() is not None and time.monotonic() < end:  # our end may be the watchdog's: in a container
            self.wait(1.0)
        if not self._folder.was_undone(self.digest):
            return ""
        if not watchdog.resume(self._folder) and self._journal is not None:
            watchdog.go_back(self._journal)  # a slow plan's last lines may have come after the watchdog's
        return "nobody confirmed it in time"

    def before(self, plan: Plan, seen: Seen) -> str:
        """Why nothing may run; empty when it may. Arms the trial where the plan can cut the node off."""
        on = lifeline.carriers(self._asked.host, seen)
        if not lifeline.touching(plan.runnable, on):
            return ""
        if not self._asked.person:
            self._worked = working((*gateways(self._asked.host), *self._asked.probes), BEFORE)
            if not self._worked:
                return ""  # nothing works that could be lost
        lines = [
            line
            for action in inverse(self._kinds, Renderer(self._kinds), plan.runnable, seen, lifeline.ground(on))
            for line in action.lines
        ]
        probes = tuple(sorted(str(probe) for probe in self._worked))
        until = deadline(self._asked.seconds + (0.0 if self._asked.person else MARGIN))
        undo = tuple((line.netns, line.words) for line in lines)
        self._journal = Journal(self._asked.digest, self._asked.node, until, boot_id(), undo, probes)
        try:
            self._folder.arm(self._journal)
        except BadJournal as error:
            return str(error)
        try:
            self.watch = launch.start(self._folder.path)
        except watchdog.NoWatchdog as error:
            self._folder.keep()  # nothing ran, so nothing is on trial
            return str(error)
        if not self.open:
            return "its time was up before it began: the watchdog took too long to start"
        self.armed = True
        return ""

    def _lost(self) -> str:
        """What worked and does not any more; whichever gateways are in force now have to work in place of those before."""
        try:
            now = gateways(self._asked.look())
        except ObservationFailed as failure:
            return str(failure)
        before = {":" in one.address for one in self._worked & set(gateways(self._asked.host))}
        without = before - {":" in one.address for one in now}
        if without:
            return f"no default route any more for {' and '.join('IPv6' if six else 'IPv4' for six in sorted(without))}"
        asked = self._worked | {one for one in now if (":" in one.address) in before}
        silent = asked - working(asked, self._asked.seconds)
        return f"no answer from {', '.join(sorted(str(one) for one in silent))}" if silent else ""

    def decide(self) -> str:
        """Whether what worked works again; empty when it does, else why the change was undone. Raises BadJournal."""
        if not self.armed:
            return ""
        if not self.open:
            return self.outcome()
        why = self._lost()
        return self.undo(why) if why else self.keep()


def gateways(host: Host) -> tuple[Probe, ...]:
    """The default gateway of each family, by which the node's packets leave now."""
    found: dict[int, Probe] = {}
    for route in host.default_routes:
        scoped = f"{route.via}%{route.dev}" if route.via.startswith("fe80:") else route.via
        if route.via:
            found.setdefault(route.family, Probe(scoped, why="default gateway"))
    return tuple(found.values())
