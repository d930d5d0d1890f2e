"""The layout of netlink messages and attributes (netlink(7), include/uapi/linux/netlink.h).

Numbers are native-endian unless a name says otherwise.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from functools import lru_cache

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLA_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port id
ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type


def answer_to(request: int) -> int:
    """The type of the messages that answer RTM_GET...: the RTM_NEW... of the same object (rtnetlink.h)."""
    return request - 2


class Malformed(Exception):
    """Bytes that are not what the layout says. Never to be guessed around."""


# What reading an answer that is not what it should be may raise, in bytes as in a tool's text.
UNREADABLE = (Malformed, struct.error, LookupError, ValueError, OverflowError)


def messages(buffers: tuple[bytes, ...], wanted: int, header: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """(buffer, start, end) of the payload of every message of one type, behind nlmsghdr, each with `header` bytes at least."""
    unpack = HEADER.unpack_from
    for buffer in buffers:
        offset, size = 0, len(buffer)
        while offset + 16 <= size:
            length, kind, _, _, _ = unpack(buffer, offset)
            if length < 16 or offset + length > size:
                raise Malformed(f"a message of {length} bytes with {size - offset} left")
            if kind == wanted:
                if length < 16 + header:
                    raise Malformed(f"a message of {length} bytes, less than its header of {16 + header}")
                yield buffer, offset + 16, offset + length
            offset += (length + 3) & ~3


def attributes(buffer: bytes, start: int, end: int) -> dict[int, bytes]:
    """The attributes between two offsets, by type; of repeated ones the last."""
    found: dict[int, bytes] = {}
    unpack = ATTRIBUTE.unpack_from
    while start + 4 <= end:
        length, kind = unpack(buffer, start)
        if length < 4 or start + length > end:
            raise Malformed(f"an attribute of {length} bytes with {end - start} left")
        found[kind & NLA_TYPE_MASK] = buffer[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def nested(payload: bytes) -> dict[int, bytes]:
    """The attributes inside an attribute."""
    return attributes(payload, 0, len(payload))


def u8(payload: bytes) -> int:
    return payload[0]


def u16(payload: bytes) -> int:
    return int.from_bytes(payload[:2], "little" if _LITTLE else "big")


def u32(payload: bytes) -> int:
    return int.from_bytes(payload[:4], "little" if _LITTLE else "big")


def u64(payload: bytes) -> int:
    return int.from_bytes(payload[:8], "little" if _LITTLE else "big")


def s32(payload: bytes) -> int:
    return int.from_bytes(payload[:4], "little" if _LITTLE else "big", signed=True)


def be16(payload: bytes) -> int:
    return int.from_bytes(payload[:2], "big")


def be32(payload: bytes) -> int:
    return int.from_bytes(payload[:4], "big")


def text(payload: bytes) -> str:
    """A C string."""
    return payload.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


@lru_cache(maxsize=65536)
def mac(payload: bytes) -> str:
    """A link-layer address as iproute2 prints it."""
    return payload.hex(":")


@lru_cache(maxsize=65536)
def address(payload: bytes) -> str:
    """An IPv4 or IPv6 address, told apart by length, in its shortest form (RFC 5952)."""
    return socket.inet_ntop(socket.AF_INET if len(payload) == 4 else socket.AF_INET6, payload)


_LITTLE = struct.pack("=H", 1) == b"\x01\x00"
