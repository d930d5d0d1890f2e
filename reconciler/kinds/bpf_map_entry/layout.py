"""What the maps of services hold: bpf/layout.h in Python, which a test holds against the BTF of the built objects.

Addresses are 16 bytes in network order, IPv4 ones mapped (RFC 4291, 2.5.5.2); ports are in network order, all else in the host's.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

VERSION = 1
INSIDE, OUTSIDE, LOOPBACK, IN_RANGES = 0, 1, 2, 3  # enum pl_scope
KEEP_CLIENT, DROP_EMPTY, RANGED = 1, 2, 4  # enum pl_service_flags
HERE = 1  # enum pl_backend_flags
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
PROTOCOLS = {TCP: "tcp", UDP: "udp"}
SCOPES = {INSIDE: "", OUTSIDE: " from outside", LOOPBACK: " on loopback"}
DROPS = (  # enum pl_drop
    "no_backend",
    "no_first_fragment",
    "malformed",
    "no_port",
    "no_source",
    "map_full",
    "no_flow",
    "no_range",
)
FRONTS, BACKENDS, RANGES, COUNTS, DROPPED, REVERSE = (
    f"pl_{name}_{VERSION}" for name in ("front", "back", "range", "count", "drop", "sockrev")
)
SLOTS = f"pl_j_tc_{VERSION}"

_FRONT = struct.Struct("=16s2sBB")
_SERVICE = struct.Struct("=IIII")
_SLOT = struct.Struct("=II")
_BACKEND = struct.Struct("=16s2sBB")
_RANGE = struct.Struct("=II16s")
_ID = struct.Struct("=I")
COUNT = struct.Struct("=QQQ")  # struct pl_count
_MAPPED = bytes(10) + b"\xff\xff"
_PORT = struct.Struct("!H")


class Map(NamedTuple):
    """What a map of ours is made like (bpf(2), BPF_MAP_CREATE); sizes in bytes."""

    type: str  # as bpftool names it
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0


class Service(NamedTuple):
    """What a front leads to: struct pl_service."""

    id: int  # of a list of backends; RANGED: of ranges
    backends: int  # how many it has: struct pl_service calls it count, which is a tuple's own word
    affinity: int  # seconds; 0: none
    flags: int


ON_DEMAND = 1  # BPF_F_NO_PREALLOC: takes memory for what is in it
_ARRAY = Map("prog_array", 4, 4, 1)
_LRU = "lru_hash"
MAPS = {
    FRONTS: Map("hash", _FRONT.size, _SERVICE.size, 1 << 16, ON_DEMAND),
    BACKENDS: Map("hash", _SLOT.size, _BACKEND.size, 1 << 18, ON_DEMAND),
    RANGES: Map("lpm_trie", _RANGE.size, 4, 1 << 18, ON_DEMAND),
    COUNTS: Map("percpu_hash", 4, COUNT.size, 1 << 16, ON_DEMAND),
    DROPPED: Map("percpu_array", 4, 8, len(DROPS)),
    f"pl_affin_{VERSION}": Map(_LRU, 24, 32, 1 << 16),
    REVERSE: Map(_LRU, 32, 20, 1 << 16),
    f"pl_sockpeer_{VERSION}": Map(_LRU, 32, 20, 1 << 16),
    f"pl_sockfwd_{VERSION}": Map(_LRU, 32, 24, 1 << 16),
    f"pl_flow_{VERSION}": Map(_LRU, 44, 104, 1 << 17),
    f"pl_frag_{VERSION}": Map(_LRU, 40, 16, 1 << 14),
    **{f"pl_j_{short}_{VERSION}": _ARRAY for short in ("con4", "con6", "snd4", "snd6", "rcv4", "rcv6", "peer4", "peer6")},
    SLOTS: _ARRAY._replace(max_entries=8),
}
HOOKS = {  # attach type of a cgroup, which is the name of its program too → its program array
    "connect4": f"pl_j_con4_{VERSION}",
    "connect6": f"pl_j_con6_{VERSION}",
    "sendmsg4": f"pl_j_snd4_{VERSION}",
    "sendmsg6": f"pl_j_snd6_{VERSION}",
    "recvmsg4": f"pl_j_rcv4_{VERSION}",
    "recvmsg6": f"pl_j_rcv6_{VERSION}",
    "getpeername4": f"pl_j_peer4_{VERSION}",
    "getpeername6": f"pl_j_peer6_{VERSION}",
}
DIRECTIONS = ("ingress", "egress")  # in the order of enum pl_device_slot
SOURCE_PORTS = (61000, 65535)  # PL_SOURCE_PORTS_*: what the device level takes for its own


class Object(NamedTuple):
    """An object of eBPF: its programs, and the maps that these use."""

    programs: tuple[str, ...]
    maps: tuple[str, ...]


_SHARED = (FRONTS, BACKENDS, COUNTS, DROPPED, f"pl_affin_{VERSION}")
OBJECTS = {
    "stub": Object((*HOOKS, *DIRECTIONS), (*HOOKS.values(), SLOTS)),
    "sock": Object((*HOOKS,), (*_SHARED, *(f"pl_sock{name}_{VERSION}" for name in ("rev", "peer", "fwd")))),
    "device": Object(DIRECTIONS, (*_SHARED, RANGES, f"pl_flow_{VERSION}", f"pl_frag_{VERSION}")),
}


def address(text: str) -> bytes:
    """16 bytes of an address. Raises OSError for what is none."""
    return socket.inet_pton(socket.AF_INET6, text) if ":" in text else _MAPPED + socket.inet_aton(text)


def address_text(raw: bytes) -> str:
    """An address in its shortest form."""
    return socket.inet_ntop(socket.AF_INET, raw[12:]) if raw[:12] == _MAPPED else socket.inet_ntop(socket.AF_INET6, raw)


def loopback(text: str, cookie: int) -> bytes:
    """16 bytes of a loopback address as the network namespace with this cookie has it."""
    return struct.pack("=Q", cookie) + address(text)[8:]


def front_key(addr: bytes, port: int, protocol: int, scope: int) -> bytes:
    """struct pl_front."""
    return _FRONT.pack(addr, _PORT.pack(port), protocol, scope)


def front_value(service: Service) -> bytes:
    """struct pl_service."""
    return _SERVICE.pack(*service)


def service_of(value: bytes) -> Service:
    """struct pl_service, read."""
    return Service(*_SERVICE.unpack(value))


def in_ranges(key: bytes, number: int) -> bytes:
    """The key of what a front that is RANGED, at `key`, leads those to whom the ranges of this id hold."""
    _, port, protocol, _ = _FRONT.unpack(key)
    return _FRONT.pack(_ID.pack(number), port, protocol, IN_RANGES)


def network(text: str) -> bytes:
    """A network in 17 bytes: how many bits of its 16 bytes count, and these. Raises OSError."""
    addr, _, length = text.partition("/")
    return bytes((int(length) + (0 if ":" in addr else 96),)) + address(addr)


def range_key(number: int, network: bytes) -> bytes:
    """struct pl_range."""
    return _RANGE.pack(32 + network[0], number, network[1:])


def range_of(key: bytes) -> tuple[int, bytes]:
    """struct pl_range, read: the id of the ranges and the network. A key of too few bits, which others wrote, is one of all addresses."""
    bits, number, addr = _RANGE.unpack(key)
    return number, bytes((max(bits - 32, 0),)) + addr


def network_text(network: bytes) -> str:
    """ "192.0.2.0/24"."""
    text = address_text(network[1:])
    return f"{text}/{network[0] - (0 if ':' in text else 96)}"


IN_RANGE = bytes(4)  # the value of a range


def slot_key(number: int, slot: int) -> bytes:
    """struct pl_slot."""
    return _SLOT.pack(number, slot)


def slot_of(key: bytes) -> tuple[int, int]:
    """struct pl_slot, read: the list's id and the slot."""
    number, slot = _SLOT.unpack(key)
    return number, slot


