"""Neighbour entries: RTM_GETNEIGH for IPv4 and IPv6 (rtnetlink(7), include/uapi/linux/neighbour.h)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from reconciler.engine.reader import Dump, Place
from reconciler.kinds.neighbour.row import Neighbour, NeighbourKey
from reconciler.wire import netlink as wire
from reconciler.wire.bulk import Ages

NDA_DST, NDA_LLADDR, NDA_CACHEINFO, NDA_PROTOCOL = 1, 2, 3, 12
NUD_PERMANENT = 0x80
NTF_PROXY, NTF_EXT_LEARNED, NTF_ROUTER = 0x08, 0x10, 0x80

AGES = Ages(12, NDA_CACHEINFO)  # behind ndmsg
_NDMSG = struct.Struct("=BxxxiHBB")  # family, ifindex, state, flags, type
REQUEST = Dump(wire.RTM_GETNEIGH, _NDMSG.pack(0, 0, 0, 0, 0))
PROXY_REQUEST = Dump(wire.RTM_GETNEIGH, _NDMSG.pack(0, 0, 0, NTF_PROXY, 0))
# The shape of nearly all entries: DST (IPv4), LLADDR of 6 bytes, PROBES (4), CACHEINFO (16), PROTOCOL (1).
_FAST = struct.Struct("=HH4sHH6sxx8x20xHHB")
_FAST_HEADERS = (8, NDA_DST, 10, NDA_LLADDR, 5, NDA_PROTOCOL)


def decode(place: Place, messages: Sequence[bytes]) -> list[Neighbour | None]:
    """Permanent entries only: dynamic and NOARP ones are the kernel's own business."""
    rows: list[Neighbour | None] = []
    interfaces, netns = place.interfaces, place.netns
    unpack, fast, fast_size = _NDMSG.unpack_from, _FAST.unpack_from, 12 + _FAST.size
    text, address = wire.mac, wire.address
    for message in messages:
        _, index, state, flags, _ = unpack(message)
        if not state & NUD_PERMANENT and not flags & NTF_PROXY:
            rows.append(None)
            continue
        if fast_size <= len(message) <= fast_size + 3 and flags == 0:
            length1, type1, dst, length2, type2, lladdr, length3, type3, protocol = fast(message, 12)
            if (length1, type1, length2, type2, length3, type3) == _FAST_HEADERS:
                key = NeighbourKey(netns, interfaces.get(index, ""), address(dst))
                rows.append(Neighbour(key, text(lladdr), "permanent", False, False, protocol))
                continue
        rows.append(_slow(netns, interfaces.get(index, ""), flags, wire.attributes(message, 12, len(message))))
    return rows


def _slow(netns: str, dev: str, flags: int, found: dict[int, bytes]) -> Neighbour | None:
    if NDA_DST not in found or len(found[NDA_DST]) not in (4, 16):
        return None
    proxy = bool(flags & NTF_PROXY)
    return Neighbour(
        NeighbourKey(netns, dev, wire.address(found[NDA_DST])),
        wire.mac(found[NDA_LLADDR]) if NDA_LLADDR in found and not proxy else "",
        "" if proxy else "permanent",
        bool(flags & NTF_ROUTER),
        proxy,
        found[NDA_PROTOCOL][0] if NDA_PROTOCOL in found else 0,
    )
