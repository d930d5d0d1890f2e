"""VXLAN devices (ip-link(8), RFC 7348)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Annotated, NamedTuple

from reconciler.kinds.link.codec import Slot, flag, named, present, read
from reconciler.kinds.spelling import U8, U16, U24, Ip, Number, Port, Text, hexadecimal, one_of
from reconciler.wire import netlink as wire

_HEXADECIMAL = hexadecimal(0xFF, zero="0")


def tos(text: str) -> str:
    """The outer header's type of service; 1 is the kernel's number for "inherit"."""
    found = "inherit" if text == "inherit" else _HEXADECIMAL.spell(text)
    return "inherit" if found == "0x1" else found


class Vxlan(NamedTuple):
    """Attributes with the kernel's defaults, in the words and units of `ip link`."""

    id: U24 = 0  # VNI
    dstport: Port = 8472  # the kernel's; IANA's is 4789
    local: Ip = ""
    group: Ip = ""  # multicast group, or the default destination
    learning: bool = True
    ttl: U8 | Annotated[str, one_of("inherit")] = 0  # 0 is "auto"; "inherit"
    tos: Annotated[str, Text(tos)] = "0"  # hexadecimal, "0x10"; "inherit"
    df: Annotated[str, one_of("unset", "set", "inherit")] = "unset"  # unset | set | inherit
    flowlabel: Annotated[int, Number(0, 0xFFFFF)] = 0
    srcport_low: U16 = 0  # 0: the kernel's own range
    srcport_high: U16 = 0
    ageing: int = 300  # seconds
    maxaddress: int = 0  # 0: unlimited
    proxy: bool = False
    rsc: bool = False
    l2miss: bool = False
    l3miss: bool = False
    udpcsum: bool = True
    udp6zerocsumtx: bool = False
    udp6zerocsumrx: bool = False
    remcsumtx: bool = False
    remcsumrx: bool = False
    gbp: bool = False
    gpe: bool = False
    external: bool = False
    vnifilter: bool = False


LINK = 3  # IFLA_VXLAN_LINK: index of the device that the outer packets leave by
_PORT_RANGE, _TTL_INHERIT, _LOCAL6, _GROUP6 = 10, 28, 17, 16
TABLE = {
    "id": Slot(1, wire.u32),
    "group": Slot(2, wire.address),
    "local": Slot(4, wire.address),
    "ttl": Slot(5, wire.u8),
    "tos": Slot(6, lambda payload: {0: "0", 1: "inherit"}.get(payload[0], hex(payload[0]))),
    "learning": Slot(7, flag),
    "ageing": Slot(8, wire.u32),
    "maxaddress": Slot(9, wire.u32),
    "proxy": Slot(11, flag),
    "rsc": Slot(12, flag),
    "l2miss": Slot(13, flag),
    "l3miss": Slot(14, flag),
    "dstport": Slot(15, wire.be16),
    "udpcsum": Slot(18, flag),
    "udp6zerocsumtx": Slot(19, flag),
    "udp6zerocsumrx": Slot(20, flag),
    "remcsumtx": Slot(21, flag),
    "remcsumrx": Slot(22, flag),
    "gbp": Slot(23, present),
    "external": Slot(25, flag),
    "flowlabel": Slot(26, wire.be32),
    "gpe": Slot(27, present),
    "df": Slot(29, named({0: "unset", 1: "set", 2: "inherit"})),
    "vnifilter": Slot(30, flag),
}
_MEASURED_FIXED = {
    "id": "the VNI",
    "dstport": "the UDP port",
    "srcport_low": "the source port range",
    "srcport_high": "the source port range",
    "udpcsum": "the UDP checksum flags",
    "udp6zerocsumtx": "the UDP checksum flags",
    "udp6zerocsumrx": "the UDP checksum flags",
    "remcsumtx": "the checksum offload flags",
    "remcsumrx": "the checksum offload flags",
    "gbp": "group policy",
    "gpe": "the protocol extension",
    "external": "external control",
    "vnifilter": "VNI filtering",
    "proxy": "ARP proxying",
    "rsc": "route short circuit",
    "l2miss": "miss notification",
    "l3miss": "miss notification",
    "maxaddress": "the number of addresses",
    "flowlabel": "the flow label",
}


def decode(found: Mapping[int, bytes]) -> Vxlan:
    """From the attributes of IFLA_INFO_DATA."""
    values = read(TABLE, found)
    if _LOCAL6 in found:
        values["local"] = wire.address(found[_LOCAL6])
    if _GROUP6 in found:
        values["group"] = wire.address(found[_GROUP6])
    if _TTL_INHERIT in found and found[_TTL_INHERIT][0]:
        values["ttl"] = "inherit"
    if _PORT_RANGE in found:  # struct ifla_vxlan_port_range: low, high, big-endian
        values["srcport_low"], values["srcport_high"] = struct.unpack("!HH", found[_PORT_RANGE][:4])
    return Vxlan(**values)


def fixed(old: Vxlan, new: Vxlan) -> str | None:
    """Why one cannot become the other in place (measured, see attributes.yaml)."""
    for name, words in _MEASURED_FIXED.items():
        wanted = getattr(new, name)
        if wanted is not None and wanted != getattr(old, name):
            return f"{words} of a VXLAN device cannot change in place"
    if new.local and old.local and (":" in new.local) is not (":" in old.local):
        return "the family of a VXLAN device's local address cannot change in place"
    if "inherit" in (old.ttl, new.ttl) and new.ttl is not None and old.ttl != new.ttl:
        return "ttl inherit of a VXLAN device cannot change in place"
    return None
