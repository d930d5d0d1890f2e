"""Nexthop objects: RTM_GETNEXTHOP (include/uapi/linux/nexthop.h)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from reconciler.engine.reader import Dump, Place
from reconciler.kinds.nexthop.row import Nexthop, NexthopKey
from reconciler.wire import netlink as wire

NHA_ID, NHA_GROUP, NHA_BLACKHOLE, NHA_OIF, NHA_GATEWAY = 1, 2, 4, 5, 6
RTNH_F_ONLINK = 4  # include/uapi/linux/rtnetlink.h
AF_INET6 = 10

REQUEST = Dump(wire.RTM_GETNEXTHOP, bytes(8))
_NHMSG = struct.Struct("=BBBxI")  # family, scope, protocol, flags
_FAST = struct.Struct("=HHIHHIHH4s")  # ID, OIF, GATEWAY (IPv4)
_FAST6 = struct.Struct("=HHIHHIHH16s")
_FAST_HEADERS = (8, NHA_ID, 8, NHA_OIF, 8, NHA_GATEWAY)
_FAST6_HEADERS = (8, NHA_ID, 8, NHA_OIF, 20, NHA_GATEWAY)


def decode(place: Place, messages: Sequence[bytes]) -> list[Nexthop | None]:
    """Every nexthop; groups too, as rows without a device, so that their ids count as taken."""
    rows: list[Nexthop | None] = []
    interfaces, netns = place.interfaces, place.netns
    unpack = _NHMSG.unpack_from
    shapes = {8 + _FAST.size: (_FAST, _FAST_HEADERS), 8 + _FAST6.size: (_FAST6, _FAST6_HEADERS)}
    address = wire.address
    for message in messages:
        family, _, protocol, flags = unpack(message)
        shape = shapes.get(len(message))
        if shape is not None:
            length1, type1, number, length2, type2, index, length3, type3, via = shape[0].unpack_from(message, 8)
            if (length1, type1, length2, type2, length3, type3) == shape[1]:
                key = NexthopKey(netns, interfaces.get(index, ""), address(via))
                rows.append(Nexthop(key, bool(flags & RTNH_F_ONLINK), 0, protocol, number, ()))
                continue
        rows.append(_slow(place, family, protocol, flags, wire.attributes(message, 8, len(message))))
    return rows


def _slow(place: Place, family: int, protocol: int, flags: int, found: dict[int, bytes]) -> Nexthop:
    dev = place.interfaces.get(wire.u32(found[NHA_OIF]), "") if NHA_OIF in found else ""
    via = wire.address(found[NHA_GATEWAY]) if NHA_GATEWAY in found else ""
    if NHA_GROUP in found:
        via = "group"
    blackhole = (6 if family == AF_INET6 else 4) if NHA_BLACKHOLE in found else 0
    return Nexthop(NexthopKey(place.netns, dev, via), bool(flags & RTNH_F_ONLINK), blackhole, protocol, wire.u32(found[NHA_ID]))