def backend_value(addr: bytes, port: int, flags: int) -> bytes:
    """struct pl_backend."""
    return _BACKEND.pack(addr, _PORT.pack(port), flags, 0)


def array_key(slot: int) -> bytes:
    """The key of a program array."""
    return struct.pack("=I", slot)


def point(addr: bytes, port: bytes) -> str:
    """ "10.96.0.10:53", "[fd00::10]:53"."""
    text = address_text(addr)
    number = _PORT.unpack(port)[0]
    return f"[{text}]:{number}" if ":" in text else f"{text}:{number}"


def front_text(key: bytes) -> str:
    """ "10.96.0.10:53/udp", "10.0.1.11:30053/udp from outside"."""
    addr, port, protocol, scope = _FRONT.unpack(key)
    if scope == IN_RANGES:
        return f"in ranges {_ID.unpack_from(addr)[0]}, {_PORT.unpack(port)[0]}/{PROTOCOLS.get(protocol, protocol)}"
    if scope == LOOPBACK:
        addr = bytes(8) + addr[8:]
    return f"{point(addr, port)}/{PROTOCOLS.get(protocol, protocol)}{SCOPES.get(scope, '')}"


def backend_text(value: bytes) -> str:
    """ "10.244.1.5:8080", "[fd00::5]:8080 here"."""
    addr, port, flags, _ = _BACKEND.unpack(value)
    return f"{point(addr, port)}{' here' if flags & HERE else ''}"


def words(name: str, key: bytes, value: bytes | str) -> str:
    """An entry in words, for people; "" for a map that this knows nothing of, or an entry of another size."""
    try:
        if name == FRONTS and isinstance(value, bytes):
            number, count, _, flags = service_of(value)
            if flags & RANGED:
                return f"{front_text(key)} → only in ranges {number}"
            return f"{front_text(key)} → {count} {'backend' if count == 1 else 'backends'}"
        if name == BACKENDS and isinstance(value, bytes):
            number, slot = slot_of(key)
            return f"list {number} slot {slot} → {backend_text(value)}"
        if name == RANGES:
            number, held = range_of(key)
            return f"ranges {number}: from {network_text(held)}"
    except struct.error:
        return ""
    return ""
