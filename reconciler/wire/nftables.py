"""The layout of nftables' messages (include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h). Pure.

Numbers inside attributes are big-endian, unlike rtnetlink's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from reconciler.wire import netlink as wire

NETLINK_NETFILTER = 12  # include/uapi/linux/netlink.h
SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
NFNLGRP_NFTABLES = 7

NEWTABLE, GETTABLE = SUBSYSTEM << 8, SUBSYSTEM << 8 | 1
NEWCHAIN, GETCHAIN = SUBSYSTEM << 8 | 3, SUBSYSTEM << 8 | 4
NEWSET, GETSET = SUBSYSTEM << 8 | 9, SUBSYSTEM << 8 | 10
NEWSETELEM, GETSETELEM = SUBSYSTEM << 8 | 12, SUBSYSTEM << 8 | 13
NEWGEN, GETGEN = SUBSYSTEM << 8 | 15, SUBSYSTEM << 8 | 16
NEWRULE, GETRULE = SUBSYSTEM << 8 | 6, SUBSYSTEM << 8 | 7

_NFGENMSG = struct.Struct("!BBH")  # family, version, resource id
NFGENMSG = _NFGENMSG.size

TABLE_NAME = 1  # of tables, and of the table that a chain, rule, set or element is in
CHAIN_NAME, CHAIN_HOOK, HOOK_NUMBER = 3, 4, 1
RULE_CHAIN = 2
SET_NAME, SET_FLAGS, SET_KEY_TYPE, SET_KEY_LENGTH = 2, 3, 4, 5
ELEMENTS_SET, ELEMENTS = 2, 3
ELEMENT_KEY, DATA_VALUE = 1, 1
GEN_ID = 1

SET_ANONYMOUS, SET_INTERVAL, SET_MAP, SET_TIMEOUT, SET_EVAL, SET_OBJECT = 0x1, 0x4, 0x8, 0x10, 0x20, 0x40
HOOK_FORWARD = 2  # NF_INET_FORWARD, NF_BR_FORWARD, NF_ARP_FORWARD
NFPROTO_NETDEV = 5
FAMILIES = {1: "inet", 2: "ip", 3: "arp", NFPROTO_NETDEV: "netdev", 7: "bridge", 10: "ip6"}  # NFPROTO_*, in nft's words
NUMBERS = {name: number for number, name in FAMILIES.items()}
BASIC_TYPES = {7: "ipv4_addr", 8: "ipv6_addr", 9: "ether_addr", 13: "inet_service"}  # nft's own numbers, 6 bits each in a concatenation


class Message(NamedTuple):
    """One message: its family and its attributes."""

    family: str
    found: dict[int, bytes]

    def text(self, attribute: int) -> str:
        return wire.text(self.found.get(attribute, b""))

    def number(self, attribute: int) -> int:
        return wire.be32(self.found.get(attribute, b""))


def body(family: int = 0, **named: tuple[int, str]) -> bytes:
    """What follows nlmsghdr in a request: nfgenmsg, and attributes that are names."""
    parts = [_NFGENMSG.pack(family, 0, 0)]
    for kind, value in named.values():
        raw = value.encode() + b"\0"
        parts.append(wire.ATTRIBUTE.pack(4 + len(raw), kind) + raw + bytes(-len(raw) % 4))
    return b"".join(parts)


def messages(buffers: tuple[bytes, ...], kind: int) -> Iterator[Message]:
    """Every message of one type, of the families that nft has a word for. Raises Malformed."""
    for buffer, start, end in wire.messages(buffers, kind):
        if end < start + NFGENMSG:
            raise wire.Malformed(f"an nftables message of {end - start} bytes")
        family = FAMILIES.get(buffer[start])
        if family is not None:
            yield Message(family, wire.attributes(buffer, start + NFGENMSG, end))


def made(kind: int) -> int:
    """The NFT_MSG_NEW... of the object that a notification is about: they stand in threes, new, get, del."""
    return kind - (kind & 0xFF) % 3 if kind < NEWGEN else kind


def deletes(kind: int) -> bool:
    """Whether a notification tells of something that has gone."""
    return kind < NEWGEN and (kind & 0xFF) % 3 == 2


def basic_types(number: int) -> tuple[str, ...] | None:
    """nft's words for a set's key type, one for each part of a concatenation; None where a part is of another type."""
    parts: list[str] = []
    while number:
        name = BASIC_TYPES.get(number & 0x3F)
        if name is None:
            return None
        parts.append(name)
        number >>= 6
    return tuple(reversed(parts)) or None


def keys(elements: bytes, length: int) -> list[bytes]:
    """The keys of `length` bytes in one NFTA_SET_ELEM_LIST_ELEMENTS. Raises Malformed.

    Elements without anything but their key are all of one shape: those are cut out in one go.
    """
    stride = 12 + ((length + 3) & ~3)
    shape = wire.ATTRIBUTE.pack(stride, 1) + wire.ATTRIBUTE.pack(stride - 4, ELEMENT_KEY) + wire.ATTRIBUTE.pack(length + 4, DATA_VALUE)
    count, rest = divmod(len(elements), stride)
    if not rest and all(elements[at::stride] == shape[at : at + 1] * count for at in range(12)):
        return [elements[at : at + length] for at in range(12, len(elements), stride)]
    return [_key(payload, length) for payload in _list(elements)]


def _list(elements: bytes) -> Iterator[bytes]:
    start, end = 0, len(elements)
    while start + 4 <= end:
        size, _ = wire.ATTRIBUTE.unpack_from(elements, start)
        if size < 4 or start + size > end:
            raise wire.Malformed(f"an element of {size} bytes with {end - start} left")
        yield elements[start + 4 : start + size]
        start += (size + 3) & ~3


def _key(payload: bytes, length: int) -> bytes:
    value = wire.nested(wire.nested(payload).get(ELEMENT_KEY, b"")).get(DATA_VALUE, b"")
    if len(value) != length:
        raise wire.Malformed(f"an element's key of {len(value)} bytes in a set of {length}")
    return value
