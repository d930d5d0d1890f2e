"""Packets that mean harm: nothing of them reaches the host, and whoever means well is served all the same."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.bpf import frames
from tests.bpf.frames import ACK, ICMP, ICMPV6, MORE, SYN, TCP, UDP, ethernet, extension, fragment, icmp, ipv4, ipv6, routing, tcp, udp
from tests.bpf.node import Endpoint
from tests.bpf.site import FLOWS, GOES_OUT, IPV4, IPV6, MALFORMED, NO_BACKEND, NO_FIRST_FRAGMENT, Family, Site
from tests.bpf.talk import conversation, wait_until

pytestmark = pytest.mark.kernel

FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=lambda family: family.name)
PORT, TARGET, OPEN = 30080, 8080, 40404
NOBODYS = "10.244.2.99"
OWN = 50000  # an identification that no other test's fragments have
UDP_NO_CHECK6_RX = 102  # include/uapi/linux/udp.h
C4, N4, C6, N6 = IPV4.client, IPV4.node, IPV6.client, IPV6.node
FOUR, SIX, PORTS = (C4, N4), (C6, N6), (5555, PORT)
DATA = b"x" * 64
DATAGRAM4, DATAGRAM6 = udp(FOUR, PORTS, DATA), udp(SIX, PORTS, DATA)
NOBODY = ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255")  # noqa: S104 (nothing is bound)
ANOTHER_MAC = bytes.fromhex("0200000000ff")

# What is sent, and what it counts as: None for what is not ours to count.
DROPPED: dict[str, tuple[list[bytes], dict[int, int]]] = {
    "udp length below its header": ([ipv4(*FOUR, UDP, udp(FOUR, PORTS, DATA, length=4))], {MALFORMED: 1}),
    "udp length beyond the packet": ([ipv4(*FOUR, UDP, udp(FOUR, PORTS, DATA, length=900))], {MALFORMED: 1}),
    "udp header cut off": ([ipv4(*FOUR, UDP, DATAGRAM4[:6])], {MALFORMED: 1}),
    "ip length beyond the packet": ([ipv4(*FOUR, UDP, DATAGRAM4, length=1400)], {MALFORMED: 1}),
    "ip length before the udp header's end": ([ipv4(*FOUR, UDP, DATAGRAM4, length=24)], {MALFORMED: 1}),
    "tcp header too short": ([ipv4(*FOUR, TCP, tcp(FOUR, PORTS, words=4))], {MALFORMED: 1}),
    "tcp header beyond the packet": ([ipv4(*FOUR, TCP, tcp(FOUR, PORTS, words=15))], {MALFORMED: 1}),
    "tcp flags in the second fragment": (
        [ipv4(*FOUR, TCP, tcp(FOUR, PORTS)[:8], fragment=MORE), ipv4(*FOUR, TCP, tcp(FOUR, PORTS)[8:], fragment=1)],
        {MALFORMED: 1, NO_FIRST_FRAGMENT: 1},
    ),
    "ports in no fragment at all": (
        [ipv4(*FOUR, UDP, b"", fragment=MORE), ipv4(*FOUR, UDP, DATAGRAM4, fragment=1)],
        {MALFORMED: 1, NO_FIRST_FRAGMENT: 1},
    ),
    "a later fragment alone": ([ipv4(*FOUR, UDP, DATA, fragment=100)], {NO_FIRST_FRAGMENT: 1}),
    "fragments in the wrong order": ([ipv4(*FOUR, UDP, DATAGRAM4[16:], fragment=2)], {NO_FIRST_FRAGMENT: 1}),
    "a fragment beyond 64 KiB": ([ipv4(*FOUR, UDP, DATA, fragment=8191)], {NO_FIRST_FRAGMENT: 1}),
    "nine extension headers": (
        [ipv6(*SIX, 0, extension(60) + extension(60) * 7 + extension(UDP) + DATAGRAM6)],
        {MALFORMED: 1},
    ),
    "udp behind options behind a fragment header": (
        [ipv6(*SIX, 44, fragment(60, 0, more=True) + extension(UDP) + DATAGRAM6), ipv6(*SIX, 44, fragment(60, 80, more=False) + DATA)],
        {MALFORMED: 1},
    ),
    "an IPv6 fragment alone": ([ipv6(*SIX, 44, fragment(UDP, 800, more=False) + DATA)], {NO_FIRST_FRAGMENT: 1}),
    "payload length beyond the packet": ([ipv6(*SIX, UDP, DATAGRAM6, length=1200)], {MALFORMED: 1}),
    "payload length before the udp header's end": ([ipv6(*SIX, UDP, DATAGRAM6, length=4)], {MALFORMED: 1}),
    # the kernel drops these by itself
    "header length below the least": ([ipv4(*FOUR, UDP, DATAGRAM4, ihl=4)], {}),
    "header length beyond the packet": ([ipv4(*FOUR, UDP, b"", ihl=15)], {}),
    "another version": ([ipv4(*FOUR, UDP, DATAGRAM4, version=5), ipv6(*SIX, UDP, DATAGRAM6, version=4)], {}),
    "half a header": ([ipv4(*FOUR, UDP, b"")[:26], ipv6(*SIX, UDP, b"")[:40]], {}),
    "nothing behind ethernet": ([ethernet(bytes(46), 0x0800), ethernet(bytes(46), 0x86DD)], {}),
    "options beyond the packet": ([ipv6(*SIX, 0, bytes([UDP, 255]) + bytes(6) + DATAGRAM6)], {MALFORMED: 1}),
    "a route of type 0": ([ipv6(*SIX, 43, routing(UDP, 1) + DATAGRAM6)], {}),
    "a source route": ([ipv4(*FOUR, UDP, DATAGRAM4, options=b"\x83\x07\x04" + bytes([198, 51, 100, 10]) + b"\x00")], {}),
    "no more hops": ([ipv4(*FOUR, UDP, DATAGRAM4, ttl=1)], {}),
    "for all machines": ([b"\xff" * 6 + ipv4(*FOUR, UDP, DATAGRAM4)[6:]], {}),
    "from nobody": ([ipv4(one, N4, UDP, udp((one, N4), PORTS)) for one in NOBODY], {}),
    "from the node itself": ([ipv4(N4, N4, UDP, udp((N4, N4), PORTS)), ipv4(N4, N4, TCP, tcp((N4, N4), PORTS))], {}),
    "from many": ([ipv6("ff02::1", N6, UDP, udp(("ff02::1", N6), PORTS)), ipv6("::1", N6, UDP, udp(("::1", N6), PORTS))], {}),
    "errors that quote nothing": ([ipv4(*FOUR, ICMP, icmp(3, 4, b"")), ipv6(*SIX, ICMPV6, icmp(2, 0, b"", SIX))], {}),
    "errors about a stranger": (
        [
            ipv4(*FOUR, ICMP, icmp(3, 4, ipv4(N4, C4, UDP, udp((N4, C4), (PORT, 5555)))[14:42])),
            ipv4(*FOUR, ICMP, icmp(3, 3, ipv4(N4, C4, UDP, b"")[14:])),
            ipv4(*FOUR, ICMP, icmp(11, 0, ipv4(N4, C4, UDP, b"", ihl=15)[14:])),
            ipv4(*FOUR, ICMP, icmp(3, 3, ipv4(N4, C4, UDP, DATA, fragment=9)[14:])),
            ipv6(*SIX, ICMPV6, icmp(2, 0, ipv6(N6, C6, 44, fragment(44, 0, more=True) * 9)[14:], SIX)),
        ],
        {},
    ),
    "a reset to a service without backends": ([ipv4(*FOUR, TCP, tcp(FOUR, (5555, PORT + 1), frames.RST))], {NO_BACKEND: 1}),
}
ARRIVES = {
    "options of all sorts": ipv4(*FOUR, UDP, DATAGRAM4, options=b"\x01" * 39 + b"\x00"),
    "padding behind the packet": ipv4(*FOUR, UDP, DATAGRAM4) + bytes(200),
    "no checksum": ipv4(*FOUR, UDP, udp(FOUR, PORTS, DATA, summed=False)),
    "extension headers": ipv6(*SIX, 0, extension(60) + extension(UDP) + DATAGRAM6),
    "eight extension headers": ipv6(*SIX, 0, extension(60) + extension(60) * 6 + extension(UDP) + DATAGRAM6),
    "a fragment that is whole": ipv6(*SIX, 44, fragment(UDP, 0, more=False) + DATAGRAM6),
    "a route without hops left": ipv6(*SIX, 43, routing(UDP, 0) + DATAGRAM6),
}


class Ears(dict[str, socket.socket]):
    """Sockets of the host itself: at the front's own port, where nothing may come through, and at one that is open."""

    def leaked(self) -> list[str]:
        return [name for name in ("udp", "tcp") if _has(self[name])]


