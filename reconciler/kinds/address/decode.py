"""Addresses: RTM_GETADDR (rtnetlink(7), include/uapi/linux/if_addr.h)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from reconciler.engine.reader import Dump, Place
from reconciler.kinds.address.row import Address, AddressKey
from reconciler.wire import netlink as wire

IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST = 1, 2, 3, 4
IFA_FLAGS, IFA_RT_PRIORITY, IFA_PROTO = 8, 9, 11
IFA_F_DEPRECATED, IFA_F_PERMANENT = 0x20, 0x80
FLAGS = {0x02: "nodad", 0x10: "home", 0x100: "mngtmpaddr", 0x200: "noprefixroute", 0x400: "autojoin"}
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}  # rtnetlink.h, enum rt_scope_t
KERNEL = frozenset({1, 2, 3})  # IFAPROT_KERNEL_LO, _RA, _LL
AF_INET = 2

REQUEST = Dump(wire.RTM_GETADDR, bytes(8))
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface index


class Addresses(NamedTuple):
    """What people stated, and what the kernel, an RA or a DHCP client keeps by itself."""

    stated: list[Address]
    automatic: list[Address]


def decode(place: Place, buffers: tuple[bytes, ...]) -> Addresses:
    """Every address of a namespace. Lifetimes other than "forever" make one automatic."""
    found = Addresses([], [])
    for buffer, start, end in wire.messages(buffers, wire.RTM_NEWADDR, 8):
        family, length, flags, scope, index = _IFADDRMSG.unpack_from(buffer, start)
        parts = wire.attributes(buffer, start + 8, end)
        if IFA_FLAGS in parts:
            flags = wire.u32(parts[IFA_FLAGS])
        row = _row(place, family, length, flags, scope, index, parts)
        automatic = not flags & IFA_F_PERMANENT or row.proto in KERNEL or (IFA_PROTO not in parts and _link_local(row))
        (found.automatic if automatic else found.stated).append(row)
    return Addresses(_as_made(found.stated), found.automatic)


def _as_made(rows: list[Address]) -> list[Address]:
    """In the order in which they were made, and have to be made again: of IPv6 the kernel tells the newest first (ipv6_link_dev_addr)."""
    six = [row for row in rows if ":" in row.key.prefix]
    return [row for row in rows if ":" not in row.key.prefix] + six[::-1]


def _row(place: Place, family: int, length: int, flags: int, scope: int, index: int, parts: dict[int, bytes]) -> Address:
    dev = place.interfaces.get(index, "")
    local = parts.get(IFA_LOCAL) or parts[IFA_ADDRESS]  # without a peer, IPv6 has only ADDRESS
    peer = parts.get(IFA_ADDRESS, local)
    label = wire.text(parts.get(IFA_LABEL, b""))
    return Address(
        AddressKey(place.netns, dev, f"{wire.address(local)}/{length}"),
        peer=f"{wire.address(peer)}/{length}" if peer != local else "",
        broadcast=wire.address(parts[IFA_BROADCAST]) if IFA_BROADCAST in parts else "",
        scope=SCOPES.get(scope, str(scope)),
        label="" if label == dev else label,
        metric=wire.u32(parts[IFA_RT_PRIORITY]) if IFA_RT_PRIORITY in parts else 0,
        flags=tuple(sorted(word for bit, word in FLAGS.items() if flags & bit)),
        deprecated=bool(flags & IFA_F_DEPRECATED),
        proto=wire.u8(parts[IFA_PROTO]) if IFA_PROTO in parts else 0,
    )


def _link_local(row: Address) -> bool:
    """Kernels before 5.18 do not say who made an address; nearly every fe80::/64 is their own."""
    return row.key.prefix.startswith("fe80:") and row.key.prefix.endswith("/64")
