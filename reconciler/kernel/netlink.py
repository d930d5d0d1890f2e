"""Dumps over a raw rtnetlink socket (netlink(7), rtnetlink(7))."""

from __future__ import annotations

import errno
import os
import socket
from types import TracebackType

from reconciler.engine.kind import Dump, ObservationFailed
from reconciler.wire import netlink as wire

SOL_NETLINK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 11, 12  # include/uapi/linux/netlink.h
_BUFFER = 1 << 20  # bytes; the kernel fills at most 32 KiB a message, so nothing is ever truncated
_INTERRUPTED_TRIES = 20


class RouteSocket:
    """One rtnetlink socket, in the namespace of the thread that opens it."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        except OSError as error:
            raise ObservationFailed(f"cannot open a netlink socket: {error.strerror}") from error
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.settimeout(30)  # a kernel that does not answer in this time does not answer
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> RouteSocket:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def dump(self, request: Dump) -> tuple[bytes, ...]:
        """A complete and consistent dump; an interrupted one (NLM_F_DUMP_INTR) is asked for again."""
        for _ in range(_INTERRUPTED_TRIES):
            buffers = self._once(request)
            if buffers is not None:
                return buffers
        raise ObservationFailed(f"netlink dump {request.type} was interrupted {_INTERRUPTED_TRIES} times")

    def _once(self, request: Dump) -> tuple[bytes, ...] | None:
        self._sequence += 1
        flags = wire.NLM_F_REQUEST | wire.NLM_F_DUMP
        try:
            self._socket.send(wire.HEADER.pack(16 + len(request.body), request.type, flags, self._sequence, 0) + request.body)
            buffers: list[bytes] = []
            interrupted = False
            while True:
                buffer = self._socket.recv(_BUFFER)
                state = self._scan(buffer, request)
                if state.stale:
                    continue
                interrupted |= state.interrupted
                buffers.append(buffer)
                if state.done:
                    return None if interrupted else tuple(buffers)
        except OSError as error:
            raise ObservationFailed(f"netlink dump {request.type}: {error.strerror or error}") from error

    def _scan(self, buffer: bytes, request: Dump) -> _State:
        """Walk the headers: whose answer, interrupted or not, ended or failed."""
        offset, interrupted, done = 0, False, False
        while offset + 16 <= len(buffer):
            length, kind, flags, sequence, _ = wire.HEADER.unpack_from(buffer, offset)
            if length < 16 or offset + length > len(buffer):
                raise ObservationFailed(f"netlink dump {request.type}: a message of {length} bytes in {len(buffer) - offset}")
            if sequence != self._sequence:
                return _State(stale=True)
            interrupted |= bool(flags & wire.NLM_F_DUMP_INTR)
            if kind in (wire.NLMSG_DONE, wire.NLMSG_ERROR):
                done = True
                number = -wire.s32(buffer[offset + 16 : offset + 20]) if length >= 20 else 0
                if number:
                    raise ObservationFailed(f"netlink dump {request.type}: {errno.errorcode.get(number, number)}: {os.strerror(number)}")
            offset += (length + 3) & ~3
        return _State(interrupted=interrupted, done=done)


class _State:
    """What the headers of one received buffer say."""

    __slots__ = ("done", "interrupted", "stale")

    def __init__(self, *, stale: bool = False, interrupted: bool = False, done: bool = False) -> None:
        self.stale, self.interrupted, self.done = stale, interrupted, done
