"""Tunnels of IP in IP: ipip and sit over IPv4, ip6tnl over IPv6 (ip-link(8))."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from reconciler.kinds.link import tunnel
from reconciler.kinds.link.codec import Slot, flag, named, present, read
from reconciler.kinds.link.tunnel import Encaplimit, Flowlabel, Fwmark6, Hoplimit, Over4, Over6, Tos, Ttl
from reconciler.kinds.spelling import one_of
from reconciler.wire import netlink as wire


class Ipip(NamedTuple):
    """IPv4 (or MPLS) in IPv4, with the defaults of `ip link`. `parent` is its `dev`."""

    local: Over4 = ""  # "": any
    remote: Over4 = ""  # "": any
    ttl: Ttl = "inherit"
    tos: Tos = "0"  # hexadecimal; "inherit"
    pmtudisc: bool = True
    mode: Annotated[str, one_of("any", "ipip", "mplsip")] = "any"
    fwmark: int = 0
    external: bool = False


class Sit(NamedTuple):
    """IPv6 (or anything) in IPv4, with the defaults of `ip link`. `parent` is its `dev`."""

    local: Over4 = ""
    remote: Over4 = ""
    ttl: Ttl = "inherit"
    tos: Tos = "0"
    pmtudisc: bool = True
    mode: Annotated[str, one_of("any", "ip6ip", "ipip", "mplsip")] = "any"
    fwmark: int = 0


class Ip6tnl(NamedTuple):
    """IPv4 or IPv6 in IPv6, with the defaults of `ip link`. `parent` is its `dev`."""

    local: Over6 = ""
    remote: Over6 = ""
    mode: Annotated[str, one_of("any", "ip6ip6", "ipip6")] = "any"
    hoplimit: Hoplimit = 64  # 0: inherit
    encaplimit: Encaplimit = 4
    tclass: Tos = "0"
    flowlabel: Flowlabel = 0
    dscp_inherit: bool = False
    allow_localremote: bool = False
    fwmark: Fwmark6 = 0
    external: bool = False


_FLOWINFO, _FLAGS = 7, 8  # IFLA_IPTUN_*
_PROTOCOL = {0: "any", 4: "ipip", 41: "ip6ip", 137: "mplsip"}  # include/uapi/linux/in.h
TABLE = {
    "local": Slot(2, tunnel.peer),
    "remote": Slot(3, tunnel.peer),
    "ttl": Slot(4, tunnel.ttl),
    "tos": Slot(5, tunnel.tos),
    "mode": Slot(9, named(_PROTOCOL)),
    "pmtudisc": Slot(10, flag),
    "external": Slot(19, present),
    "fwmark": Slot(20, wire.u32),
}
TABLE6 = {
    "local": Slot(2, tunnel.peer),
    "remote": Slot(3, tunnel.peer),
    "hoplimit": Slot(4, wire.u8),
    "encaplimit": Slot(6, wire.u8),
    "mode": Slot(9, named({0: "any", 4: "ipip6", 41: "ip6ip6"})),
    "external": Slot(19, present),
    "fwmark": Slot(20, wire.u32),
}


def decode_ipip(found: Mapping[int, bytes]) -> Ipip:
    """From the attributes of IFLA_INFO_DATA."""
    return Ipip(**read(TABLE, found))


def decode_sit(found: Mapping[int, bytes]) -> Sit:
    """From the attributes of IFLA_INFO_DATA."""
    return Sit(**read(TABLE, found))


def decode_ip6tnl(found: Mapping[int, bytes]) -> Ip6tnl:
    """From the attributes of IFLA_INFO_DATA."""
    flags = wire.u32(found[_FLAGS]) if _FLAGS in found else 0
    flowinfo = wire.be32(found[_FLOWINFO]) if _FLOWINFO in found else 0
    return Ip6tnl(**(read(TABLE6, found) | tunnel.over_ipv6(flags, flowinfo)))
