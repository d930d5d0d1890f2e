"""Kind `tc_filter`: programs at the ingress and egress of devices."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.bpf_program.row import of_program
from reconciler.kinds.qdisc import devices, on_qdisc
from reconciler.kinds.qdisc.row import PRIO
from reconciler.kinds.spelling import BadValue
from reconciler.kinds.tc_filter.row import HANDLE, TcFilter, TcFilterKey, tc_filter

__all__ = ["HANDLE", "KIND", "PRIO", "TcFilter", "TcFilterKey", "tc_filter"]


class TcFilterKind(Kind[TcFilter]):
    """Known as ours by its priority, handle and program: one pinned in our folder, or with the name of ours (its pin was taken away).

    Filters of others, at whatever priority, are left alone. One of theirs at ours is a conflict.
    """

    name = "tc_filter"
    rank = 97
    row = TcFilter
    grammar = (("tc", "filter", "add"), ("tc", "filter", "replace"), ("tc", "filter", "del"))
    uncompared = 2
    detach_first = True
    poll = 30.0

    def observe(self, io: Reader, scope: Scope) -> Iterable[TcFilter]:
        return [
            TcFilter(TcFilterKey(one.netns, one.name, direction, found.prio, f"{found.handle:#x}"), pin, found.direct_action, ours)
            for one in devices(io, scope)
            for direction, found, pin, ours in one.filters
        ]

    def owner(self, row: TcFilter, seen: Seen) -> Owner:
        marked = row.key.prio == PRIO and row.key.handle == HANDLE
        return Owner.OURS if marked and (row.pin or row.ours) else Owner.FOREIGN

    def needs(self, row: TcFilter) -> tuple[Ref, ...]:
        return on_qdisc(row.key.netns, row.key.dev) + (of_program(row.pin) if row.pin else ())

    def normal(self, row: TcFilter) -> TcFilter:
        if (row.key.prio, row.key.handle) != (PRIO, HANDLE):
            raise BadValue(f"the priority and handle of filters of plumbline are {PRIO} and {HANDLE}", "prio")
        return row

    def below(self, row: TcFilter, root: str) -> TcFilter:
        return row._replace(pin=root + row.pin)


KIND = TcFilterKind()
