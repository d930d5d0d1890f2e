"""Flows: who gets which backend, what a list that changes does to them, and what is left when the map forgets."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.bpf.node import TCP, UDP, Endpoint, address
from tests.bpf.site import IPV4, IPV6, NO_FLOW, NO_PORT, NO_SOURCE, SECONDS, Family, Site
from tests.bpf.talk import Conversation, Listeners, asked, begin, conversation, endpoint, wait_until

pytestmark = pytest.mark.kernel

FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=lambda family: family.name)
PROTOCOLS = pytest.mark.parametrize("proto", [pytest.param(TCP, id="tcp"), pytest.param(UDP, id="udp")])
PORT, TARGET = 30080, 8080
REQUEST, HEART, ANSWER, MARK = "request", "heart", "answer", "mark"
SECOND = 10**9

_ports = itertools.count(20000)  # each once: a port that comes again is a flow that goes on
MANY = 40  # of two backends both are drawn, but for one time in 2^39


class Flows:
    """Entries of pl_flow_1, by what they are."""

    def __init__(self, site: Site, front: Endpoint) -> None:
        self._map = site.maps["pl_flow_1"]
        self._front = packed(front)

    def keys(self, what: str) -> list[bytes]:
        return [key for key in self._map if self._is(key) == what]

    def _is(self, key: bytes) -> str:
        to, where = key[20:38], key[41]
        if where:
            return HEART
        if to == self._front:
            return REQUEST
        return MARK if to[16:] == bytes(2) else ANSWER

    def forget(self, *what: str) -> None:
        for key in list(self._map):
            if self._is(key) in what:
                del self._map[key]

    def age(self, seconds: float) -> None:
        """All of them were last seen so much earlier."""
        for key in self.keys(HEART):
            value = self._map[key]
            self._map[key] = struct.pack("=Q", struct.unpack_from("=Q", value)[0] - int(seconds * SECOND)) + value[8:]


def packed(one: Endpoint) -> bytes:
    return address(one.address) + struct.pack("!H", one.port)


@contextmanager
def two_backends(
    site: Site, family: Family, proto: int, front: Endpoint, affinity: int = 0
) -> Iterator[tuple[int, list[Endpoint], Listeners]]:
    """A service with two of them, as listening sockets; the list's id."""
    backends = [Endpoint(one, TARGET) for one in family.far]
    number = site.service(front, proto, backends, affinity=affinity)
    with ExitStack() as stack:
        yield number, backends, {one: stack.enter_context(site.listener("podb", family, proto, one)) for one in backends}


def drawn(site: Site, family: Family, proto: int, front: Endpoint, listeners: Listeners, source: str = "") -> Endpoint:
    """Which backend a new flow gets."""
    with site.new_socket("client", family, proto) as client:
        client.bind((source or family.client, next(_ports)))
        client.connect(front)
        client.send(b"?")
        return taken(proto, listeners)


def taken(proto: int, listeners: Listeners) -> Endpoint:
    """Which backend was asked; the question is no longer there then."""
    backend = asked(listeners)
    if proto == TCP:
        listeners[backend].accept()[0].close()
    else:
        listeners[backend].recv(100)
    return backend


@FAMILIES
@PROTOCOLS
def test_new_flows_are_spread(site: Site, family: Family, proto: int) -> None:
    front = Endpoint(family.node, PORT)
    with two_backends(site, family, proto, front) as (number, backends, listeners):
        assert {drawn(site, family, proto, front, listeners) for _ in range(MANY)} == set(backends)
    assert site.counted(number)[0] == MANY


@FAMILIES
@PROTOCOLS
def test_affinity_keeps_a_client_with_its_backend(site: Site, family: Family, proto: int) -> None:
    front = Endpoint(family.node, PORT)
    stays = site.maps["pl_affin_1"]
    with two_backends(site, family, proto, front, affinity=600) as (number, backends, listeners):
        mine, others = family.client, family.second_client
        first = drawn(site, family, proto, front, listeners, mine)
        assert {drawn(site, family, proto, front, listeners, mine) for _ in range(8)} == {first}
        drawn(site, family, proto, front, listeners, others)
        assert len(list(stays)) == 2, "each address has its own"
        for key in list(stays):  # its time is over
            value = stays[key]
            stays[key] = struct.pack("=Q", struct.unpack_from("=Q", value)[0] - 601 * SECOND) + value[8:]
        assert {drawn(site, family, proto, front, listeners, mine) for _ in range(MANY)} != set(backends), (
            "from the next one on it stays again"
        )
        kept = drawn(site, family, proto, front, listeners, mine)
        left = next(one for one in backends if one != kept)
        site.service(front, proto, [left], affinity=600, number=number)
        assert drawn(site, family, proto, front, listeners, mine) == left