def _has(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        if one.type == socket.SOCK_STREAM:
            one.accept()[0].close()
        else:
            one.recv(2000)
    except BlockingIOError:
        return False
    return True


@contextmanager
def ears(site: Site) -> Iterator[Ears]:
    """Both families at one socket each."""
    made = Ears()
    for name, proto, port in (("udp", UDP, PORT), ("tcp", TCP, PORT), ("open", UDP, OPEN)):
        made[name] = site.new_socket("a", IPV6, proto)
        made[name].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if proto == UDP:
            made[name].setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_RX, 1)
        made[name].bind(("::", port))
        if proto == TCP:
            made[name].listen(1000)
    try:
        yield made
    finally:
        for one in made.values():
            one.close()


def send(site: Site, sent: list[bytes], host: Ears) -> None:
    """Into the node's NIC; when this returns they have been handled."""
    with site.raw("wire", "eth-a") as wire:
        for frame in sent:
            wire.send(frame.ljust(60, b"\0"))
        wire.send(ipv4(*FOUR, UDP, udp(FOUR, (5555, OPEN), b"done")))
    assert host["open"].recv(100) == b"done"


def serve(site: Site) -> tuple[Endpoint, Endpoint]:
    """UDP and TCP, both families, by the same port; the backends."""
    for family in (IPV4, IPV6):
        for proto in (UDP, TCP):
            site.service(Endpoint(family.node, PORT), proto, [Endpoint(family.far[0], TARGET)])
            site.service(Endpoint(family.node, PORT + 1), proto, [])
    return Endpoint(IPV4.far[0], TARGET), Endpoint(IPV6.far[0], TARGET)


