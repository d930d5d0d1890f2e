"""Kind `route`: routes of every table."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Handles, Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.needs import on_link
from reconciler.kinds.route.decode import REQUEST, decode
from reconciler.kinds.route.row import DEFAULT, MAIN, Hop, Route, RouteKey, route
from reconciler.kinds.spelling import BadValue, keeps_mark, mark_only

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
    uncompared = 3
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

    def resolve(self, rows: Iterable[Route], handles: Handles) -> Iterable[Route]:
        ids = handles.get("nexthop", {})
        return [
            row if (hop := row.nexthop) is None or row.nhid == (nhid := ids.get(hop, 0)) else Route(row.key, row.type, nhid, *row[3:])
            for row in rows
        ]

    def normal(self, row: Route) -> Route:
        key = row.key
        if key.dst == DEFAULT:
            leads = (row.via or "", row.src or "", *(hop.via for hop in row.hops or ()))
            key = key._replace(dst="::/0" if any(":" in text for text in leads) else "0.0.0.0/0")
        if row.adopt:
            keeps_mark("protocol", row.protocol)
            return row._replace(key=route(key.netns, key.dst, table=key.table, metric=key.metric, tos=key.tos).key)
        mark_only("protocol", row.protocol, PROTOCOL, "the protocol")
        stated = row._asdict()
        del stated["key"]
        if ":" in key.dst:
            _ipv6_only(row, key)
            del stated["scope"]
        elif row.pref != "medium":
            raise BadValue("only an IPv6 route has one", "pref")
        elif row.scope == "global":
            del stated["scope"]  # what the kernel makes of a route that says none
        if row.type == "unicast" and not (row.dev or row.via or row.hops or row.nhid):
            raise BadValue("a unicast route leads somewhere: say dev, via, hops or nhid", "dst")
        return route(key.netns, key.dst, table=key.table, metric=key.metric, tos=key.tos, **stated)

    def replaces(self, old: Route, new: Route) -> str | None:
        if old.type != new.type:
            return "the type of a route cannot change in place"
        if old.scope != new.scope:
            return "the scope of a route cannot change in place"
        return None


def _ipv6_only(row: Route, key: RouteKey) -> None:
    """What an IPv6 route does not have. Raises BadValue."""
    if row.scope != "global":
        raise BadValue("only an IPv4 route has one", "scope")
    if key.tos:
        raise BadValue("the kernel keeps none for IPv6", "tos")
    for name, text in (("via", row.via), ("src", row.src), *(("hops", hop.via) for hop in row.hops)):
        if text and ":" not in text:
            raise BadValue(f"{text}: IPv6 is not sent to an IPv4 gateway", name)


KIND = RouteKind()
