"""Forwarding entries of bridges and VXLAN devices: RTM_GETNEIGH with family AF_BRIDGE (rtnetlink(7), neighbour.h)."""

from __future__ import annotations

import struct

from reconciler.engine.kind import Dump, Place
from reconciler.kinds.fdb.row import Fdb, FdbKey
from reconciler.wire import netlink as wire

AF_BRIDGE = 7
NDA_DST, NDA_LLADDR, NDA_CACHEINFO, NDA_VLAN, NDA_PORT, NDA_VNI = 1, 2, 3, 5, 6, 7
NDA_IFINDEX, NDA_NH_ID = 8, 13
NUD_PERMANENT, NUD_NOARP = 0x80, 0x40
NTF_SELF, NTF_EXT_LEARNED = 0x02, 0x10

REQUEST = Dump(wire.RTM_GETNEIGH, struct.pack("=BxxxiHBB", AF_BRIDGE, 0, 0, 0, 0))  # ndmsg
_NDMSG = struct.Struct("=BxxxiHBB")  # family, ifindex, state, flags, type
# The one shape that VXLAN entries with an IPv4 destination have: LLADDR (10), DST (8), then CACHEINFO.
_FAST = struct.Struct("=HH6sxxHH4s")
_FAST_HEADERS = (10, NDA_LLADDR, 8, NDA_DST)
_ZERO = bytes(6)


def decode(place: Place, buffers: tuple[bytes, ...]) -> list[Fdb]:
    """Static entries only: what was learned, or is an interface's own address, is nobody's to state."""
    rows: list[Fdb] = []
    interfaces, netns = place.interfaces, place.netns
    unpack, fast, fast_size = _NDMSG.unpack_from, _FAST.unpack_from, _FAST.size
    text, address = wire.mac, wire.address
    for buffer, start, end in wire.messages(buffers, wire.RTM_NEWNEIGH):
        _, index, state, flags, _ = unpack(buffer, start)
        if not state & NUD_NOARP and state & NUD_PERMANENT and not flags & NTF_SELF:
            continue  # an interface's own address, kept by its bridge
        if not state & (NUD_PERMANENT | NUD_NOARP):
            continue  # learned
        body = start + 12
        if end - body == fast_size + 20 and flags == NTF_SELF:
            length1, type1, mac, length2, type2, dst = fast(buffer, body)
            if (length1, type1, length2, type2) == _FAST_HEADERS and not mac[0] & 1 and mac != _ZERO:
                rows.append(Fdb(FdbKey(netns, interfaces.get(index, ""), text(mac), 0, ""), address(dst), 0, 0, "self", ()))
                continue
        row = _slow(netns, interfaces.get(index, ""), flags, wire.attributes(buffer, body, end))
        if row is not None:
            rows.append(row)
    return rows


def _slow(netns: str, dev: str, flags: int, found: dict[int, bytes]) -> Fdb | None:
    if NDA_LLADDR not in found:
        return None  # an entry of a nexthop group, which this kind cannot state
    mac = wire.mac(found[NDA_LLADDR])
    if flags & NTF_SELF and NDA_DST not in found and NDA_VLAN not in found:
        return None  # an address filter of the device itself (multicast memberships)
    dst = wire.address(found[NDA_DST]) if NDA_DST in found else ""
    return Fdb(
        FdbKey(netns, dev, mac, wire.u16(found[NDA_VLAN]) if NDA_VLAN in found else 0, dst if many(mac) else ""),
        dst,
        wire.be16(found[NDA_PORT]) if NDA_PORT in found else 0,
        wire.u32(found[NDA_VNI]) if NDA_VNI in found else 0,
        "self" if flags & NTF_SELF else "master",
    )


def many(mac: str) -> bool:
    """True for a MAC that may have several destinations: all-zero and multicast ones (vxlan driver)."""
    return mac == "00:00:00:00:00:00" or bool(int(mac[:2], 16) & 1)


def without_ages(buffer: bytes) -> bytes:
    """A buffer with every NDA_CACHEINFO blanked: ages change by themselves."""
    blank = bytearray(buffer)
    offset = 0
    while offset + 16 <= len(blank):
        length, kind, _, _, _ = wire.HEADER.unpack_from(blank, offset)
        if length < 16:
            break
        if kind == wire.RTM_NEWNEIGH:
            _blank_ages(blank, offset + 28, offset + length)
        offset += (length + 3) & ~3
    return bytes(blank)


def _blank_ages(blank: bytearray, start: int, end: int) -> None:
    while start + 4 <= end:
        length, kind = wire.ATTRIBUTE.unpack_from(blank, start)
        if length < 4:
            return
        if kind == NDA_CACHEINFO:
            blank[start + 4 : start + length] = bytes(length - 4)
            return
        start += (length + 3) & ~3
