"""Forwarding entries of bridges and VXLAN devices: RTM_GETNEIGH with family AF_BRIDGE (rtnetlink(7), neighbour.h)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from reconciler.engine.reader import Dump, Place
from reconciler.kinds.fdb.row import Fdb, FdbKey
from reconciler.wire import netlink as wire
from reconciler.wire.bulk import Ages

AF_BRIDGE = 7
NDA_DST, NDA_LLADDR, NDA_CACHEINFO, NDA_VLAN, NDA_PORT, NDA_VNI = 1, 2, 3, 5, 6, 7
NDA_IFINDEX, NDA_NH_ID = 8, 13
NUD_PERMANENT, NUD_NOARP = 0x80, 0x40
NTF_SELF, NTF_EXT_LEARNED = 0x02, 0x10

REQUEST = Dump(wire.RTM_GETNEIGH, struct.pack("=BxxxiHBB", AF_BRIDGE, 0, 0, 0, 0))  # ndmsg
AGES = Ages(12, NDA_CACHEINFO)  # behind ndmsg
_NDMSG = struct.Struct("=BxxxiHBB")  # family, ifindex, state, flags, type
# The one shape that VXLAN entries with an IPv4 destination have: LLADDR (10), DST (8), then CACHEINFO.
_FAST = struct.Struct("=HH6sxxHH4s")
_FAST_HEADERS = (10, NDA_LLADDR, 8, NDA_DST)
_ZERO = bytes(6)


def decode(place: Place, messages: Sequence[bytes]) -> list[Fdb | None]:
    """Static entries only: what was learned, or is an interface's own address, is nobody's to state."""
    rows: list[Fdb | None] = []
    interfaces, netns = place.interfaces, place.netns
    unpack, fast, fast_size = _NDMSG.unpack_from, _FAST.unpack_from, 12 + _FAST.size + 20
    text, address = wire.mac, wire.address
    for message in messages:
        _, index, state, flags, _ = unpack(message)
        if not state & NUD_NOARP and state & NUD_PERMANENT and not flags & NTF_SELF:
            rows.append(None)  # an interface's own address, kept by its bridge
            continue
        if not state & (NUD_PERMANENT | NUD_NOARP):
            rows.append(None)  # learned
            continue
        if len(message) == fast_size and flags == NTF_SELF:
            length1, type1, mac, length2, type2, dst = fast(message, 12)
            if (length1, type1, length2, type2) == _FAST_HEADERS and not mac[0] & 1 and mac != _ZERO:
                rows.append(Fdb(FdbKey(netns, interfaces.get(index, ""), text(mac), 0, ""), address(dst), 0, 0, "self"))
                continue
        rows.append(_slow(netns, interfaces.get(index, ""), flags, wire.attributes(message, 12, len(message))))
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
