"""What ICMP says reaches who it is for, about the packet that was sent; and who says no when there is no backend."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.bpf.frames import checksum, pseudo
from tests.bpf.node import TCP, UDP, Endpoint
from tests.bpf.site import ALL, ALL_BUT_THE_NODE, DROP_EMPTY, IPV4, IPV6, NO_BACKEND, NONE, OVERLAY_MTU, Family, Site
from tests.bpf.talk import conversation
from tests.namespaces import sh

pytestmark = pytest.mark.kernel

FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=lambda family: family.name)
PROTOCOLS = pytest.mark.parametrize("proto", [pytest.param(TCP, id="tcp"), pytest.param(UDP, id="udp")])
TRANSPORTS = pytest.mark.parametrize("transport", ["overlay", "direct"])
OFFLOADS = pytest.mark.parametrize("offloads", [ALL, NONE], ids=["offloads", "no-offloads"])
PORT, TARGET = 30080, 8080
IP_MTU, IPV6_MTU = 14, 24  # include/uapi/linux/in.h, in6.h
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PROBE = 10, 23, 3
UDP_HEADER = 8
NARROW = 1400

Narrow = Callable[[Site, Family], AbstractContextManager[None]]


def never_fragment(one: socket.socket, family: Family) -> None:
    """Also of what the socket's own route says, only errors count (IP_PMTUDISC_DO, ip(7))."""
    if family is IPV4:
        one.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, 2)
    else:
        one.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, 2)


def path_mtu(one: socket.socket, family: Family) -> int:
    """Of a connected socket."""
    if family is IPV4:
        return one.getsockopt(socket.IPPROTO_IP, IP_MTU)
    return one.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)


@contextmanager
def narrow_there(site: Site, family: Family) -> Iterator[None]:
    """The backend's node has a narrow link to its pod: a router that is not this node says so."""
    site.ip("b", f"route add {family.far[0]} dev cni0 mtu {NARROW}")
    yield
    site.ip("b", f"route del {family.far[0]} dev cni0")


@contextmanager
def narrow_here(site: Site, family: Family) -> Iterator[None]:
    """This node's own way to the client: it speaks of packets that are between being translated in and out."""
    site.ip("a", f"route add {family.client} via {family.router} mtu {NARROW}")
    yield
    site.ip("a", f"route del {family.client} via {family.router}")


@contextmanager
def narrow_at_client(site: Site, family: Family) -> Iterator[None]:
    """The router before the client speaks of what leaves this node."""
    site.ip("wire", f"route add {family.client} dev eth-c mtu {NARROW}")
    yield
    site.ip("wire", f"route del {family.client} dev eth-c")


@contextmanager
def forgetting_paths(site: Site) -> Iterator[None]:
    """What machines learned of paths is for one test."""
    names = [site.names[machine] for machine in ("client", "a", "b", "poda", "podb")]
    script = "\n".join(f"ip -n {name} route flush cache; ip -n {name} -6 route flush cache" for name in names)
    sh(script)
    yield
    sh(script)


@FAMILIES
@OFFLOADS
def test_a_datagram_above_the_path_mtu_of_the_overlay(site: Site, family: Family, offloads: Sequence[str]) -> None:
    site.offloads(offloads)
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    site.service(front, UDP, [backend])
    with forgetting_paths(site), conversation(site, family, UDP, front, backend) as talk:
        never_fragment(talk.client, family)
        assert path_mtu(talk.client, family) == 1500
        talk.client.send(bytes(1500 - family.header - UDP_HEADER))
        with pytest.raises(OSError, match="too long") as raised:
            talk.client.recv(1)
        assert raised.value.errno == errno.EMSGSIZE
        assert path_mtu(talk.client, family) == OVERLAY_MTU
        talk.ask(bytes(OVERLAY_MTU - family.header - UDP_HEADER))
    assert site.all_dropped() == {}


@FAMILIES
@TRANSPORTS
def test_a_datagram_above_the_path_mtu_behind_the_other_node(site: Site, family: Family, transport: str) -> None:
    site.route(transport)
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    site.service(front, UDP, [backend])
    with forgetting_paths(site), narrow_there(site, family), conversation(site, family, UDP, front, backend) as talk:
        never_fragment(talk.client, family)
        talk.client.send(bytes(1440 - family.header - UDP_HEADER))
        with pytest.raises(OSError, match="too long"):
            talk.client.recv(1)
        assert path_mtu(talk.client, family) == NARROW
        talk.ask(bytes(NARROW - family.header - UDP_HEADER))


