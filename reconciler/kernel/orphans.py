"""UDP sockets that speak through a service with a backend that is no more: the kernel ends them, so that they choose anew.

A connected socket was told its backend once. TCP notices a peer that has gone; UDP sends into the void for ever.
Which sockets these are stands in the reverse map of the programs (bpf/layout.h, struct pl_peer): by their cookies, so
that no other socket is touched. They are found and ended by sock_diag(7) in the namespaces where they may be.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from reconciler.engine.reader import NamespaceGone, ObservationFailed
from reconciler.kernel.bpf import delete_one, dump, look_up, opened_map, why
from reconciler.kernel.netns import inside
from reconciler.kinds.bpf_map_entry.layout import BACKENDS, FRONTS, INSIDE, LOOPBACK, REVERSE, UDP, address_text, loopback, service_of
from reconciler.wire import netlink as wire

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 4, 20, 21  # include/uapi/linux/netlink.h, sock_diag.h
_REQUEST = struct.Struct("=BBBxI48s")  # inet_diag.h, struct inet_diag_req_v2: family, protocol, ext, states, id
_ID = struct.Struct("=40xII")  # struct inet_diag_sockid: ports, addresses and device; then the cookie, low word first
_CONNECTED = 1 << 1  # 1 << TCP_ESTABLISHED, which is what a connected UDP socket is in
_ANSWER = 4  # bytes of struct inet_diag_msg before its id
_PEER = struct.Struct("=Q16s2s6x")  # struct pl_peer: cookie, address and port of the backend
_NAMED = struct.Struct("=16s2s2x")  # struct pl_named: the service
_BUFFER = 1 << 16
_LOOPBACKS = (b"\x7f", bytes(15) + b"\x01")  # how 127.0.0.0/8 begins behind the mapping, and ::1


class Ended(NamedTuple):
    """What became of them."""

    sockets: int
    left: tuple[str, ...] = ()  # why some may live on, for people


def end_orphans(maps: str, namespaces: Iterable[str], cookie: int) -> Ended:
    """End them in the node's namespace and in those of its pods.

    maps: the folder where these are pinned. cookie: of the node's namespace, by which services at loopback are known.
    Raises ObservationFailed when the maps cannot be read.
    """
    try:
        orphans = _orphans(maps, cookie)
        if not orphans:
            return Ended(0)
        ended, left = set[int](), []
        for netns in ("", *sorted(set(namespaces))):
            try:
                ended |= inside(netns, lambda: _end({*orphans}))
            except NamespaceGone:
                continue
            except (OSError, ObservationFailed) as error:
                left.append(f"sockets in {netns or 'the namespace of the node'}: {_words(error)}")
        _forget(maps, [key for number, keys in orphans.items() if number in ended or not left for key in keys])
    except OSError as error:
        raise ObservationFailed(f"{maps}: {why(error)}") from error
    return Ended(len(ended), tuple(left))


def _orphans(maps: str, cookie: int) -> dict[int, list[bytes]]:
    """Cookies of sockets whose backend their service does not have; with the keys of the entries that say so."""
    with opened_map(f"{maps}/{REVERSE}") as (descriptor, info):
        keys, values = dump(descriptor, info._replace(type="hash"))  # it is read as one
    if not keys:
        return {}
    found: dict[int, list[bytes]] = {}
    known: dict[tuple[bytes, bytes], frozenset[bytes]] = {}
    for start, (at, service) in zip(range(0, len(keys), _PEER.size), _NAMED.iter_unpack(values), strict=True):
        key = keys[start : start + _PEER.size]
        number, address, port = _PEER.unpack(key)
        there = known.get((at, service))
        if there is None:
            there = known[at, service] = _backends(maps, at, service, cookie)
        if address + port not in there:
            found.setdefault(number, []).append(key)
    return found


def _backends(maps: str, address: bytes, port: bytes, cookie: int) -> frozenset[bytes]:
    """Address and port of each backend that a service has now; none where there is no such service any more."""
    scope = INSIDE
    if address[12:].startswith(_LOOPBACKS[0]) or address == _LOOPBACKS[1]:
        address, scope = loopback(address_text(address), cookie), LOOPBACK
    with opened_map(f"{maps}/{FRONTS}") as (descriptor, info):
        raw = look_up(descriptor, info, address + port + bytes((UDP, scope)))
    if raw is None:
        return frozenset()
    service = service_of(raw)
    with opened_map(f"{maps}/{BACKENDS}") as (descriptor, info):
        slots = (look_up(descriptor, info, struct.pack("=II", service.id, slot)) for slot in range(service.backends))
        return frozenset(slot[:18] for slot in slots if slot is not None)


def _end(cookies: set[int]) -> set[int]:
    """Those that are in the namespace of this thread, ended. Raises OSError."""
    ended = set[int]()
    with _diag() as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            kernel.send(_message(SOCK_DIAG_BY_FAMILY, wire.NLM_F_DUMP, family, bytes(48)))
            for identity in _connected(kernel):
                low, high = _ID.unpack(identity)
                number = low | high << 32
                if number in cookies:
                    _destroy(kernel, family, identity)
                    ended.add(number)
    return ended


@contextmanager
def _diag() -> Iterator[socket.socket]:
    """A socket that tells of sockets, in the namespace of this thread."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
    with made:
        made.bind((0, 0))
        yield made


def _message(kind: int, flags: int, family: int, identity: bytes) -> bytes:
    body = _REQUEST.pack(family, socket.IPPROTO_UDP, 0, _CONNECTED, identity)
    return wire.HEADER.pack(16 + len(body), kind, wire.NLM_F_REQUEST | flags, 1, 0) + body


def _connected(kernel: socket.socket) -> list[bytes]:
    """The ids of a dump's sockets."""
    found: list[bytes] = []
    while True:
        for kind, body in _messages(kernel.recv(_BUFFER)):
            if kind == wire.NLMSG_DONE:
                return found
            if kind == wire.NLMSG_ERROR:
                raise _refused(body)
            found.append(body[_ANSWER : _ANSWER + 48])


def _destroy(kernel: socket.socket, family: int, identity: bytes) -> None:
    kernel.send(_message(SOCK_DESTROY, wire.NLM_F_ACK, family, identity))
    for kind, body in _messages(kernel.recv(_BUFFER)):
        if kind == wire.NLMSG_ERROR and (error := _refused(body)).errno not in (0, errno.ENOENT):
            raise error


def _messages(buffer: bytes) -> Iterable[tuple[int, bytes]]:
    offset = 0
    while offset + 16 <= len(buffer):
        length, kind, *_ = wire.HEADER.unpack_from(buffer, offset)
        if length < 16:
            raise OSError(errno.EPROTO, "a message without a length")
        yield kind, buffer[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def _refused(body: bytes) -> OSError:
    number = -wire.s32(body[:4])
    return OSError(number, os.strerror(number))


def _words(error: Exception) -> str:
    number = getattr(error, "errno", 0)
    if number == errno.EOPNOTSUPP:
        return "this kernel ends no sockets of others (CONFIG_INET_DIAG_DESTROY)"
    if number in (errno.EPERM, errno.EACCES):
        return "this process may not end them (CAP_NET_ADMIN there; CAP_SYS_ADMIN to get into a pod's namespace)"
    return str(getattr(error, "strerror", "") or error)


def _forget(maps: str, keys: Iterable[bytes]) -> None:
    """Of sockets that have ended, or that are nowhere, nothing needs to be known."""
    with opened_map(f"{maps}/{REVERSE}") as (descriptor, _):
        for key in keys:
            try:
                delete_one(descriptor, key)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
