"""Routes: RTM_GETROUTE (rtnetlink(7), include/uapi/linux/rtnetlink.h)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from reconciler.engine.reader import Dump, Place
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.route.row import Hop, Route, RouteKey
from reconciler.wire import netlink as wire

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH = 1, 4, 5, 6, 7, 8, 9
RTA_CACHEINFO, RTA_TABLE, RTA_VIA, RTA_PREF, RTA_NH_ID = 12, 15, 18, 20, 30
RTAX_LOCK, RTAX_MTU, RTAX_WINDOW, RTAX_ADVMSS, RTAX_INITCWND, RTAX_INITRWND = 1, 2, 3, 8, 11, 14
RTNH_F_ONLINK, RTM_F_CLONED, RTM_F_PREFIX = 0x4, 0x200, 0x800
RTPROT_REDIRECT, RTPROT_KERNEL, RTPROT_RA = 1, 2, 9
RT_TABLE_LOCAL = 255
AF_INET, AF_INET6 = 2, 10
TYPES = {
    1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast",
    6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw", 10: "nat",
}  # fmt: skip
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
PREFERENCES = {0: "medium", 1: "high", 3: "low"}  # RFC 4191

REQUEST = Dump(wire.RTM_GETROUTE, bytes(12))
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
# The shapes of a route by a nexthop object without metrics; the kernel repeats the nexthop's gateway and device.
_FAST4 = struct.Struct("=HHIHH4sHHI16x")  # TABLE, DST, NH_ID, then GATEWAY and OIF
_FAST4_HEADERS = (8, RTA_TABLE, 8, RTA_DST, 8, RTA_NH_ID)
_FAST6 = struct.Struct("=HHIHH16sHHIHHI28xHH32xHHB3x")  # TABLE, DST, PRIORITY, NH_ID, (GATEWAY, OIF), CACHEINFO, PREF
_FAST6_HEADERS = (8, RTA_TABLE, 20, RTA_DST, 8, RTA_PRIORITY, 8, RTA_NH_ID, 36, RTA_CACHEINFO, 5, RTA_PREF)


def decode(place: Place, messages: Sequence[bytes]) -> list[Route | None]:
    """Every route but those that the kernel makes by itself (kernel, redirect, RA; clones)."""
    rows: list[Route | None] = []
    netns, address = place.netns, wire.address
    unpack, fast4, fast6 = _RTMSG.unpack_from, _FAST4.unpack_from, _FAST6.unpack_from
    size4, size6 = 12 + _FAST4.size, 12 + _FAST6.size
    for message in messages:
        header = family, length, _, tos, _, protocol, scope, kind, flags = unpack(message)
        if protocol in (RTPROT_KERNEL, RTPROT_REDIRECT, RTPROT_RA) or flags & RTM_F_CLONED:
            rows.append(None)
            continue
        if kind == 1 and scope == 0:
            if family == AF_INET and len(message) == size4:
                length1, type1, table, length2, type2, dst, length3, type3, nhid = fast4(message, 12)
                if (length1, type1, length2, type2, length3, type3) == _FAST4_HEADERS:
                    key = RouteKey(netns, table, f"{address(dst)}/{length}", 0, tos)
                    rows.append(Route(key, "unicast", nhid, protocol=protocol))
                    continue
            elif family == AF_INET6 and len(message) == size6:
                found = fast6(message, 12)
                if found[0:2] + found[3:5] + found[6:8] + found[9:11] + found[12:16] == _FAST6_HEADERS and found[16] == 0:
                    key = RouteKey(netns, found[2], f"{address(found[5])}/{length}", found[8], tos)
                    rows.append(Route(key, "unicast", found[11], protocol=protocol))
                    continue
        row = _slow(place, header, wire.attributes(message, 12, len(message)))
        rows.append(row if row.key.table != RT_TABLE_LOCAL or protocol == PROTOCOL else None)
    return rows


def _slow(place: Place, header: tuple[int, ...], found: dict[int, bytes]) -> Route:
    family, length, _, tos, table, protocol, scope, kind, flags = header
    dst = wire.address(found[RTA_DST]) if RTA_DST in found else ("0.0.0.0" if family == AF_INET else "::")  # noqa: S104 - a default route, not a socket
    metric = wire.u32(found[RTA_PRIORITY]) if RTA_PRIORITY in found else 0
    table = wire.u32(found[RTA_TABLE]) if RTA_TABLE in found else table
    metrics = wire.nested(found[RTA_METRICS]) if RTA_METRICS in found else {}
    nhid = wire.u32(found[RTA_NH_ID]) if RTA_NH_ID in found else 0
    led = {} if nhid else found  # the kernel repeats the object's gateway and device; the number says it all

    def metric_of(number: int) -> int:
        return wire.u32(metrics[number]) if number in metrics else 0

    return Route(
        RouteKey(place.netns, table, f"{dst}/{length}", metric, tos),
        TYPES.get(kind, str(kind)),
        nhid,
        _gateway(led),
        place.interfaces.get(wire.u32(led[RTA_OIF]), "") if RTA_OIF in led and TYPES.get(kind) == "unicast" else "",
        bool(flags & RTNH_F_ONLINK) and not nhid,
        _hops(place, led[RTA_MULTIPATH]) if RTA_MULTIPATH in led else (),
        wire.address(found[RTA_PREFSRC]) if RTA_PREFSRC in found else "",
        SCOPES.get(scope, str(scope)),
        metric_of(RTAX_MTU),
        bool(metric_of(RTAX_LOCK) & (1 << RTAX_MTU)),
        metric_of(RTAX_ADVMSS),
        metric_of(RTAX_INITCWND),
        metric_of(RTAX_INITRWND),
        metric_of(RTAX_WINDOW),
        PREFERENCES.get(found[RTA_PREF][0], "medium") if RTA_PREF in found else "medium",
        protocol,
    )


def _gateway(found: dict[int, bytes]) -> str:
    if RTA_GATEWAY in found:
        return wire.address(found[RTA_GATEWAY])
    if RTA_VIA in found:  # struct rtvia: family, address
        return wire.address(found[RTA_VIA][2:])
    return ""


def _hops(place: Place, payload: bytes) -> tuple[Hop, ...]:
    """struct rtnexthop: length u16, flags u8, weight-1 u8, index s32, then attributes."""
    hops: list[Hop] = []
    offset = 0
    while offset + 8 <= len(payload):
        size, _, weight, index = struct.unpack_from("=HBBi", payload, offset)
        if size < 8 or offset + size > len(payload):
            raise wire.Malformed(f"a nexthop of {size} bytes with {len(payload) - offset} left")
        found = wire.attributes(payload, offset + 8, offset + size)
        hops.append(Hop(_gateway(found), place.interfaces.get(index, ""), weight + 1))
        offset += (size + 3) & ~3
    return tuple(hops)
