"""Beside others on the same node: sockets and translations of its own that use ports of ours, connection tracking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bpf.node import TCP, UDP, Endpoint
from tests.bpf.site import IPV4, IPV6, Family, Site
from tests.bpf.talk import conversation

pytestmark = pytest.mark.kernel

FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=lambda family: family.name)
PROTOCOLS = pytest.mark.parametrize("proto", [pytest.param(TCP, id="tcp"), pytest.param(UDP, id="udp")])
PORT, TARGET, OURS, NOBODYS = 30080, 8080, 61500, 61501
STREAM = bytes(range(256)) * 30

# What a node does for its pods when they speak with the world, and one that takes a port of ours for them.
MASQUERADE = """
nft -f - <<'END'
table inet plt-beside {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
    oifname plumb0 ip saddr 10.244.1.2 udp dport 8080 masquerade to :61500
    oifname plumb0 ip6 saddr fd02:1::2 udp dport 8080 masquerade to :61500
  }
}
END
"""


@pytest.fixture
def tracked(site: Site) -> Iterator[Site]:
    """Node a tracks connections."""
    site.sh("a", MASQUERADE)
    yield site
    site.sh("a", "nft delete table inet plt-beside")


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("transport", ["overlay", "direct"])
def test_where_connections_are_tracked(tracked: Site, family: Family, proto: int, transport: str) -> None:
    """What lies between coming in and going out is one connection to it; it puts fragments together and apart again."""
    site = tracked
    site.route(transport)
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    site.service(front, proto, [backend])
    with conversation(site, family, proto, front, backend) as talk:
        talk.ask(STREAM)
        talk.answer(STREAM)
    assert site.all_dropped() == {}


@FAMILIES
def test_a_masquerade_that_took_a_port_of_ours(tracked: Site, family: Family) -> None:
    site, front, backend = tracked, Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    site.service(front, UDP, [backend])
    with conversation(site, family, UDP, front, backend) as talk, site.new_socket("poda", family, UDP) as pod:
        pod.bind((family.near, 0))
        pod.sendto(b"?", backend)
        _, sender = talk.backend.recvfrom(10)
        assert sender[1] == OURS
        talk.backend.sendto(b"!", sender)
        assert pod.recv(10) == b"!"
        talk.ask(b"x")
        talk.answer(b"y")
    assert site.all_dropped() == {}


@FAMILIES
def test_a_socket_of_the_host_at_a_port_of_ours(site: Site, family: Family) -> None:
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    site.service(front, UDP, [backend])
    with conversation(site, family, UDP, front, backend) as talk, site.listener("a", family, UDP, Endpoint(family.vtep, NOBODYS)) as host:
        talk.backend.sendto(b"?", (family.vtep, NOBODYS))
        assert host.recv(10) == b"?"
    assert site.all_dropped() == {}


def test_a_flow_takes_no_port_of_a_socket(site: Site, few_ports: Path) -> None:
    front, backend = Endpoint(IPV4.node, PORT), Endpoint(IPV4.far[0], TARGET)
    site.service(front, UDP, [backend])
    site.put_programs(few_ports)
    try:
        with site.listener("a", IPV4, UDP, Endpoint(IPV4.vtep, 61000)), conversation(site, IPV4, UDP, front, backend) as talk:
            assert talk.peer.port == 61001
    finally:
        site.put_programs()
