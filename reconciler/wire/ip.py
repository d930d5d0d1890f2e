"""Addresses and networks as text, checked and normalised without an object for each. Pure."""

from __future__ import annotations

import socket
from functools import lru_cache

REMEMBERED = 65536  # addresses and networks: those of a large cluster are read again and again


def family_of(text: str) -> int:
    """4 or 6, by what it looks like."""
    return 6 if ":" in text else 4


def packed(address: str) -> bytes:
    """4 or 16 bytes. Raises ValueError."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError:
        raise ValueError(f"{address!r} is no address") from None


@lru_cache(maxsize=REMEMBERED)
def normal_address(address: str) -> str:
    """The shortest form (RFC 5952). Raises ValueError."""
    raw = packed(address)
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


@lru_cache(maxsize=REMEMBERED)
def normal_network(network: str) -> str:
    """A network in its shortest form; host bits are an error. Raises ValueError."""
    raw, length, host = _parts(network)
    if host:
        raise ValueError(f"{network!r} has host bits set")
    return _text(raw, length)


def network_around(text: str) -> str:
    """A network in its shortest form; host bits are left out. Raises ValueError."""
    raw, length, host = _parts(text)
    return _text((int.from_bytes(raw, "big") ^ host).to_bytes(len(raw), "big"), length)


def _parts(network: str) -> tuple[bytes, int, int]:
    """Address, prefix length, and the host bits of the address. Raises ValueError."""
    address, slash, length = network.partition("/")
    raw = packed(address)
    bits = len(raw) * 8
    if not slash or not length.isascii() or not length.isdigit() or int(length) > bits:
        raise ValueError(f"{network!r} is no network: a prefix length of 0 to {bits} is missing")
    return raw, int(length), int.from_bytes(raw, "big") & ((1 << (bits - int(length))) - 1)


def _text(raw: bytes, length: int) -> str:
    return f"{socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)}/{length}"


@lru_cache(maxsize=REMEMBERED)
def span(text: str) -> tuple[int, int, int, int]:
    """Of a network, or an address: family, first address, prefix length, last address; comparable with others. Raises ValueError."""
    address, _, said = text.partition("/")
    family, bits = (6, 128) if ":" in address else (4, 32)
    first = int.from_bytes(packed(address), "big")
    length = int(said) if said else bits
    return family, first, length, first + (1 << (bits - length)) - 1


def overlap(one: str, other: str) -> bool:
    """Whether two networks or addresses have an address in common. Raises ValueError."""
    family, first, _, last = span(one)
    other_family, other_first, _, other_last = span(other)
    return family == other_family and first <= other_last and other_first <= last


def routed(network: str) -> str:
    """A network in its shortest form, if it can be routed to one node.

    Raises ValueError for everything (/0), and for multicast, loopback and link-local ones (RFC 6890).
    """
    address, _, length = network.partition("/")
    raw = packed(address)
    link_local = raw[:2] == b"\xa9\xfe" if len(raw) == 4 else raw[0] == 0xFE and raw[1] & 0xC0 == 0x80
    if length == "0" or link_local or (raw.strip(b"\0") and not usable_by_a_host(address)):
        raise ValueError(f"{network} cannot be the pods' of one node")
    return network


def usable_by_a_host(address: str) -> bool:
    """False for loopback, multicast and unspecified addresses (RFC 6890). Raises ValueError."""
    raw = packed(address)
    if len(raw) == 4:
        return 0 < raw[0] < 224 and raw[0] != 127
    return raw[0] != 0xFF and raw[:15] != bytes(15)