@FAMILIES
def test_connections_stay_when_the_list_changes(site: Site, family: Family) -> None:
    """A backend leaves: what speaks with others goes on, so does what speaks with it; nobody new gets it."""
    front = Endpoint(family.node, PORT)
    with two_backends(site, family, TCP, front) as (number, backends, listeners), ExitStack() as stack:
        talks: list[tuple[Endpoint, Conversation]] = []
        while {backend for backend, _ in talks} != set(backends):
            client = stack.enter_context(site.new_socket("client", family, TCP))
            client.connect(front)
            backend = asked(listeners)
            accepted, sender = listeners[backend].accept()
            accepted.settimeout(SECONDS)
            talks.append((backend, Conversation(TCP, client, stack.enter_context(accepted), endpoint(sender))))
        site.service(front, TCP, backends[1:], number=number)
        del site.maps["pl_back_1"][struct.pack("=II", number, 1)]
        for _, talk in talks:
            talk.ask(b"still")
            talk.answer(b"there")
        assert {drawn(site, family, TCP, front, listeners) for _ in range(8)} == {backends[1]}
    assert site.all_dropped() == {}


@FAMILIES
def test_datagrams_of_one_socket_leave_a_backend_that_has_gone(site: Site, family: Family) -> None:
    front = Endpoint(family.node, PORT)
    flows = Flows(site, front)
    with two_backends(site, family, UDP, front) as (number, backends, listeners), site.new_socket("client", family, UDP) as client:
        client.connect(front)
        client.send(b"?")
        first = taken(UDP, listeners)
        other = next(one for one in backends if one != first)
        flows.age(2)
        client.send(b"?")
        assert taken(UDP, listeners) == first
        site.service(front, UDP, [other], number=number)
        flows.age(2)
        client.send(b"?")
        assert taken(UDP, listeners) == other
        site.service(front, UDP, [other, first], number=number)  # another slot, the same backend
        flows.age(2)
        client.send(b"?")
        assert taken(UDP, listeners) == other
    assert site.all_dropped() == {}


@FAMILIES
def test_a_port_that_is_used_again_is_a_new_connection(site: Site, family: Family) -> None:
    """Also when the backend of the old one has gone."""
    front, source = Endpoint(family.node, PORT), Endpoint(family.client, 40000)
    first, second = Endpoint(family.far[0], TARGET), Endpoint(family.far[1], TARGET)
    number = site.service(front, TCP, [first])
    with conversation(site, family, TCP, front, first, source=source) as talk:
        talk.ask(b"x")
        talk.backend.close()  # TIME_WAIT is at the backend, then
        assert talk.client.recv(1) == b""
    site.service(front, TCP, [second], number=number)
    with conversation(site, family, TCP, front, second, source=source) as talk:
        talk.ask(b"x")
        talk.answer(b"y")
    assert site.all_dropped() == {}


LOST = [
    pytest.param(lost, first, id=f"{'+'.join(lost)}-{first}")
    for count in (1, 2)
    for lost in itertools.combinations((REQUEST, HEART, ANSWER), count)
    for first in ("ask", "answer")
    if (lost, first) != ((REQUEST, HEART), "ask")  # nothing leads from the client to what is left: see the next test
]


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize(("lost", "first"), LOST)
def test_a_flow_is_mended_from_what_is_left(site: Site, family: Family, proto: int, lost: tuple[str, ...], first: str) -> None:
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    site.service(front, proto, [backend])
    flows = Flows(site, front)
    with conversation(site, family, proto, front, backend) as talk:
        talk.ask(b"x")
        talk.answer(b"y")
        flows.forget(*lost)
        if first == "ask" or ANSWER not in lost:
            getattr(talk, first)(b"1")
        else:  # nothing tells yet whose it is; the host must not hear of it, or it would reset the connection
            talk.backend.sendto(b"", talk.peer) if proto == UDP else talk.backend.send(b"2")
            wait_until(lambda: site.dropped(NO_FLOW) > 0, "dropped")
        talk.ask(b"3")
        if first == "answer" and ANSWER in lost and proto == TCP:
            assert talk.client.recv(1) == b"2"
        talk.answer(b"4")
        assert [len(flows.keys(what)) for what in (REQUEST, HEART, ANSWER)] == [1, 1, 1]


