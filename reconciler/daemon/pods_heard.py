"""Changes in pods' namespaces, as far as they concern what we keep there."""

from __future__ import annotations

import select
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from reconciler.daemon.schedule import SETTLE
from reconciler.daemon.step import Report
from reconciler.engine.model import Seen, Wanted
from reconciler.engine.reader import ObservationFailed
from reconciler.kernel.events import Event
from reconciler.kernel.pod_events import PodEvents
from reconciler.kinds.marks import GROUP, PROTOCOL

PAUSE = 1.0  # seconds between two rounds for pods' sake: who changes a pod's network all the time is not worth more


class Devices(NamedTuple):
    """Ours in one namespace."""

    names: frozenset[str]
    indexes: frozenset[int]

    def concerns(self, event: Event) -> bool:
        """What a pod does with devices, addresses and routes of its own is its own affair."""
        match event.what:
            case "link":
                return event.name in self.names or event.interface in self.indexes or event.group == GROUP
            case "route":
                return event.lasting and (event.protocol == PROTOCOL or (event.gone and event.interface in self.indexes))
            case "address":
                return event.gone and event.interface in self.indexes
            case _:
                return event.lasting and event.interface in self.indexes


def devices(wanted: Wanted, seen: Seen) -> dict[str, Devices]:
    """By namespace."""
    names: dict[str, set[str]] = {}
    for netns, name in wanted.of("link"):
        if netns:
            names.setdefault(netns, set()).add(name)
    indexes: dict[str, set[int]] = {}
    for row in seen.rows("link"):
        if row.key.netns in names and row.key.name in names[row.key.netns]:
            indexes.setdefault(row.key.netns, set()).add(row.ifindex)
    return {netns: Devices(frozenset(ours), frozenset(indexes.get(netns, ()))) for netns, ours in names.items()}


class PodsHeard:
    """Listens once something is wanted in a pod, and for as long."""

    def __init__(self, groups: Iterable[int], log: Any) -> None:
        self._groups, self._log = tuple(groups), log
        self._events: PodEvents | None = None
        self._readable = select.epoll()  # to be waited for whether there is a socket by now or not
        self._deaf = False  # the kernel gave no socket, and that was said
        self._wanted = Wanted()
        self._devices: Mapping[str, Devices] = {}
        self._next = float("-inf")

    def fileno(self) -> int:
        """Readable when something was told."""
        return self._readable.fileno()

    def follow(self, report: Report) -> bool:
        """What a round has left in pods is what matters from here on. True: in some of them nobody has listened until now."""
        if not report.plans:
            return False
        if report.wanted is self._wanted and not report.outcomes:
            return False  # the same namespaces, and nothing in them was made anew
        self._wanted = report.wanted
        before, self._devices = self._devices, devices(report.wanted, report.seen)
        if not self._devices:
            self._end()
            return False
        events = self._opened()
        if events is None:
            return False
        events.follow(self._devices)
        return not self._devices.keys() <= before.keys()

    def pause(self, now: float) -> float:
        """Seconds from now to the round that answers what was heard: one cause makes several events."""
        return max(SETTLE, self._next - now)

    def rest(self, now: float) -> None:
        """A round for pods' sake begins."""
        self._next = now + PAUSE

    def hear(self) -> bool:
        """Whether something was told that is worth a round."""
        return self._events is not None and self._events.read(self._concerns)

    def discard(self) -> None:
        """What our own lines caused: a look follows."""
        if self._events is not None:
            self._events.discard()

    def close(self) -> None:
        self._end()
        self._readable.close()

    def _concerns(self, netns: str, event: Event) -> bool:
        ours = self._devices.get(netns)
        return ours is not None and ours.concerns(event)

    def _opened(self) -> PodEvents | None:
        if self._events is None and not self._deaf:
            try:
                self._events = PodEvents(self._groups)
            except ObservationFailed as failure:
                self._deaf = True
                self._log.warning("changes inside pods are found by the next resync", why=str(failure))
                return None
            self._readable.register(self._events, select.EPOLLIN)
        return self._events

    def _end(self) -> None:
        if self._events is not None:
            self._readable.unregister(self._events)
            self._events.close()
            self._events = None
