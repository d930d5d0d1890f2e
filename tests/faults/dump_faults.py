"""A kernel that answers badly: what the rtnetlink sockets of plumbline receive is spoiled on its way."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from reconciler.kernel.netlink import RouteSocket
from reconciler.kernel.node import KernelNode
from reconciler.wire import netlink as wire
from tests.faults.scenarios import MANY
from tests.faults.strike import EVERY_KIND, Fault, Site, Strike

AF_BRIDGE = 7
ASKED = {
    wire.RTM_GETLINK: "link",
    wire.RTM_GETADDR: "address",
    wire.RTM_GETROUTE: "route",
    wire.RTM_GETRULE: "rule",
    wire.RTM_GETNEXTHOP: "nexthop",
}
CHANGE = "change"  # a request that is no question: lines that are packed


class Question:
    """One dump that was asked for: of which kind, and how many of its answers came already."""

    def __init__(self, request: bytes) -> None:
        _, kind, flags, self.sequence, _ = wire.HEADER.unpack_from(request)
        self.dump = flags & wire.NLM_F_DUMP == wire.NLM_F_DUMP
        self.about = ASKED.get(kind, "fdb" if request[16] == AF_BRIDGE else "neighbour") if self.dump else CHANGE


Spoil = Callable[[Question, bytes], bytes]  # what arrives instead; may raise OSError


def interrupted(question: Question, buffer: bytes) -> bytes:
    """Something changed while the kernel made the list."""
    spoiled = bytearray(buffer)
    _, _, flags, _, _ = wire.HEADER.unpack_from(buffer)
    struct.pack_into("=H", spoiled, 6, flags | wire.NLM_F_DUMP_INTR)
    return bytes(spoiled)


def failing(question: Question, buffer: bytes) -> bytes:
    return wire.HEADER.pack(20, wire.NLMSG_ERROR, 0, question.sequence, 0) + struct.pack("=i", -errno.EBUSY)


def ending_badly(question: Question, buffer: bytes) -> bytes:
    """The list ends early, and its last message says that this is not all."""
    return wire.HEADER.pack(20, wire.NLMSG_DONE, 0, question.sequence, 0) + struct.pack("=i", -errno.EMSGSIZE)


def cut(question: Question, buffer: bytes) -> bytes:
    return buffer[:-6]


def unanswered(question: Question, buffer: bytes) -> bytes:
    raise TimeoutError("timed out")


class _Spoiler:
    """Stands for the socket of a RouteSocket."""

    def __init__(self, real: socket.socket, about: str, spoil: Spoil, every: bool, count: Callable[[], None]) -> None:
        self._real, self._about, self._spoil, self._every, self._count = real, about, spoil, every, count
        self._seen = set[tuple[str, bytes]]()
        self._question: Question | None = None
        self._strikes = False

    def send(self, data: bytes) -> int:
        self._question = Question(data)
        asked = self._question.about, data[16:]
        concerned = (self._question.dump and self._about == "") or self._about == asked[0]
        self._strikes = concerned and (self._every or asked not in self._seen)
        self._seen.add(asked)
        return self._real.send(data)

    def recv(self, size: int) -> bytes:
        buffer = self._real.recv(size)
        assert self._question is not None
        if not self._strikes:
            return buffer
        self._count()
        return self._spoil(self._question, buffer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@contextmanager
def spoiled(about: str, spoil: Spoil, every: bool, site: Site) -> Iterator[Strike]:
    """For as long as this lasts, dumps about one kind ("": any) are spoiled: every one, or the first of its sort on each socket."""
    struck: list[None] = []
    make = RouteSocket.__init__

    def made(one: RouteSocket) -> None:
        make(one)
        one._socket = _Spoiler(one._socket, about, spoil, every, lambda: struck.append(None))  # type: ignore[assignment]

    node = KernelNode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RouteSocket, "__init__", made)
        yield Strike(node, lambda result: len(struck))
        node.close()


def _meets(about: str) -> frozenset[str]:
    return EVERY_KIND if about in ("link", "") else frozenset({about})


_KINDS = ("link", "address", "fdb", "neighbour", "nexthop", "route")

FAULTS = (
    Fault("dump interrupted once: each", partial(spoiled, "", interrupted, False)),
    *(Fault(f"dump interrupted always: {about}", partial(spoiled, about, interrupted, True), _meets(about)) for about in _KINDS),
    *(Fault(f"dump fails: {about}", partial(spoiled, about, failing, True), _meets(about)) for about in _KINDS),
    Fault("dump fails: rule", partial(spoiled, "rule", failing, True), scenarios=("cold start", "cleanup")),
    *(Fault(f"dump cut short: {about}", partial(spoiled, about, cut, True), _meets(about)) for about in ("link", "fdb", "route")),
    Fault("dump ends badly: each", partial(spoiled, "", ending_badly, True)),
    Fault("dump is not answered: each", partial(spoiled, "", unanswered, True)),
    Fault("dump fails once: each", partial(spoiled, "", failing, False)),
    Fault("dump interrupted once: many", partial(spoiled, "", interrupted, False), scenarios=(MANY,)),
    Fault("packed lines are not answered", partial(spoiled, CHANGE, unanswered, True), scenarios=(MANY,)),
    Fault("packed lines are answered by rubbish", partial(spoiled, CHANGE, cut, True), scenarios=(MANY,)),
)
