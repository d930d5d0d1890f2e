"""Dumps over a raw rtnetlink socket (netlink(7), rtnetlink(7))."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import ClassVar, NamedTuple, Self

from reconciler.engine.reader import Dump, ObservationFailed
from reconciler.wire import netlink as wire
from reconciler.wire.bulk import alike

SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11  # include/uapi/linux/netlink.h
NLM_F_CAPPED, NLM_F_ACK_TLVS, NLMSGERR_ATTR_MSG = 0x100, 0x200, 1
_CHUNK = 512  # requests in one send; only the last is acknowledged, what the kernel refuses is answered for each
_BUFFER = 1 << 20  # bytes; the kernel fills at most 32 KiB a message, so nothing is ever truncated
_INTERRUPTED_TRIES = 20


class Message(NamedTuple):
    """One request: RTM_ type, flags besides NLM_F_REQUEST, and what follows nlmsghdr."""

    type: int
    flags: int
    body: bytes


class Refused(NamedTuple):
    """Why a request is not done, as iproute2 says it. `answered` is False where the kernel did not say anything."""

    message: str
    answered: bool = True


class RouteSocket:
    """One rtnetlink socket, in the namespace of the thread that opens it."""

    protocol: ClassVar[int] = socket.NETLINK_ROUTE

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, self.protocol)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
            self._socket.bind((0, 0))
        except OSError as error:
            raise ObservationFailed(f"cannot open a netlink socket: {error.strerror}") from error
        self._socket.settimeout(30)  # a kernel that does not answer in this time does not answer
        self._sequence = 0

    def __enter__(self) -> Self:
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

    def request(self, messages: Sequence[Message]) -> list[Refused | None]:
        """Ask for changes, in order; None for each that is done. What follows a refused one is asked for all the same."""
        answers: list[Refused | None] = []
        for start in range(0, len(messages), _CHUNK):
            answers += self._change(messages[start : start + _CHUNK])
        return answers

    def _change(self, messages: Sequence[Message]) -> list[Refused | None]:
        first, last = self._sequence + 1, self._sequence + len(messages)
        self._sequence = last
        parts: list[bytes] = []
        for sequence, (kind, flags, body) in enumerate(messages, first):
            flags |= wire.NLM_F_REQUEST | (wire.NLM_F_ACK if sequence == last else 0)
            parts += (wire.HEADER.pack(16 + len(body), kind, flags, sequence, 0), body)
        answers: list[Refused | None] = [None] * len(messages)
        try:
            self._socket.send(b"".join(parts))
            while True:
                for sequence, refused in _answers(self._socket.recv(_BUFFER)):
                    if first <= sequence <= last:
                        answers[sequence - first] = refused
                    if sequence == last:
                        return answers
        except OSError as error:  # what was refused before is known, of the rest nothing is
            silent = Refused(f"netlink: {error.strerror or error}", answered=False)
            return [answer or silent for answer in answers]

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
        end = alike(buffer, 12) or len(buffer)  # what begins alike, up to the sequence number, is walked no further than its first
        while offset + 16 <= end:
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


def _answers(buffer: bytes) -> Iterator[tuple[int, Refused | None]]:
    """(sequence number, what is wrong) of each nlmsgerr in a buffer."""
    offset = 0
    while offset + 20 <= len(buffer):
        length, kind, flags, sequence, _ = wire.HEADER.unpack_from(buffer, offset)
        if length < 16 or offset + length > len(buffer):
            raise OSError(errno.EBADMSG, "an answer that cannot be read")
        if kind == wire.NLMSG_ERROR:
            number = -wire.s32(buffer[offset + 16 : offset + 20])
            yield sequence, Refused(_words(number, flags, buffer[offset:][:length])) if number else None
        offset += (length + 3) & ~3


def _words(number: int, flags: int, message: bytes) -> str:
    """The kernel's own words (extended ACK, behind the header that it repeats) where it has some, else the errno's."""
    if flags & NLM_F_ACK_TLVS and flags & NLM_F_CAPPED:
        said = wire.text(wire.attributes(message, 36, len(message)).get(NLMSGERR_ATTR_MSG, b""))
        if said:
            return f"Error: {said}" + ("" if said.endswith(".") else ".")
    return f"RTNETLINK answers: {os.strerror(number)}"


class _State:
    """What the headers of one received buffer say."""

    __slots__ = ("done", "interrupted", "stale")

    def __init__(self, *, stale: bool = False, interrupted: bool = False, done: bool = False) -> None:
        self.stale, self.interrupted, self.done = stale, interrupted, done
