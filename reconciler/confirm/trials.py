"""Which network.yaml is tried, by what it is judged, and which was undone before. It goes by the digest of its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reconciler.confirm import launch, watchdog
from reconciler.confirm.commit import Asked, Trial
from reconciler.confirm.journal import BadJournal, ConfirmFolder
from reconciler.engine.kind import Kinds
from reconciler.facts.model import Facts, Host
from reconciler.kernel.probes import Probe
from reconciler.spec.confirm import Confirm, split_target

FOLDER = "confirm"  # in the state folder


class Trials:
    """The trials of one node. Its folder is shared with watchdogs and with `plumbline confirm`."""

    def __init__(self, state: Path, kinds: Kinds) -> None:
        self.folder, self._kinds = ConfirmFolder(state / FOLDER), kinds

    def of(self, spec: str, node: str, judged: Confirm, facts: Facts, look: Callable[[], Host], *, person: float = 0.0) -> Trial:
        """person: seconds that somebody has to confirm; 0: the probes decide. Raises ObservationFailed."""
        asked = Asked(spec, node, look(), look, probes_of(judged, facts), person or judged.seconds, person > 0)
        return Trial(self.folder, self._kinds, asked)

    def undone(self, spec: str) -> str:
        """Why it must not be tried again; empty when it may."""
        try:
            left = self.folder.interrupted()  # the disk did not take that it is done
            going = "it is being undone" if left is not None and left.digest == spec else ""
            return self.folder.quarantine().get(spec, going)
        except BadJournal as error:
            return str(error)

    def going_on(self, spec: str) -> str:
        """Why nobody knows yet whether it stays: another process has put it in place. Empty where none has."""
        try:
            journal = self.folder.armed()
        except BadJournal as error:
            return str(error)
        if journal is None or journal.digest != spec:
            return ""
        return f"it is on trial, by another process or by one that ended before it could decide: it is undone in {journal.left:.0f} s"

    def lift(self, spec: str) -> None:
        """Somebody wants it tried again."""
        self.folder.lift(spec)

    def resume(self) -> bool:
        """What an earlier process began and did not end. True when a change was undone. Raises BadJournal, NoWatchdog."""
        if watchdog.resume(self.folder):
            return True
        if self.folder.armed() is not None:
            launch.start(self.folder.path)  # a second one does no harm: only one of them decides
        return False


def probes_of(judged: Confirm, facts: Facts) -> tuple[Probe, ...]:
    """What has to answer, besides the default gateways. A node that is named and not known is nothing that answers."""
    found: list[Probe] = []
    for target in judged.probes:
        if target in facts.nodes:
            found += [Probe(one.address, why=f"node {target}") for one in facts.nodes[target].addresses]
            continue
        try:
            found.append(Probe(*split_target(target)))
        except ValueError:
            continue
    return tuple(found)
