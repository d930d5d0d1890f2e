"""Services at the socket: who stays with whom, and what happens where that cannot be kept."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.bpf.ends import IPV4, WAYS, Backends, Way, add_addresses, backends, client
from tests.bpf.node import INSIDE, MAP_FULL, TCP, UDP, Endpoint, Node, attached, backend, cookie_of, front, loaded, namespace_cookie, peer
from tests.bpf.objects import MAPS
from tests.namespaces import fresh_namespace

pytestmark = pytest.mark.kernel

PROTOCOLS = pytest.mark.parametrize("proto", [pytest.param(TCP, id="tcp"), pytest.param(UDP, id="udp")])
EVERY_WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
PORT = 80
MANY = 40  # of two backends both are drawn, but for one time in 2^39
TURNS = 400  # in some of them two processes meet in the middle of choosing
TIMEOUT = 100  # seconds of affinity


def ask(way: Way, there: Backends, *, connected: bool, proto: int = UDP) -> Endpoint:
    """Which backend a new socket is led to."""
    with client(way, proto) as one:
        if connected:
            one.connect((way.written(way.service), PORT))
            one.send(b"?")
        else:
            one.sendto(b"?", (way.written(way.service), PORT))
        return there.asked()


@contextlib.contextmanager
def conversations(way: Way, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(client(way, UDP)) for _ in range(count)]


def told(way: Way, there: Backends, sockets: Sequence[socket.socket]) -> list[Endpoint]:
    """To whom a datagram of each goes; each reply must carry the service's address."""
    asked = []
    for one in sockets:
        one.sendto(b"?", (way.written(way.service), PORT))
        asked.append(there.asked(b"!"))
        assert one.recvfrom(100)[1][:2] == (way.written(way.service), PORT)
    return asked


def remove_first(node: Node, way: Way, proto: int, number: int, affinity: int = 0) -> None:
    """The first of three backends, in the order of a plan: the last slot into the hole, the service, then what is left over."""
    node.maps["pl_back_1"][struct.pack("=II", number, 0)] = backend(*way.backends[2])
    node.maps["pl_front_1"][front(way.service, PORT, proto)] = struct.pack("=IIII", number, 2, affinity, 0)
    del node.maps["pl_back_1"][struct.pack("=II", number, 2)]


@pytest.fixture
def here(node: Node) -> Node:
    add_addresses()
    return node


@EVERY_WAY
def test_an_unconnected_socket_stays_with_its_backend(here: Node, way: Way) -> None:
    number = here.service(way.service, PORT, UDP, way.backends[:2])
    with backends((UDP, way.backends)) as (there,), conversations(way, MANY) as sockets:
        first = told(way, there, sockets)
        assert set(first) == set(way.backends[:2])
        assert told(way, there, sockets) == first
        here.service(way.service, PORT, UDP, way.backends, number=number)
        assert told(way, there, sockets) == first, "one more backend moves nobody"
    assert here.counted(number).connections == MANY


@EVERY_WAY
def test_a_backend_that_goes_moves_its_own_sockets_only(here: Node, way: Way) -> None:
    number = here.service(way.service, PORT, UDP, way.backends)
    with backends((UDP, way.backends)) as (there,), conversations(way, MANY) as sockets:
        before = told(way, there, sockets)
        remove_first(here, way, UDP, number)
        after = told(way, there, sockets)
        gone = way.backends[0]
        assert {gone} < set(before)
        assert gone not in after
        assert [new for old, new in zip(before, after, strict=True) if old != gone] == [one for one in before if one != gone]


@EVERY_WAY
def test_a_backend_that_is_going_is_left_before_its_row_is_gone(here: Node, way: Way) -> None:
    number = here.service(way.service, PORT, UDP, way.backends[:2])
    with backends((UDP, way.backends)) as (there,), conversations(way, MANY) as sockets:
        told(way, there, sockets)
        here.service(way.service, PORT, UDP, way.backends[:1], number=number)
        assert set(told(way, there, sockets)) == {way.backends[0]}


