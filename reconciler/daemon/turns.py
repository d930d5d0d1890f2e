"""One change and many nodes: what disturbs traffic waits for its turn, and what another node had to undo is not begun."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from reconciler.confirm import lifeline
from reconciler.engine.model import Plan, Seen, Verb
from reconciler.engine.round import Before
from reconciler.facts.model import Host
from reconciler.spec.cluster import Rollout


class Others(Protocol):
    """The other nodes of the cluster, as they can be asked."""

    @property
    def holds(self) -> str:
        """The Lease by which it is this node's turn; empty while it is not."""

    def elsewhere(self, digest: str) -> str:
        """Why a network.yaml must not be begun here; empty where it may."""

    def turn(self, at_once: int) -> str:
        """Why a change must wait; empty once it is this node's turn."""

    def release(self) -> None:
        """The next node may begin."""

    def recall(self, at_once: int) -> None:
        """A turn of before this start is this node's still."""

    def undone(self, digest: str) -> None:
        """This node had to undo a network.yaml: the next one may begin once that is known to all."""


class Standing(NamedTuple):
    """Where this node is in the rollout of a change."""

    at_once: int = 0  # nodes that may disturb traffic at the same time; 0: as many as like
    holds: str = ""  # the Lease by which it is this node's turn
    waits: str = ""  # why a change is not begun here


class Turns:
    """`others` is None where there is nobody to ask: everything may be done at once."""

    def __init__(self, others: Others | None = None) -> None:
        self._others = others
        self._at_once, self._waits, self._recalled = 0, "", False
        self._settled = ""  # digest of a network.yaml that has converged here: what others make of it stops no repair of it

    @property
    def standing(self) -> Standing:
        """From any thread."""
        return Standing(self._at_once, self._others.holds if self._others is not None else "", self._waits)

    def begin(self) -> None:
        """Another step: what was waited for is asked again, if it still is."""
        self._waits = ""

    def elsewhere(self, digest: str) -> str:
        self._waits = self._others.elsewhere(digest) if self._others is not None else ""
        return self._waits

    def before(self, digest: str, rollout: Rollout, nodes: int, host: Host, then: Before) -> Before:
        """What a round asks before it runs a plan: a turn, where the plan disturbs traffic, and then `then`.

        While it waited for its turn another node may have had to undo the same.
        """
        others, at_once = self._others, rollout.at_once(nodes)
        self._at_once = at_once
        if others is None or not at_once:
            return then

        def asked(plan: Plan, seen: Seen) -> str:
            why = (disturbs(plan, seen, host) and (others.turn(at_once) or self._stopped(others, digest))) or ""
            self._waits = why or self._waits
            return why or then(plan, seen)

        return asked

    def _stopped(self, others: Others, digest: str) -> str:
        why = others.elsewhere(digest) if digest != self._settled else ""
        if why:
            others.release()
        return why

    def after(self, digest: str, *, converged: bool, undone: str = "") -> None:
        """A round with a network.yaml has ended. undone: the digest of the newest one, where that was undone here, now or before."""
        if converged:
            self._settled = digest
        if self._others is None or not (self._at_once or self._others.holds):
            return
        if not self._recalled:
            self._recalled = True
            self._others.recall(self._at_once)
        if undone:
            self._others.undone(undone)
        elif converged:
            self._others.release()


def disturbs(plan: Plan, seen: Seen, host: Host) -> bool:
    """Whether packets are lost while a plan runs: it makes devices anew or takes them away, or touches what carries the node's own."""
    for action in plan.runnable:
        if action.change.kind == "link" and action.change.old is not None and (action.verb is Verb.DELETE or action.change.replace):
            return True
    return bool(lifeline.touching((one for one in plan.runnable if one.change.old is not None), lifeline.carriers(host, seen)))