@FAMILIES
def test_answers_hold_a_flow_to_its_backend(site: Site, family: Family) -> None:
    """The entry of its requests goes time and again; it would be drawn anew from two backends otherwise."""
    front = Endpoint(family.node, PORT)
    flows = Flows(site, front)
    with two_backends(site, family, UDP, front) as (_, _, listeners), site.new_socket("client", family, UDP) as client:
        client.connect(front)
        client.send(b"?")
        backend = asked(listeners)
        for _ in range(MANY // 2):
            _, sender = listeners[backend].recvfrom(10)
            flows.forget(REQUEST)
            listeners[backend].sendto(b"!", sender)
            assert client.recv(10) == b"!"
            client.send(b"?")
            assert asked(listeners) == backend


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("lost", [(REQUEST, HEART), (REQUEST, HEART, ANSWER, MARK)], ids="+".join)
def test_a_flow_that_is_forgotten_ends_or_begins_anew(site: Site, family: Family, proto: int, lost: tuple[str, ...]) -> None:
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    site.service(front, proto, [backend])
    with conversation(site, family, proto, front, backend) as talk:
        Flows(site, front).forget(*lost)
        talk.client.send(b"?")
        if proto == TCP:
            with pytest.raises(ConnectionResetError):
                talk.client.recv(1)
            assert site.all_dropped() == {NO_FLOW: 1}
        else:
            data, sender = talk.backend.recvfrom(10)
            talk.backend.sendto(b"!", sender)
            assert (data, talk.client.recv(10)) == (b"?", b"!")


@FAMILIES
def test_one_client_by_two_fronts_is_never_mixed_up(site: Site, family: Family) -> None:
    """Client and backend are the same, so the way back tells nothing: the second flow is not made."""
    one, other = Endpoint(family.node, PORT), Endpoint(family.node, PORT + 1)
    backend = Endpoint(family.far[0], TARGET)
    site.service(one, UDP, [backend])
    number = site.service(other, UDP, [backend])
    with conversation(site, family, UDP, one, backend, source=Endpoint(family.client, 40001)) as talk:
        with site.new_socket("client", family, UDP) as second:
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            second.bind((family.client, 40001))
            second.connect(other)
            second.send(b"?")
            assert site.all_dropped() == {NO_PORT: 1}
            site.service(other, UDP, [backend, Endpoint(family.far[1], TARGET)], number=number)
            with site.listener("podb", family, UDP, Endpoint(family.far[1], TARGET)) as listener:
                while site.counted(number)[0] == 0:  # it is drawn a few times for each datagram
                    second.send(b"?")
                _, sender = listener.recvfrom(10)
                listener.sendto(b"!", sender)
                assert second.recv(10) == b"!"
        talk.ask(b"x")
        talk.answer(b"y")


@FAMILIES
def test_a_flow_that_lost_its_backend_to_another_front_is_not_answered_by_that(site: Site, family: Family) -> None:
    one, other = Endpoint(family.node, PORT), Endpoint(family.node, PORT + 1)
    backend, source = Endpoint(family.far[0], TARGET), Endpoint(family.client, 40002)
    site.service(one, UDP, [backend])
    site.service(other, UDP, [backend])
    flows = Flows(site, one)
    with conversation(site, family, UDP, one, backend, source=source) as talk:
        talk.ask(b"x")
    flows.age(1000)
    with conversation(site, family, UDP, other, backend, source=source) as talk:
        with site.new_socket("client", family, UDP) as first:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            first.bind(source)
            first.connect(one)
            first.send(b"late")
        wait_until(lambda: site.dropped(NO_PORT) == 1, "dropped")
        talk.ask(b"x")
        talk.answer(b"y")


@PROTOCOLS
def test_ports_that_are_all_taken(site: Site, few_ports: Path, proto: int) -> None:
    """A third client waits until a flow is over."""
    front, backend = Endpoint(IPV4.node, PORT), Endpoint(IPV4.far[0], TARGET)
    site.service(front, proto, [backend])
    flows = Flows(site, front)
    site.put_programs(few_ports)
    try:
        with site.listener("podb", IPV4, proto, backend) as listener, ExitStack() as stack:
            talks = [begin(stack.enter_context(site.new_socket("client", IPV4, proto)), proto, front, listener) for _ in range(2)]
            assert {talk.peer.port for talk in talks} == {61000, 61001}
            with site.new_socket("client", IPV4, proto) as third:
                third.setblocking(False)
                third.connect_ex(front)
                if proto == UDP:
                    third.send(b"?")
                wait_until(lambda: site.dropped(NO_PORT) > 0, "dropped")
            for talk in talks:
                talk.ask(b"x")
                talk.answer(b"y")
                if proto == TCP:
                    talk.close()
            if proto == UDP:
                flows.age(200)
            with site.new_socket("client", IPV4, proto) as third:
                begin(third, proto, front, listener).close()
    finally:
        site.put_programs()


def test_a_way_out_without_a_source(site: Site) -> None:
    front, backend = Endpoint(IPV4.node, PORT), Endpoint(IPV4.far[0], TARGET)
    site.service(front, UDP, [backend])
    site.sysctl("a", "ipv4/conf/plumb0/forwarding", 0)
    try:
        with site.new_socket("client", IPV4, UDP) as client:
            client.sendto(b"?", front)
        wait_until(lambda: site.dropped(NO_SOURCE) == 1, "dropped")
    finally:
        site.sysctl("a", "ipv4/conf/plumb0/forwarding", 1)
