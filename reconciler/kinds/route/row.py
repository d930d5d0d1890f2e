"""One route (ip-route(8))."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.nexthop.row import NexthopKey
from reconciler.kinds.spelling import U8, Device, Ip, Number, Text, network, one_of

MAIN = 254  # RT_TABLE_MAIN, include/uapi/linux/rtnetlink.h
IPV6_METRIC = 1024  # IP6_RT_PRIO_USER: what the kernel makes of metric 0 for IPv6

DEFAULT = "default"  # of the family that the rest of the row has
TYPE = one_of("unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw")


def destination(text: str) -> str:
    """A network, or "default", which is one of the other family where the route leads there (see `normal`)."""
    return DEFAULT if text in (DEFAULT, "any", "all") else network(text)


class RouteKey(NamedTuple):
    """Two routes with one key are one route to `ip route add`, although `append` makes a second."""

    netns: str
    table: Annotated[int, Number(1, 0xFFFFFFFF)] = MAIN
    dst: Annotated[str, Text(destination)] = "0.0.0.0/0"  # a prefix; "0.0.0.0/0" and "::/0" for the default
    metric: int = 0
    tos: U8 = 0


class Hop(NamedTuple):
    """One leg of a multipath route."""

    via: Ip
    dev: Device
    weight: Annotated[int, Number(1, 256)] = 1


class Route(NamedTuple):
    """A route, with the words of `ip route`. It leads by `nhid`, or by `via` and `dev`, or by `hops`."""

    key: RouteKey
    type: Annotated[str, TYPE] = "unicast"
    nhid: int = 0  # number of a nexthop object, filled in from `nexthop` by `assign`
    via: Ip = ""  # of the other family too (RFC 8950)
    dev: Device = ""
    onlink: bool = False
    hops: tuple[Hop, ...] = ()
    src: Ip = ""
    scope: Annotated[str, one_of("global", "site", "link", "host")] = "global"  # IPv4 only
    mtu: int = 0  # 0: the device's
    mtu_lock: bool = False
    advmss: int = 0
    initcwnd: int = 0
    initrwnd: int = 0
    window: int = 0
    pref: Annotated[str, one_of("low", "medium", "high")] = "medium"  # IPv6 only (RFC 4191)
    protocol: int = PROTOCOL
    adopt: bool = False  # manage what is stated of one that somebody else made
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
