"""Kind `fdb`: static forwarding entries of VXLAN devices and bridges."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.fdb.decode import AGES, REQUEST, decode, many
from reconciler.kinds.fdb.row import Fdb, FdbKey
from reconciler.kinds.marks import exclusive, on_vxlan_of_ours
from reconciler.kinds.needs import on_link
from reconciler.kinds.spelling import BadValue

__all__ = ["KIND", "Fdb", "FdbKey", "entry"]

FLOOD = "00:00:00:00:00:00"  # whatever no other entry knows goes to each of its destinations
RTNLGRP_NEIGH = 3  # include/uapi/linux/rtnetlink.h


def entry(netns: str, dev: str, mac: str, dst: str, port: int = 0, **more: object) -> Fdb:
    """An entry of a VXLAN device, its key made as the kernel keys it."""
    return Fdb(FdbKey(netns, dev, mac, 0, dst if many(mac) else ""), dst, port, **more)  # type: ignore[arg-type]


class FdbKind(Kind[Fdb]):
    """Known as ours by its link: the kernel keeps no mark on a forwarding entry.

    In a pod's namespace only where to flood to (the all-zero MAC) is ours; what else the pod states there is its own.
    """

    name = "fdb"
    rank = 40
    row = Fdb
    grammar = (("bridge", "fdb", "replace"), ("bridge", "fdb", "append"), ("bridge", "fdb", "del"))
    uncompared = 2
    events = (RTNLGRP_NEIGH,)

    def observe(self, io: Reader, scope: Scope) -> Iterable[Fdb]:
        if len(scope.netns) == 1:
            return io.rows(scope.netns[0], REQUEST, decode, AGES)
        return [row for netns in scope.netns for row in io.rows(netns, REQUEST, decode, AGES)]

    def owner(self, row: Fdb, seen: Seen) -> Owner:
        if row.key.to and any(getattr(link.info, "group", "") == row.key.to for link in seen.at("link", (row.key.netns, row.key.dev))):
            return Owner.FOREIGN  # the kernel's own, made of the device's default destination (`remote`)
        if row.key.netns and row.key.mac == FLOOD:
            return Owner.OURS if on_vxlan_of_ours(row.key.netns, row.key.dev, seen) else Owner.FOREIGN
        return exclusive(row.key.netns, row.key.dev, seen)

    def needs(self, row: Fdb) -> tuple[Ref, ...]:
        return on_link(row.key.netns, row.key.dev)

    def normal(self, row: Fdb) -> Fdb:
        if row.key.to and row.key.to != row.dst:
            raise BadValue("follows from dst: leave it out", "to")
        return row._replace(key=row.key._replace(to=row.dst if many(row.key.mac) else ""))

    def replaces(self, old: Fdb, new: Fdb) -> str | None:
        if new.key.to:  # `append` of another port makes a second entry beside the first
            return "an entry for an all-zero or multicast MAC cannot change in place"
        if old.via != new.via:
            return "the device's table and its bridge's are two tables"
        return None


KIND = FdbKind()
