"""Devices: RTM_GETLINK (rtnetlink(7), include/uapi/linux/if_link.h)."""

from __future__ import annotations

import struct

from reconciler.engine.reader import Dump, Place
from reconciler.kinds.link import vxlan
from reconciler.kinds.link.bridge import decode_port
from reconciler.kinds.link.row import Link, LinkKey
from reconciler.kinds.link.types import TYPES
from reconciler.wire import netlink as wire

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_GROUP, IFLA_LINK_NETNSID = 18, 20, 27, 37
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFF_UP = 1
_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
# IFLA_EXT_MASK (29) = RTEXT_FILTER_SKIP_STATS (8): counters change by themselves
REQUEST = Dump(wire.RTM_GETLINK, bytes(16) + struct.pack("=HHI", 8, 29, 8))
_MAC = 6  # bytes; the "address" of an IP tunnel is the one of its local end


def decode(place: Place, buffers: tuple[bytes, ...]) -> list[Link]:
    """Every device, the kernel's own too: others must know that they are there."""
    return [_link(place, buffer, start, end) for buffer, start, end in wire.messages(buffers, wire.RTM_NEWLINK, 16)]


def _link(place: Place, buffer: bytes, start: int, end: int) -> Link:
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(buffer, start)
    found = wire.attributes(buffer, start + 16, end)
    info = wire.nested(found[IFLA_LINKINFO]) if IFLA_LINKINFO in found else {}
    kind = wire.text(info[IFLA_INFO_KIND]) if IFLA_INFO_KIND in info else "physical"
    data = wire.nested(info[IFLA_INFO_DATA]) if IFLA_INFO_DATA in info else {}
    known = TYPES.get(kind)
    mac = found.get(IFLA_ADDRESS, b"")
    below = _below(place, found, data, kind)
    is_port = info.get(IFLA_INFO_SLAVE_KIND, b"").startswith(b"bridge")
    in_datapath = info.get(IFLA_INFO_SLAVE_KIND, b"").startswith(b"openvswitch")  # its bridge is told by Open vSwitch's database
    return Link(
        LinkKey(place.netns, wire.text(found.get(IFLA_IFNAME, b""))),
        kind,
        wire.u32(found[IFLA_GROUP]) if IFLA_GROUP in found else 0,
        wire.text(found[IFLA_IFALIAS]) if IFLA_IFALIAS in found else "",
        wire.mac(mac) if len(mac) == _MAC else "",
        wire.u32(found[IFLA_MTU]) if IFLA_MTU in found else 0,
        bool(flags & IFF_UP),
        place.interfaces.get(wire.u32(found[IFLA_MASTER]), "") if IFLA_MASTER in found and not in_datapath else "",
        "" if kind == "veth" else below,
        below if kind == "veth" else "",
        known.decode(data) if known is not None and known.decode is not None else None,
        decode_port(wire.nested(info[IFLA_INFO_SLAVE_DATA])) if is_port and IFLA_INFO_SLAVE_DATA in info else None,
        False,
        index,
    )


def _below(place: Place, found: dict[int, bytes], data: dict[int, bytes], kind: str) -> str:
    """The device that this one hangs on. A peer in another namespace has a number that means nothing here."""
    if kind == "vxlan":
        return place.interfaces.get(wire.u32(data[vxlan.LINK]), "") if vxlan.LINK in data else ""
    if IFLA_LINK not in found or IFLA_LINK_NETNSID in found:
        return ""
    return place.interfaces.get(wire.u32(found[IFLA_LINK]), "")
