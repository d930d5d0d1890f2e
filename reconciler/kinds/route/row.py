"""One route (ip-route(8))."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.nexthop.row import NexthopKey

MAIN = 254  # RT_TABLE_MAIN, include/uapi/linux/rtnetlink.h
IPV6_METRIC = 1024  # IP6_RT_PRIO_USER: what the kernel makes of metric 0 for IPv6


class RouteKey(NamedTuple):
    """Two routes with one key are one route to `ip route add`, although `append` makes a second."""

    netns: str
    table: int = MAIN
    dst: str = "0.0.0.0/0"  # a prefix; "0.0.0.0/0" and "::/0" for the default
    metric: int = 0
    tos: int = 0


class Hop(NamedTuple):
    """One leg of a multipath route."""

    via: str
    dev: str
    weight: int = 1


class Route(NamedTuple):
    """A route, with the words of `ip route`. It leads by `nhid`, or by `via` and `dev`, or by `hops`."""

    key: RouteKey
    type: str = "unicast"
    nhid: int = 0  # number of a nexthop object, filled in from `nexthop` by `assign`
    via: str = ""  # of the other family too (RFC 8950)
    dev: str = ""
    onlink: bool = False
    hops: tuple[Hop, ...] = ()
    src: str = ""
    scope: str = "global"  # IPv4 only
    mtu: int = 0  # 0: the device's
    mtu_lock: bool = False
    advmss: int = 0
    initcwnd: int = 0
    initrwnd: int = 0
    window: int = 0
    pref: str = "medium"  # IPv6 only (RFC 4191)
    protocol: int = PROTOCOL
    nexthop: NexthopKey | None = None  # whose number goes into `nhid`; not compared
    origin: tuple[Origin, ...] = ()


def route(netns: str, dst: str, *, table: int = MAIN, metric: int = 0, tos: int = 0, **attributes: object) -> Route:
    """A route with its key and defaults normalised as the kernel keeps them."""
    six = ":" in dst
    if six and not metric:
        metric = IPV6_METRIC
    if "scope" not in attributes and not six and attributes.get("type", "unicast") == "unicast":
        direct = attributes.get("dev") and not attributes.get("via") and not attributes.get("hops")
        attributes["scope"] = "link" if direct else "global"
    return Route(RouteKey(netns, table, dst, metric, tos), **attributes)  # type: ignore[arg-type]
