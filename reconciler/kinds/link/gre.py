"""GRE tunnels: gre and gretap over IPv4, ip6gre and ip6gretap over IPv6 (ip-link(8), RFC 2784, RFC 2890)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from reconciler.kinds.link import tunnel
from reconciler.kinds.link.codec import Slot, flag, present, read
from reconciler.kinds.link.tunnel import Encaplimit, Flowlabel, Fwmark6, Hoplimit, Key, Over4, Over6, Tos, Ttl
from reconciler.wire import netlink as wire


class Gre(NamedTuple):
    """Of gre and gretap, with the defaults of `ip link`. `parent` is its `dev`."""

    local: Over4 = ""  # "": any
    remote: Over4 = ""  # "": any
    ttl: Ttl = "inherit"
    tos: Tos = "0"  # hexadecimal; "inherit"
    pmtudisc: bool = True
    ignore_df: bool = False  # only without pmtudisc
    ikey: Key = ""  # "": none
    okey: Key = ""
    icsum: bool = False
    ocsum: bool = False
    iseq: bool = False
    oseq: bool = False
    fwmark: int = 0
    external: bool = False

    @staticmethod
    def also_of() -> tuple[str, ...]:
        """Types that have these attributes, besides the one of this name."""
        return ("gretap",)


class Ip6gre(NamedTuple):
    """Of ip6gre and ip6gretap, with the defaults of `ip link`. `parent` is its `dev`."""

    local: Over6 = ""
    remote: Over6 = ""
    hoplimit: Hoplimit = 64  # 0: inherit
    encaplimit: Encaplimit = 4
    tclass: Tos = "0"
    flowlabel: Flowlabel = 0
    dscp_inherit: bool = False
    allow_localremote: bool = False
    ikey: Key = ""
    okey: Key = ""
    icsum: bool = False
    ocsum: bool = False
    iseq: bool = False
    oseq: bool = False
    fwmark: Fwmark6 = 0
    external: bool = False

    @staticmethod
    def also_of() -> tuple[str, ...]:
        """Types that have these attributes, besides the one of this name."""
        return ("ip6gretap",)


_FLOWINFO, _FLAGS = 12, 13  # IFLA_GRE_*
TABLE = {
    "local": Slot(6, tunnel.peer),
    "remote": Slot(7, tunnel.peer),
    "ttl": Slot(8, tunnel.ttl),
    "tos": Slot(9, tunnel.tos),
    "pmtudisc": Slot(10, flag),
    "external": Slot(18, present),
    "ignore_df": Slot(19, flag),
    "fwmark": Slot(20, wire.u32),
}
TABLE6 = {
    "local": Slot(6, tunnel.peer),
    "remote": Slot(7, tunnel.peer),
    "hoplimit": Slot(8, wire.u8),
    "encaplimit": Slot(11, wire.u8),
    "external": Slot(18, present),
    "fwmark": Slot(20, wire.u32),
}


def decode_gre(found: Mapping[int, bytes]) -> Gre:
    """From the attributes of IFLA_INFO_DATA."""
    return Gre(**(read(TABLE, found) | tunnel.keyed(found)))


def decode_ip6gre(found: Mapping[int, bytes]) -> Ip6gre:
    """From the attributes of IFLA_INFO_DATA."""
    flags = wire.u32(found[_FLAGS]) if _FLAGS in found else 0
    flowinfo = wire.be32(found[_FLOWINFO]) if _FLOWINFO in found else 0
    return Ip6gre(**(read(TABLE6, found) | tunnel.keyed(found) | tunnel.over_ipv6(flags, flowinfo)))
