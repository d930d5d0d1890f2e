"""Dumps, message by message: whose answer, interrupted or not, ended or failed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from reconciler.engine.reader import Dump, ObservationFailed
from reconciler.kernel.netlink import RouteSocket
from reconciler.wire import netlink as wire

MULTI = 0x2  # NLM_F_MULTI
ASKED = Dump(wire.RTM_GETROUTE, bytes(12))


def message(kind: int = wire.RTM_NEWROUTE, flags: int = MULTI, sequence: int = 0, body: bytes = bytes(36)) -> bytes:
    """`sequence`: how far from the right one."""
    return wire.HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body


class Kernel:
    """Answers with what was prepared; sequence numbers follow the request's."""

    def __init__(self, answers: Iterable[bytes]) -> None:
        self._answers, self._sequence = iter(answers), 0
        self.asked = 0

    def send(self, request: bytes) -> None:
        self.asked += 1
        self._sequence = wire.HEADER.unpack_from(request)[3]

    def recv(self, size: int) -> bytes:
        buffer, offset = bytearray(next(self._answers)), 0
        while offset < len(buffer):
            length, kind, flags, sequence, port = wire.HEADER.unpack_from(buffer, offset)
            wire.HEADER.pack_into(buffer, offset, length, kind, flags, self._sequence + sequence, port)
            offset += (length + 3) & ~3
        return bytes(buffer)


def dump(*answers: bytes) -> tuple[tuple[bytes, ...], int]:
    """What is given for these answers, and how often it was asked for."""
    kernel = Kernel(answers)
    asked = RouteSocket()
    asked._socket.close()
    asked._socket = kernel  # type: ignore[assignment]
    return asked.dump(ASKED), kernel.asked


DONE = message(wire.NLMSG_DONE, body=bytes(4))
MANY = message() * 100


def test_a_dump_is_whole() -> None:
    buffers, asked = dump(MANY, message(body=bytes(44)) + message(), DONE)
    assert (len(buffers), asked) == (3, 1)
    assert len(dump(MANY + DONE)[0]) == 1


@pytest.mark.parametrize("at", [0, 50, 99])
def test_interrupted_anywhere_it_is_asked_for_again(at: int) -> None:
    broken = message() * at + message(flags=MULTI | wire.NLM_F_DUMP_INTR) + message() * (99 - at)
    assert dump(broken, DONE, MANY, DONE)[1] == 2
    assert dump(MANY, message(wire.NLMSG_DONE, MULTI | wire.NLM_F_DUMP_INTR, body=bytes(4)), MANY, DONE)[1] == 2
    with pytest.raises(ObservationFailed, match="interrupted 20 times"):
        dump(*itertools.islice(itertools.cycle((broken, DONE)), 40))


@pytest.mark.parametrize("at", [0, 50, 99])
def test_the_answer_to_another_question_is_none(at: int) -> None:
    stale = message() * at + message(sequence=7) + message() * (99 - at)
    assert len(dump(stale, MANY, DONE)[0]) == 2


@pytest.mark.parametrize("at", [0, 50, 99])
def test_a_message_that_cannot_be(at: int) -> None:
    for length in (8, 1 << 20):
        broken = bytearray(MANY)
        broken[at * 52 : at * 52 + 4] = length.to_bytes(4, "little")
        kernel = Kernel([])
        kernel.recv = lambda size, broken=bytes(broken): broken  # type: ignore[method-assign,misc]
        asked = RouteSocket()
        asked._socket.close()
        asked._socket = kernel  # type: ignore[assignment]
        asked._sequence = -1  # as those of the messages are 0
        with pytest.raises(ObservationFailed, match=f"a message of {length} bytes"):
            asked.dump(ASKED)


def test_an_error_in_the_middle() -> None:
    refused = message(wire.NLMSG_ERROR, body=(-1).to_bytes(4, "little", signed=True) + bytes(16))
    with pytest.raises(ObservationFailed, match="EPERM"):
        dump(MANY, refused)
