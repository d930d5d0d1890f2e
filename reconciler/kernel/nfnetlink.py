"""nftables over raw netlink: dumps, and the number by which an unchanged ruleset is known.

Rules are read by `nft` alone, whose words a plan is made of; what a warm daemon
asks again and again is only whether anything has changed since.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import ClassVar, NamedTuple

from reconciler.engine.reader import ObservationFailed
from reconciler.kernel.netlink import RouteSocket
from reconciler.wire import netlink as wire
from reconciler.wire import nftables

SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h, Linux 5.14: never given twice between two boots


class Generation(NamedTuple):
    """What tells one ruleset from any other: its namespace, and how often it was changed (NFTA_GEN_ID)."""

    cookie: bytes
    number: int


class NetfilterSocket(RouteSocket):
    """One nfnetlink socket, in the namespace of the thread that opens it."""

    protocol: ClassVar[int] = nftables.NETLINK_NETFILTER

    def generation(self) -> Generation | None:
        """None on kernels that do not tell namespaces apart. Raises ObservationFailed."""
        self._sequence += 1
        flags = wire.NLM_F_REQUEST | wire.NLM_F_ACK
        request = nftables.body()
        try:
            cookie = self._socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        except OSError:
            return None
        number = -1
        try:
            self._socket.send(wire.HEADER.pack(16 + len(request), nftables.GETGEN, flags, self._sequence, 0) + request)
            while True:
                buffer = self._socket.recv(1 << 16)
                for kind, sequence, start, end in _messages(buffer):
                    if sequence != self._sequence:
                        continue
                    if kind == nftables.NEWGEN:
                        number = wire.be32(wire.attributes(buffer, start + nftables.NFGENMSG, end).get(nftables.GEN_ID, b""))
                    elif kind == wire.NLMSG_ERROR:
                        _raise(-wire.s32(buffer[start : start + 4]))
                        return Generation(cookie, number) if number > 0 else None
        except (OSError, wire.Malformed) as error:
            raise ObservationFailed(f"nftables' generation: {getattr(error, 'strerror', None) or error}") from error


def _messages(buffer: bytes) -> list[tuple[int, int, int, int]]:
    """(type, sequence, start, end) of every message's payload. Raises Malformed."""
    found: list[tuple[int, int, int, int]] = []
    offset = 0
    while offset + 16 <= len(buffer):
        length, kind, _, sequence, _ = wire.HEADER.unpack_from(buffer, offset)
        if length < 16 or offset + length > len(buffer):
            raise wire.Malformed(f"a message of {length} bytes with {len(buffer) - offset} left")
        found.append((kind, sequence, offset + 16, offset + length))
        offset += (length + 3) & ~3
    return found


def _raise(number: int) -> None:
    if number == errno.EINVAL:  # nfnetlink knows no such subsystem and could load none
        raise ObservationFailed("nftables: Protocol not supported by this kernel; load nf_tables, or use a kernel that is built with it")
    if number:
        raise ObservationFailed(f"nftables: {os.strerror(number)}")
