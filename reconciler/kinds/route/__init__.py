"""Kind `route`: routes of every table."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reconciler.engine.kind import Kind, Reader, Scope
from reconciler.engine.model import Key, Owner, Ref, Seen
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.needs import on_link
from reconciler.kinds.route.decode import REQUEST, decode
from reconciler.kinds.route.row import MAIN, Hop, Route, RouteKey, route

__all__ = ["KIND", "MAIN", "Hop", "Route", "RouteKey", "route"]

RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE = 7, 11  # include/uapi/linux/rtnetlink.h


class RouteKind(Kind[Route]):
    """Known as ours by protocol 94.

    Made with `add`, so that the kernel refuses what appeared since we looked;
    `replace` only for one that was seen to be ours. (`ip route change` cannot
    change IPv6 nexthops in place.)
    """

    name = "route"
    rank = 70
    row = Route
    grammar = tuple(("ip", *six, "route", verb) for six in ((), ("-6",)) for verb in ("add", "replace", "del"))
    uncompared = 2
    detach_first = True
    events = (RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE)

    def observe(self, io: Reader, scope: Scope) -> Iterable[Route]:
        if len(scope.netns) == 1:
            return io.rows(scope.netns[0], REQUEST, decode)
        return [row for netns in scope.netns for row in io.rows(netns, REQUEST, decode)]

    def owner(self, row: Route, seen: Seen) -> Owner:
        return Owner.OURS if row.protocol == PROTOCOL else Owner.FOREIGN

    def needs(self, row: Route) -> tuple[Ref, ...]:
        netns = row.key.netns
        if row.nhid:
            return (Ref("nexthop", (netns, row.nhid)),)
        if not row.hops:
            return on_link(netns, row.dev)
        return tuple(Ref("link", (netns, dev)) for dev in (row.dev, *(hop.dev for hop in row.hops)) if dev)

    def resolve(self, row: Route, handle: Callable[[str, Key], int]) -> Route:
        if row.nexthop is None:
            return row
        return Route(row.key, row.type, handle("nexthop", row.nexthop), *row[3:])

    def normal(self, row: Route) -> Route:
        stated = row._asdict()
        key = stated.pop("key")
        if row.dev and not row.via and not row.hops and row.scope == "global" and ":" not in key.dst:
            stated["scope"] = "link"
        return route(key.netns, key.dst, table=key.table, metric=key.metric, tos=key.tos, **stated)

    def replaces(self, old: Route, new: Route) -> str | None:
        if old.type != new.type:
            return "the type of a route cannot change in place"
        if old.scope != new.scope:
            return "the scope of a route cannot change in place"
        return None


KIND = RouteKind()