def is_alive(site: Site) -> None:
    for family in (IPV4, IPV6):
        for proto in (UDP, TCP):
            with conversation(site, family, proto, Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)) as talk:
                talk.ask(b"x")
                talk.answer(b"y")


@pytest.mark.parametrize("what", DROPPED)
def test_what_is_wrong_goes_nowhere(site: Site, what: str) -> None:
    sent, counted = DROPPED[what]
    serve(site)
    with ears(site) as host, site.listener("podb", IPV4, UDP, Endpoint(IPV4.far[0], TARGET)) as there:
        send(site, sent, host)
        assert host.leaked() == []
        assert site.all_dropped() == counted
        assert not _has(there)
    is_alive(site)


@pytest.mark.parametrize("what", ARRIVES)
def test_what_is_odd_but_right_arrives(site: Site, what: str) -> None:
    backends = serve(site)
    family, backend = (IPV6, backends[1]) if ARRIVES[what][12:14] == b"\x86\xdd" else (IPV4, backends[0])
    with ears(site) as host, site.listener("podb", family, UDP, backend) as there:
        send(site, [ARRIVES[what]], host)
        assert there.recv(100) == DATA
        assert host.leaked() == []
    assert site.all_dropped() == {}


def test_nobody_is_answered_who_did_not_ask(site: Site) -> None:
    """A refusal goes to one machine that is there, and never to a refusal."""
    serve(site)
    closed = (5555, PORT + 1)
    asking = [ipv4(one, N4, UDP, udp((one, N4), closed)) for one in NOBODY]
    asking += [ipv6(one, N6, UDP, udp((one, N6), closed)) for one in ("ff02::1", "::1", "::")]
    asking += [b"\xff" * 6 + ipv4(*FOUR, UDP, udp(FOUR, closed))[6:], ipv4(*FOUR, TCP, tcp(FOUR, closed, frames.RST))]
    with ears(site) as host, site.raw("wire", "eth-a") as wire:
        send(site, [*asking, ipv4(*FOUR, UDP, udp(FOUR, closed, b"last"))], host)
        assert site.all_dropped() == {NO_BACKEND: len(asking) + 1}
        while (frame := wire.recv(2000))[6:12] != frames.NODE or frame[12:14] not in (b"\x08\x00", b"\x86\xdd"):
            pass
        assert frame[14 + 9] == ICMP
        assert frame[14 + 20 + 8 + 20 :][:8] == udp(FOUR, closed, b"last")[:8]