@FAMILIES
@pytest.mark.parametrize("where", [narrow_here, narrow_at_client], ids=["here", "at-client"])
@pytest.mark.parametrize("way", ["near", "overlay", "direct"])
def test_an_answer_above_the_path_mtu(site: Site, family: Family, way: str, where: Narrow) -> None:
    near = way == "near"
    site.route("direct" if way == "direct" else "overlay")
    front, backend = Endpoint(family.node, PORT), Endpoint(family.near if near else family.far[0], TARGET)
    site.service(front, UDP, [backend], here=near)
    machine, source = "poda" if near else "podb", Endpoint(family.client, 0)
    with (
        forgetting_paths(site),
        where(site, family),
        conversation(site, family, UDP, front, backend, machine=machine, source=source) as talk,
    ):
        talk.backend.connect(talk.peer)
        never_fragment(talk.backend, family)
        talk.backend.send(bytes(1440 - family.header - UDP_HEADER))
        with pytest.raises(OSError, match="too long"):
            talk.backend.recv(1)
        assert path_mtu(talk.backend, family) == NARROW
        talk.backend.send(b"small")
        assert talk.client.recv(10) == b"small"


@FAMILIES
@OFFLOADS
def test_a_stream_finds_the_path_mtu(site: Site, family: Family, offloads: Sequence[str]) -> None:
    site.offloads(offloads)
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    site.service(front, TCP, [backend])
    data = bytes(range(256)) * 1000
    with forgetting_paths(site), narrow_there(site, family), conversation(site, family, TCP, front, backend) as talk:
        talk.ask(data)
        talk.answer(data)
    assert site.all_dropped() == {}


@FAMILIES
@TRANSPORTS
def test_a_closed_port_of_a_backend(site: Site, family: Family, transport: str) -> None:
    site.route(transport)
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    site.service(front, UDP, [backend])
    with site.new_socket("client", family, UDP) as client:
        client.connect(front)
        client.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            client.recv(1)


@FAMILIES
def test_an_error_is_right_in_every_sum(site: Site, family: Family) -> None:
    """Its own, that of its header, and what it quotes is the very datagram that the client sent."""
    site.offloads(NONE)
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    site.service(front, UDP, [backend])
    with site.new_socket("client", family, UDP) as client, site.raw("client", "eth0") as wire:
        client.connect(front)
        client.send(b"who?")
        sent = _next(wire, UDP, family)[family.header :]
        error = _next(wire, 1 if family is IPV4 else 58, family)
        source, proto = client.getsockname()[0], 1 if family is IPV4 else 58
        if family is IPV4:
            assert checksum(error[:20]) == checksum(error[20:]) == checksum(error[28:48]) == 0
        else:
            assert checksum(pseudo(family.node, source, len(error) - 40, proto) + error[40:]) == 0
        quoted = error[2 * family.header + UDP_HEADER :]
        assert quoted == sent
        assert checksum(pseudo(source, family.node, len(quoted), UDP) + quoted) == 0


def _next(wire: socket.socket, proto: int, family: Family) -> bytes:
    """The next IP packet of a protocol, and of IPv6 no neighbour's."""
    while True:
        packet = wire.recv(2000)[14:]
        if family is IPV4 and packet[9] == proto and packet[0] >> 4 == 4:
            return packet[: int.from_bytes(packet[2:4], "big")]
        if family is IPV6 and packet[6] == proto and packet[0] >> 4 == 6 and (proto == UDP or packet[40] < 128):
            return packet


@FAMILIES
def test_a_client_that_has_gone(site: Site, family: Family) -> None:
    """Its node says so of the answer, and the backend is told."""
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    site.service(front, UDP, [backend])
    with conversation(site, family, UDP, front, backend) as talk:
        talk.backend.connect(talk.peer)
        talk.client.close()
        talk.backend.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            talk.backend.recv(1)


def ask(client: socket.socket, front: Endpoint, length: int) -> None:
    client.connect(front)
    client.send(bytes(length))
    client.recv(1)


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize(
    "offloads",
    [
        pytest.param(ALL, id="offloads"),
        pytest.param(NONE, id="no-offloads"),
        pytest.param(ALL_BUT_THE_NODE, id="not-the-node's", marks=pytest.mark.vm),
    ],
)
@pytest.mark.parametrize("asking", ["client", "poda"], ids=["by-nic", "by-bridge"])
def test_without_backends_it_is_refused(site: Site, family: Family, proto: int, offloads: Sequence[str], asking: str) -> None:
    site.offloads(offloads)
    front = Endpoint(family.node, PORT)
    site.service(front, proto, [])
    for length in (0, 1, 700):
        with site.new_socket(asking, family, proto) as client, pytest.raises(ConnectionRefusedError):
            ask(client, front, length)
    assert site.all_dropped() == {NO_BACKEND: 3}


@FAMILIES
@PROTOCOLS
def test_without_backends_of_this_node_it_is_silent(site: Site, family: Family, proto: int) -> None:
    silent, refused = Endpoint(family.node, PORT), Endpoint(family.node, PORT + 1)
    site.service(silent, proto, [], flags=DROP_EMPTY)
    site.service(refused, UDP, [])
    with site.new_socket("client", family, proto) as client, site.new_socket("client", family, UDP) as other:
        client.setblocking(False)
        assert client.connect_ex(silent) in (0, errno.EINPROGRESS)
        if proto == UDP:
            client.send(b"?")
        other.connect(refused)
        other.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            other.recv(1)  # what was asked later is answered, so the first would have been by now
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert site.dropped(NO_BACKEND) >= 2