@EVERY_WAY
def test_a_backend_that_moved_is_found_by_its_new_slot(here: Node, way: Way) -> None:
    """Once: the whole list is not searched for every datagram."""
    number = here.service(way.service, PORT, UDP, way.backends)
    with backends((UDP, way.backends)) as (there,), conversations(way, MANY) as sockets:
        moved = [one for one, asked in zip(sockets, told(way, there, sockets), strict=True) if asked == way.backends[2]]
        remove_first(here, way, UDP, number)
        assert set(told(way, there, moved)) == {way.backends[2]}
        entries = {here.maps["pl_sockfwd_1"][peer(cookie_of(one), way.service, PORT)] for one in moved}
        assert entries == {backend(*way.backends[2]) + struct.pack("=I", 0)}


@EVERY_WAY
def test_evicted_entries_of_a_conversation_change_nothing(here: Node, way: Way) -> None:
    here.service(way.service, PORT, UDP, way.backends)
    with backends((UDP, way.backends)) as (there,), conversations(way, 10) as sockets:
        before = told(way, there, sockets)
        here.maps["pl_sockfwd_1"].clear()
        assert told(way, there, sockets) == before
        here.maps["pl_sockrev_1"].clear()
        assert told(way, there, sockets) == before


@pytest.mark.parametrize(("proto", "connected"), [(TCP, True), (UDP, True), (UDP, False)], ids=["tcp", "udp-connected", "udp"])
@EVERY_WAY
def test_a_client_stays_with_its_backend(here: Node, way: Way, proto: int, connected: bool) -> None:
    here.service(way.service, PORT, proto, way.backends, affinity=TIMEOUT)
    with backends((proto, way.backends)) as (there,):
        assert len({ask(way, there, connected=connected, proto=proto) for _ in range(MANY)}) == 1


@contextlib.contextmanager
def in_turns(turn: mmap.mmap) -> Iterator[None]:
    """Another process that connects whenever the number of the turn in this memory grows."""
    child = os.fork()
    if child == 0:
        try:
            for number in range(1, TURNS + 1):
                while int.from_bytes(turn, "little") < number:
                    os.sched_yield()
                socket.create_connection((IPV4.service, PORT)).close()
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_two_first_connections_at_once_stay_together(here: Node) -> None:
    here.service(IPV4.service, PORT, TCP, IPV4.backends, affinity=TIMEOUT)
    with mmap.mmap(-1, 4) as turn, backends((TCP, IPV4.backends)) as (there,), in_turns(turn), in_turns(turn):
        for number in range(1, TURNS + 1):
            turn[:] = number.to_bytes(4, "little")
            assert there.asked() == there.asked()
            here.maps["pl_affin_1"].clear()


@EVERY_WAY
def test_clients_are_told_apart_by_their_namespaces(here: Node, way: Way) -> None:
    number = here.service(way.service, PORT, TCP, way.backends, affinity=TIMEOUT)
    for slot in range(2):
        with fresh_namespace():
            add_addresses()
            here.stay(number, way.backends[slot], slot, 1)
            with backends((TCP, way.backends)) as (there,):
                assert {ask(way, there, connected=True, proto=TCP) for _ in range(10)} == {way.backends[slot]}


@EVERY_WAY
def test_affinity_ends_with_its_time_and_begins_anew_with_each_connection(here: Node, way: Way) -> None:
    number = here.service(way.service, PORT, TCP, way.backends[:2], affinity=TIMEOUT)
    client = struct.pack("=Q8xII", namespace_cookie(), number, INSIDE)
    asked = set()
    with backends((TCP, way.backends[:2])) as (there,):
        for _ in range(MANY):
            start = time.monotonic_ns()
            here.stay(number, way.backends[1], 1, TIMEOUT - 1)
            assert ask(way, there, connected=True, proto=TCP) == way.backends[1]
            assert start <= struct.unpack_from("=Q", here.maps["pl_affin_1"][client])[0] <= time.monotonic_ns()
            here.stay(number, way.backends[1], 1, TIMEOUT)
            asked.add(ask(way, there, connected=True, proto=TCP))
    assert asked == set(way.backends[:2])