def test_what_is_for_another_machine_is_left_alone(site: Site) -> None:
    serve(site)
    with ears(site) as host:
        send(site, [ANOTHER_MAC + ipv4(*FOUR, UDP, DATAGRAM4)[6:]], host)
    assert list(site.maps["pl_flow_1"]) == []


def test_the_hosts_own_fragments_arrive(site: Site) -> None:
    """They are of no service; and of what is neither TCP nor UDP, nothing is asked at all."""
    with ears(site) as host, site.new_socket("client", IPV4, UDP) as four, site.new_socket("client", IPV6, UDP) as six:
        for one, at in ((four, N4), (six, N6)):
            one.sendto(DATA * 100, (at, OPEN))
            assert host["open"].recv(10000) == DATA * 100
    for at in (N4, N6):
        site.sh("client", f"ping -c 1 -W 5 -s 4000 {at}")
    assert site.all_dropped() == {}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_sent(site: Site, seed: int) -> None:
    """Right packets with a few bytes changed and their ends cut, IPv4's header checksum put right again."""
    chance = random.Random(seed)  # noqa: S311 (to be the same again)
    serve(site)
    models = [frame for sent, _ in DROPPED.values() for frame in sent] + list(ARRIVES.values())
    models += [ipv4(*FOUR, TCP, tcp(FOUR, PORTS)), ipv4(*FOUR, UDP, udp(FOUR, PORTS, DATA, summed=False))] * 20
    changed = []
    for _ in range(700):
        frame = bytearray(chance.choice(models))
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            frame[chance.randrange(14, len(frame))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        if chance.random() < 0.3:
            del frame[chance.randrange(14, len(frame)) :]
        if frame[12:14] == b"\x08\x00" and len(frame) >= 34:
            frame[24:26] = bytes(2)
            frame[24:26] = struct.pack("!H", frames.checksum(bytes(frame[14 : 14 + 4 * (frame[14] & 15)])))
        changed.append(bytes(frame))
    with ears(site) as host:
        send(site, [frame for frame in changed if _port(frame) == PORT or _port(frame) is None], host)
        assert host.leaked() == []
    is_alive(site)


def _port(frame: bytes) -> int | None:
    """To which port a frame goes whose headers are the usual ones; those that name another one may be the host's."""
    if frame[12:14] == b"\x08\x00":
        at = 14 + 4 * (int.from_bytes(frame[14:15], "big") & 15)
    else:
        at = 54 if frame[20:21] in (b"\x06", b"\x11") else len(frame)
    return int.from_bytes(frame[at + 2 : at + 4], "big") if len(frame) >= at + 4 else None


@FAMILIES
def test_a_flood_of_half_open_connections(site: Site, family: Family) -> None:
    """More than the map holds: those that speak go on, the next one is served, and nothing reaches the host."""
    serve(site)
    ends, build = (FOUR, ipv4) if family is IPV4 else (SIX, ipv6)
    flood = [build(*ends, TCP, tcp(ends, (port, PORT), SYN)) for port in range(1024, 6024)]
    front, backend = Endpoint(family.node, PORT), Endpoint(family.far[0], TARGET)
    with ears(site) as host, conversation(site, family, TCP, front, backend, source=Endpoint(family.client, 0)) as talk:
        for at in range(0, len(flood), 500):
            send(site, flood[at : at + 500], host)
            talk.ask(b"x")
            talk.answer(b"y")
        assert host.leaked() == []
    is_alive(site)
    assert len(list(site.maps["pl_flow_1"])) <= FLOWS


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_foreign_filters_on_the_same_hook_still_run(site: Site, direction: str) -> None:
    """One behind ours that lets nothing pass: it sees what we have translated, and has the last word."""
    front, backend = Endpoint(IPV4.node, PORT), Endpoint(IPV4.far[0], TARGET)
    site.service(front, UDP, [backend])
    with conversation(site, IPV4, UDP, front, backend) as talk:
        hook = f"dev eth0 {direction} protocol ip prio 200"
        site.sh("a", f"tc filter add {hook} bpf da bytecode '1,6 0 0 2,'")
        try:
            talk.client.settimeout(0.2)
            talk.backend.settimeout(0.2)
            with pytest.raises(TimeoutError):
                talk.ask(b"?") if direction == "ingress" else talk.answer(b"!")
        finally:
            site.sh("a", f"tc filter del {hook}")
        talk.ask(b"x")
        talk.answer(b"y")


def test_nothing_of_a_flood_of_fragments_is_believed_twice(site: Site) -> None:
    """First fragments fill their map; a later one whose first was pushed out is dropped, not given to the host."""
    site.service(Endpoint(N4, PORT), UDP, [Endpoint(NOBODYS, TARGET)])  # no pod's memory is to be full of them
    with ears(site) as host:
        firsts = [ipv4(*FOUR, UDP, DATAGRAM4, id=number, fragment=MORE) for number in range(1, 4000)]
        send(site, firsts, host)
        later = ipv4(*FOUR, UDP, DATA, id=1, fragment=len(DATAGRAM4) // 8)
        send(site, [later], host)
        wait_until(lambda: site.dropped(NO_FIRST_FRAGMENT) == 1, "dropped")
        assert host.leaked() == []
    serve(site)
    is_alive(site)


def test_a_later_fragment_leaves_as_its_first_one_did(site: Site) -> None:
    """Also when only what was noted where it comes in is left: never with the client's own address."""
    front, backend = Endpoint(N4, PORT), Endpoint(IPV4.far[0], TARGET)
    site.service(front, UDP, [backend])
    whole, noted = udp(FOUR, PORTS, DATA * 2), site.maps["pl_frag_1"]
    with ears(site) as host, site.listener("podb", IPV4, UDP, backend) as there:
        send(site, [ipv4(*FOUR, UDP, whole[:72], id=OWN, fragment=MORE)], host)
        for key in [key for key in noted if key[37] == GOES_OUT]:
            del noted[key]
        send(site, [ipv4(*FOUR, UDP, whole[72:], id=OWN, fragment=9)], host)
        assert there.recv(1000) == DATA * 2
    assert site.all_dropped() == {}


def test_an_answer_of_its_own_is_not_mistaken(site: Site) -> None:
    """A middle packet of a connection that nobody knows is refused, and opens nothing."""
    serve(site)
    with ears(site) as host, site.raw("wire", "eth-a") as wire:
        send(site, [ipv4(*FOUR, TCP, tcp(FOUR, PORTS, ACK, sequence=77))], host)
        while True:
            frame = wire.recv(2000)
            if frame[:6] == frames.ROUTER and frame[23] == TCP:
                break
        assert frame[14 + 20 + 13] == frames.RST
        assert len(list(site.maps["pl_flow_1"])) == 0
        assert host.leaked() == []
