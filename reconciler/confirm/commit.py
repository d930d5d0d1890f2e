"""One change on trial: armed before its first line, decided after its last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from reconciler.confirm import lifeline, watchdog
from reconciler.confirm.journal import BadJournal, ConfirmFolder, Journal, boot_id, deadline
from reconciler.engine.inverse import inverse
from reconciler.engine.kind import Kinds
from reconciler.engine.model import Plan, Seen
from reconciler.engine.render import Renderer
from reconciler.facts.model import Host
from reconciler.kernel.probes import Probe, working

BEFORE = 1.0  # seconds that a probe has before the change
MARGIN = 5.0  # seconds between our own decision and the watchdog's


class Asked(NamedTuple):
    """What a change is judged by."""

    digest: str  # of the content
    node: str
    host: Host
    probes: tuple[Probe, ...]
    seconds: float  # what must answer has so long
    person: bool = False  # somebody confirms; the probes are not asked


class Trial:
    """Give `before` to a round, then `decide`."""

    def __init__(self, folder: ConfirmFolder, kinds: Kinds, asked: Asked) -> None:
        self._folder, self._kinds, self._asked = folder, kinds, asked
        self._worked: frozenset[Probe] = frozenset()
        self.armed = False

    def before(self, plan: Plan, seen: Seen) -> str:
        """Why nothing may run; empty when it may. Arms the trial where the plan can cut the node off."""
        on = lifeline.carriers(self._asked.host, seen)
        if not lifeline.touching(plan.runnable, on):
            return ""
        if not self._asked.person:
            self._worked = working(self._asked.probes, BEFORE)
            if not self._worked:
                return ""  # nothing works that could be lost
        lines = [
            line
            for action in inverse(self._kinds, Renderer(self._kinds), plan.runnable, seen, lifeline.ground(on))
            for line in action.lines
        ]
        probes = tuple(sorted(str(probe) for probe in self._worked))
        until = deadline(self._asked.seconds + (0.0 if self._asked.person else MARGIN))
        try:
            self._folder.arm(
                Journal(self._asked.digest, self._asked.node, until, boot_id(), tuple((line.netns, line.words) for line in lines), probes)
            )
        except BadJournal as error:
            return str(error)
        try:
            watchdog.start(self._folder.path)
        except watchdog.NoWatchdog as error:
            self._folder.keep()  # nothing ran, so nothing is on trial
            return str(error)
        self.armed = True
        return ""

    def decide(self) -> str:
        """Whether what worked works again; empty when it does, else why the change was undone. Raises BadJournal."""
        if not self.armed:
            return ""
        silent = self._worked - working(self._worked, self._asked.seconds)
        if not silent:
            return "" if self._folder.keep() else "it was undone by the watchdog: its time was up"
        why = f"no answer any more from {', '.join(sorted(str(probe) for probe in silent))}"
        return why if watchdog.undo(self._folder, why) else "it was undone by the watchdog: its time was up"


def default_probes(host: Host) -> tuple[Probe, ...]:
    """The default gateways."""
    return tuple(
        Probe(f"{route.via}%{route.dev}" if route.via.startswith("fe80:") else route.via, why="default gateway")
        for route in host.default_routes
        if route.via
    )


def probe(text: str, peers: dict[str, Sequence[str]]) -> Iterable[Probe]:
    """The probes that an entry of `confirm.probes` means: a node's name, an address, or ADDRESS:PORT. Raises KeyError."""
    if text in peers:
        return [Probe(address, why=f"node {text}") for address in peers[text]]
    address, _, port = text.rpartition(":") if text.count(":") == 1 or text.startswith("[") else (text, "", "")
    return [Probe(address.strip("[]"), int(port) if port else 0)]