@EVERY_WAY
def test_affinity_follows_a_backend_to_another_slot_and_ends_with_it(here: Node, way: Way) -> None:
    number = here.service(way.service, PORT, TCP, way.backends, affinity=TIMEOUT)
    with backends((TCP, way.backends)) as (there,):
        here.stay(number, way.backends[2], 2, 1)
        remove_first(here, way, TCP, number, TIMEOUT)
        assert {ask(way, there, connected=True, proto=TCP) for _ in range(MANY)} == {way.backends[2]}
        assert [here.maps["pl_affin_1"][one][-4:] for one in here.maps["pl_affin_1"]] == [struct.pack("=I", 0)], "its new slot"
        here.stay(number, way.backends[0], 0, 1)
        left = {ask(way, there, connected=True, proto=TCP) for _ in range(MANY)}
        assert len(left) == 1
        assert way.backends[0] not in left


@pytest.fixture
def full(request: pytest.FixtureRequest, pins: Path, objects: Path, cgroups: Path, netns: str) -> Iterator[Node]:
    """One of the maps is no lru_hash but a hash of one entry, which is taken."""
    name: str = request.param
    small = MAPS[name]._replace(type="percpu_hash" if name == "pl_count_1" else "hash", entries=1)
    add_addresses()
    with loaded(pins / "full", objects, **{name: small}) as programs, attached(programs, cgroups, netns) as node:
        node.programs.fill(name)
        yield node


def full_of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("full", [name], indirect=True, ids=[name])


@full_of("pl_sockrev_1")
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "unconnected"])
@EVERY_WAY
def test_what_could_not_be_named_in_the_reply_is_refused(full: Node, way: Way, connected: bool) -> None:
    """Else the reply would come from a stranger, and the caller would wait for one that it has already dropped."""
    full.service(way.service, PORT, UDP, way.backends[:1])
    with backends((UDP, way.backends[:1])) as (there,), pytest.raises(OSError, match="No buffer space") as caught:
        ask(way, there, connected=connected)
    assert caught.value.errno == errno.ENOBUFS
    assert full.dropped(MAP_FULL) == 1


@full_of("pl_sockfwd_1")
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "unconnected"])
def test_a_conversation_that_could_not_stay_with_a_backend_is_refused(full: Node, connected: bool) -> None:
    full.service(IPV4.service, PORT, UDP, IPV4.backends)
    with backends((UDP, IPV4.backends)) as (there,), pytest.raises(OSError, match="No buffer space"):
        ask(IPV4, there, connected=connected)
    assert full.dropped(MAP_FULL) == 1


@full_of("pl_sockpeer_1")
def test_a_connection_whose_peer_cannot_be_named_is_made(full: Node) -> None:
    full.service(IPV4.service, PORT, TCP, IPV4.backends[:1])
    with backends((TCP, IPV4.backends[:1])) as (there,), client(IPV4, TCP) as one:
        one.connect((IPV4.service, PORT))
        assert one.getpeername() == IPV4.backends[0]
        assert there.asked() == IPV4.backends[0]


@pytest.mark.parametrize("full", ["pl_affin_1", "pl_count_1"], indirect=True)
@PROTOCOLS
def test_without_room_for_affinity_or_counters_there_is_service(full: Node, proto: int) -> None:
    full.service(IPV4.service, PORT, proto, IPV4.backends[:2], affinity=TIMEOUT)
    with backends((proto, IPV4.backends[:2])) as (there,):
        for _ in range(3):
            ask(IPV4, there, connected=True, proto=proto)


def test_entries_of_a_socket_hold_what_is_promised(here: Node) -> None:
    """Those who destroy the sockets of a vanished backend read them."""
    one, two = IPV4.backends[:2]
    here.service(IPV4.service, PORT, UDP, [one])
    here.service(IPV4.service, PORT, TCP, [two])
    with backends((UDP, [one]), (TCP, [two])), client(IPV4, UDP) as datagrams, client(IPV4, TCP) as stream:
        datagrams.sendto(b"?", (IPV4.service, PORT))
        stream.connect((IPV4.service, PORT))
        assert list(here.maps["pl_sockrev_1"]) == [peer(cookie_of(datagrams), *one)]
        assert list(here.maps["pl_sockpeer_1"]) == [peer(cookie_of(stream), *two)]
        assert list(here.maps["pl_sockfwd_1"]) == [peer(cookie_of(datagrams), IPV4.service, PORT)]
