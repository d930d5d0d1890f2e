"""Frames byte by byte, right in everything that a test did not make wrong."""

from __future__ import annotations

import struct
from ipaddress import ip_address

ROUTER, NODE = bytes.fromhex("020000000101"), bytes.fromhex("020000000111")
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
SYN, ACK, RST = 0x02, 0x10, 0x04
MORE = 0x2000  # IPv4: more fragments follow


def checksum(data: bytes) -> int:
    """RFC 1071."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total = int(sum(words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(payload: bytes, kind: int, to: bytes = NODE) -> bytes:
    return to + ROUTER + struct.pack("!H", kind) + payload


def pseudo(source: str, target: str, length: int, proto: int) -> bytes:
    one, other = ip_address(source), ip_address(target)
    return one.packed + other.packed + struct.pack("!II", length, proto)


def ipv4(source: str, target: str, proto: int, payload: bytes, *, length: int | None = None, options: bytes = b"", **fields: int) -> bytes:
    """A frame. `fields`: ihl (words), version, id, fragment (flags and offset), ttl."""
    words = fields.get("ihl", 5 + len(options) // 4)
    head = struct.pack(
        "!BBHHHBBH4s4s",
        fields.get("version", 4) << 4 | words,
        0,
        20 + len(options) + len(payload) if length is None else length,
        fields.get("id", 1),
        fields.get("fragment", 0),
        fields.get("ttl", 64),
        proto,
        0,
        ip_address(source).packed,
        ip_address(target).packed,
    )
    head += options
    head = head[:10] + struct.pack("!H", checksum(head[: max(words, 5) * 4])) + head[12:]
    return ethernet(head + payload, 0x0800)


def ipv6(source: str, target: str, proto: int, payload: bytes, *, length: int | None = None, version: int = 6) -> bytes:
    head = struct.pack("!IHBB", version << 28, len(payload) if length is None else length, proto, 64)
    return ethernet(head + ip_address(source).packed + ip_address(target).packed + payload, 0x86DD)


def udp(ends: tuple[str, str], ports: tuple[int, int], data: bytes = b"?", *, length: int | None = None, summed: bool = True) -> bytes:
    """A datagram; `ends` are what its checksum covers."""
    length = 8 + len(data) if length is None else length
    head = struct.pack("!HHH", *ports, length)
    total = checksum(pseudo(*ends, 8 + len(data), UDP) + head + b"\0\0" + data) or 0xFFFF
    return head + struct.pack("!H", total if summed else 0) + data


def tcp(ends: tuple[str, str], ports: tuple[int, int], flags: int = SYN, *, words: int = 5, data: bytes = b"", sequence: int = 1) -> bytes:
    head = struct.pack("!HHIIBBHHH", *ports, sequence, 0, words << 4, flags, 1000, 0, 0)
    total = checksum(pseudo(*ends, len(head) + len(data), TCP) + head + data)
    return head[:16] + struct.pack("!H", total) + head[18:] + data


def icmp(kind: int, code: int, quoted: bytes, ends: tuple[str, str] | None = None) -> bytes:
    """An error; `ends` for IPv6, whose checksum covers them."""
    head = struct.pack("!BBHI", kind, code, 0, 0)
    covered = head + quoted if ends is None else pseudo(*ends, len(head) + len(quoted), ICMPV6) + head + quoted
    return head[:2] + struct.pack("!H", checksum(covered)) + head[4:] + quoted


def extension(following: int, body: bytes = bytes(6)) -> bytes:
    """An IPv6 extension header of options (padding, unless told otherwise)."""
    body = body if any(body) else b"\x01" + bytes([len(body) - 2]) + bytes(len(body) - 2)
    return bytes([following, (2 + len(body)) // 8 - 1]) + body


def fragment(following: int, offset: int, *, more: bool, number: int = 7) -> bytes:
    """IPv6's fragment header; the offset in bytes."""
    return struct.pack("!BBHI", following, 0, offset | int(more), number)


def routing(following: int, left: int) -> bytes:
    """Type 0 (RFC 5095: deprecated)."""
    return bytes([following, 0, 0, left]) + bytes(4)
