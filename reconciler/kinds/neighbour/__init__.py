"""Kind `neighbour`: permanent ARP and NDP entries, and proxy entries."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.marks import PROTOCOL, exclusive
from reconciler.kinds.needs import on_link
from reconciler.kinds.neighbour.decode import AGES, PROXY_REQUEST, REQUEST, decode
from reconciler.kinds.neighbour.row import Neighbour, NeighbourKey
from reconciler.kinds.spelling import BadValue, keeps_mark, mark_only

__all__ = ["KIND", "Neighbour", "NeighbourKey"]

RTNLGRP_NEIGH = 3  # include/uapi/linux/rtnetlink.h


class NeighbourKind(Kind[Neighbour]):
    """Known as ours by protocol 94, or by hanging on a VXLAN device of ours.

    The mark is sticky: a foreign overwrite keeps it (neigh_update in the kernel does
    not clear what the request does not carry), so such an entry is put right, not kept.
    """

    name = "neighbour"
    rank = 50
    row = Neighbour
    grammar = (("ip", "neigh", "replace"), ("ip", "neigh", "add"), ("ip", "neigh", "del"))
    uncompared = 2
    events = (RTNLGRP_NEIGH,)

    def observe(self, io: Reader, scope: Scope) -> Iterable[Neighbour]:
        rows: list[Neighbour] = []
        for netns in scope.netns:
            rows += io.rows(netns, REQUEST, decode, AGES)
            rows += io.rows(netns, PROXY_REQUEST, decode, AGES)
        return rows

    def owner(self, row: Neighbour, seen: Seen) -> Owner:
        if row.protocol == PROTOCOL:
            return Owner.OURS
        return exclusive(row.key.netns, row.key.dev, seen)

    def needs(self, row: Neighbour) -> tuple[Ref, ...]:
        return on_link(row.key.netns, row.key.dev)

    def normal(self, row: Neighbour) -> Neighbour:
        if row.adopt:
            keeps_mark("protocol", row.protocol)
            return row
        mark_only("protocol", row.protocol, PROTOCOL, "the protocol")
        if row.proxy:
            return row._replace(lladdr="", nud="")
        if not row.lladdr:
            raise BadValue("a permanent entry needs the MAC that the address is behind", "lladdr")
        return row._replace(nud="permanent")

    def replaces(self, old: Neighbour, new: Neighbour) -> str | None:
        return "a proxy entry and a neighbour are two tables" if old.proxy != new.proxy else None


KIND = NeighbourKind()
