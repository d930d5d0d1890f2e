"""NodePorts from outside: the way there and back, over every transport and by every sort of packet."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

import pytest

from tests.bpf.node import TCP, UDP, Endpoint
from tests.bpf.site import ALL, ALL_BUT_THE_NODE, HERE, IPV4, IPV6, KEEP_CLIENT, NONE, Family, Site
from tests.bpf.talk import conversation, is_source_port, seen_as

pytestmark = pytest.mark.kernel

FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=lambda family: family.name)
PROTOCOLS = pytest.mark.parametrize("proto", [pytest.param(TCP, id="tcp"), pytest.param(UDP, id="udp")])
TRANSPORTS = pytest.mark.parametrize("transport", ["overlay", "direct"])
PORT, TARGET = 30080, 8080
SO_NO_CHECK = 11  # include/uapi/asm-generic/socket.h
STREAM = bytes(range(256)) * 1200  # more than any window and any segment


@pytest.mark.parametrize("rp_filter", [0, 1, 2])
@pytest.mark.parametrize("offloads", [ALL, NONE, ALL_BUT_THE_NODE], ids=["offloads", "no-offloads", "not-the-node's"])
@FAMILIES
@TRANSPORTS
@PROTOCOLS
def test_a_backend_of_another_node(site: Site, family: Family, transport: str, proto: int, offloads: Sequence[str], rp_filter: int) -> None:
    site.reverse_path_filter(rp_filter)
    site.offloads(offloads)
    site.route(transport)
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    number = site.service(front, proto, [backend])
    with conversation(site, family, proto, front, backend) as talk:
        assert talk.peer.address == seen_as(family, transport)
        assert is_source_port(talk.peer.port)
        for data in (b"x", STREAM if proto == TCP else b"y" * 1000):
            talk.ask(data)
            talk.answer(data)
    assert site.all_dropped() == {}
    connections, packets, octets = site.counted(number)
    assert connections == 1
    assert packets >= 6
    assert octets > (2 * len(STREAM) if proto == TCP else 2000)


@pytest.mark.vm
@FAMILIES
@TRANSPORTS
@PROTOCOLS
def test_the_way_there_and_back(site: Site, family: Family, transport: str, proto: int) -> None:
    """The least of it, for other kernels."""
    site.route(transport)
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    site.service(front, proto, [backend])
    with conversation(site, family, proto, front, backend) as talk:
        talk.in_pieces()
        talk.ask(b"x" * 4000)
        talk.answer(b"y" * 4000)
    assert site.all_dropped() == {}


@FAMILIES
@PROTOCOLS
def test_a_pod_of_another_node_comes_back_to_itself(site: Site, family: Family, proto: int) -> None:
    """Its backend is beside it, by way of a node that has none."""
    site.route("direct")
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[1], TARGET)
    site.service(front, proto, [backend])
    with conversation(site, family, proto, front, backend, asking="podb", source=Endpoint(family.far[0], 0)) as talk:
        assert talk.peer.address == family.node
        talk.ask(b"x")
        talk.answer(b"y")
    assert site.all_dropped() == {}


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("flags", [0, KEEP_CLIENT], ids=["cluster", "local"])
def test_a_backend_of_this_node_sees_the_client(site: Site, family: Family, proto: int, flags: int) -> None:
    front, backend = Endpoint(family.node, PORT), Endpoint(family.near, TARGET)
    site.service(front, proto, [backend], here=True, flags=flags)
    with conversation(site, family, proto, front, backend, machine="poda") as talk:
        assert talk.peer == Endpoint(*talk.client.getsockname()[:2])
        talk.ask(b"x" * 1000)
        talk.answer(b"y" * 1000)
    assert site.all_dropped() == {}
    assert len(list(site.maps["pl_flow_1"])) == 2


@FAMILIES
@PROTOCOLS
def test_a_process_of_the_node_itself(site: Site, family: Family, proto: int) -> None:
    """A backend in the host's network, at another port than the front's."""
    front, backend = Endpoint(family.node, PORT), Endpoint(family.node, TARGET)
    site.service(front, proto, [backend], here=True)
    with conversation(site, family, proto, front, backend, machine="a") as talk:
        talk.ask(b"x")
        talk.answer(b"y")
    assert site.all_dropped() == {}


@FAMILIES
@PROTOCOLS
def test_an_address_that_no_machine_has(site: Site, family: Family, proto: int) -> None:
    """An external IP: routed to the node, and not its own."""
    net = "203.0.113.7" if family is IPV4 else "2001:db8:203::7"
    site.ip("wire", f"route replace {net} via {family.node}")
    front, backend = Endpoint(net, 443), Endpoint(family.far[0], TARGET)
    site.service(front, proto, [backend])
    with conversation(site, family, proto, front, backend) as talk:
        talk.ask(b"x")
        talk.answer(b"y")
    assert site.all_dropped() == {}


@FAMILIES
@PROTOCOLS
def test_a_client_of_the_same_bridge_as_its_backend_is_hidden_from_it(site: Site, family: Family, proto: int) -> None:
    """Else the answer would go straight back, from an address that was never asked."""
    other = family.near.replace("1.2", "1.3") if family is IPV4 else family.near.replace("::2", "::3")
    front, backend = Endpoint(family.node, PORT), Endpoint(other, TARGET)
    site.service(front, proto, [backend], here=True)
    with conversation(site, family, proto, front, backend, machine="poda", asking="poda", source=Endpoint(family.near, 0)) as talk:
        assert talk.peer.address == family.near_gateway
        talk.ask(b"x")
        talk.answer(b"y")
    assert site.all_dropped() == {}


@TRANSPORTS
@pytest.mark.parametrize("offloads", [ALL, NONE], ids=["offloads", "no-offloads"])
def test_no_udp_checksum_stays_none(site: Site, transport: str, offloads: Sequence[str]) -> None:
    site.route(transport)
    site.offloads(offloads)
    front, backend = Endpoint(IPV4.node, PORT), Endpoint(IPV4.far[0], TARGET)
    site.service(front, UDP, [backend])
    with conversation(site, IPV4, UDP, front, backend) as talk, site.raw("podb", "eth0") as there, site.raw("client", "eth0") as here:
        for one in (talk.client, talk.backend):
            one.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        talk.ask(b"without")
        talk.answer(b"likewise")
        assert _checksum_of(there, TARGET, "to") == 0
        assert _checksum_of(here, PORT, "from") == 0


def _checksum_of(one: socket.socket, port: int, side: str) -> int:
    """Of the first UDP datagram to or from a port."""
    while True:
        frame = one.recv(2000)
        if frame[12:14] == b"\x08\x00" and frame[23] == UDP:
            ports = dict(zip(("from", "to"), struct.unpack("!HH", frame[34:38]), strict=True))
            if ports[side] == port:
                return int.from_bytes(frame[40:42], "big")


@FAMILIES
@TRANSPORTS
@pytest.mark.parametrize("offloads", [ALL, NONE], ids=["offloads", "no-offloads"])
def test_datagrams_of_many_fragments(site: Site, family: Family, transport: str, offloads: Sequence[str]) -> None:
    site.route(transport)
    site.offloads(offloads)
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    number = site.service(front, UDP, [backend])
    with conversation(site, family, UDP, front, backend) as talk:
        talk.in_pieces()
        before = site.counted(number)[1]
        talk.ask(STREAM[:8000])
        talk.answer(STREAM[:9000])
        assert site.counted(number)[1] - before >= 12, "they were fragments"
    assert site.all_dropped() == {}


@FAMILIES
def test_a_datagram_of_many_fragments_begins_a_flow(site: Site, family: Family) -> None:
    front, backend = Endpoint(family.node, PORT), Endpoint(family.near, TARGET)
    site.service(front, UDP, [backend], here=True, flags=HERE)
    with site.listener("poda", family, UDP, backend) as listener, site.new_socket("client", family, UDP) as client:
        client.sendto(STREAM[:5000], front)
        data, sender = listener.recvfrom(6000)
        assert data == STREAM[:5000]
        listener.sendto(STREAM[:4000], sender)
        assert client.recvfrom(6000)[1][:2] == front
    assert site.all_dropped() == {}
