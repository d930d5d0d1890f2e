"""Kind `qdisc`: clsact, where filters of programs stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.bpf_program import Programs, programs_of
from reconciler.kinds.needs import on_link
from reconciler.kinds.qdisc import tc
from reconciler.kinds.qdisc.row import HANDLE, PRIO, Qdisc, QdiscKey, on_qdisc, qdisc

__all__ = ["KIND", "Device", "Qdisc", "QdiscKey", "devices", "on_qdisc", "qdisc"]


class Device(NamedTuple):
    """A device with what it has for filters, and these."""

    netns: str
    name: str
    kind: str
    filters: tuple[tuple[str, tc.Filter, str, bool], ...]  # direction, filter, where its program is pinned, whether that is ours


def devices(io: Reader, scope: Scope) -> Iterator[Device]:
    """Every device that can have filters of ours. Nothing is asked where nothing of ours is wanted or pinned."""
    named = {row.key.netns for kind in ("qdisc", "tc_filter") for row in scope.wanted.rows(kind)}
    programs = programs_of(io, scope)
    if not named and not programs.known:
        return
    for netns in scope.netns:
        if not netns or netns in named:
            for name, (index, kind) in io.decoded(netns, tc.QDISCS, tc.qdiscs).items():
                yield Device(netns, name, kind, tuple(_filters(io, netns, index, programs)))


def _filters(io: Reader, netns: str, index: int, programs: Programs) -> Iterator[tuple[str, tc.Filter, str, bool]]:
    for direction in tc.PARENTS:
        for one in tc.filters(io.dump(netns, tc.filters_of(index, direction))):
            pin = programs.pins.get(one.id, "")
            yield direction, one, pin, bool(pin) or (one.prio, one.handle, one.name) == (PRIO, HANDLE, direction)


class QdiscKind(Kind[Qdisc]):
    """Bears no mark. Taken for ours while filters of ours are on it, and no others.

    So it goes with our last filter, in the same plan, and only when it is empty then
    (the executor looks again). One that is there already serves as it is, and
    one that somebody left empty stays.
    """

    name = "qdisc"
    rank = 96
    row = Qdisc
    grammar = (("tc", "qdisc", "add"), ("tc", "qdisc", "del"))
    uncompared = 2
    poll = 30.0

    def observe(self, io: Reader, scope: Scope) -> Iterable[Qdisc]:
        return [Qdisc(QdiscKey(one.netns, one.name), one.kind, _held(one)) for one in devices(io, scope)]

    def owner(self, row: Qdisc, seen: Seen) -> Owner:
        return Owner.OURS if row.filters == "ours" else Owner.FOREIGN

    def needs(self, row: Qdisc) -> tuple[Ref, ...]:
        return on_link(row.key.netns, row.key.dev)

    def replaces(self, old: Qdisc, new: Qdisc) -> str | None:
        return "a device has either ingress or clsact"


def _held(one: Device) -> str:
    if not one.filters:
        return ""
    return "ours" if all(ours for _, _, _, ours in one.filters) else "theirs"


KIND = QdiscKind()
