"""Workers with one NIC each on a wire, a gateway there, and streams that run while a worker's NIC changes its place."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

from reconciler.confirm import lifeline
from reconciler.engine.inverse import inverse
from reconciler.engine.model import Plan
from reconciler.engine.reader import Scope
from reconciler.engine.render import Renderer
from reconciler.engine.round import Result, Round
from reconciler.intents import Compiled, Context, compile_node
from reconciler.kernel.devices import with_devices
from reconciler.kernel.host import observe_host
from reconciler.kernel.netns import entered
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.lab.nodes import ANYTHING, Network
from reconciler.lab.wait import until
from tests.namespaces import fresh_namespace, sh

PORT = 7007
WAIT = 20.0  # seconds for what is a matter of milliseconds
WARM = 20  # answers before a change and after it
SOLICITATION = 133  # ND_ROUTER_SOLICIT
PAUSE = 0.001  # seconds between two packets of a stream
LATE = 20  # times a tenth of a second: an echo on a busy machine is late, not lost
_NUMBER = struct.Struct("!Q")


class Wire(NamedTuple):
    """Names of namespaces."""

    outside: str  # the gateway, 10.33.74.1 and 2001:db8::1
    workers: tuple[str, ...]


@contextmanager
def wire(count: int = 1) -> Iterator[Wire]:
    """`count` workers whose eth1 has 10.33.74.11 and up, with a default route; the last one is where the test runs."""
    with ExitStack() as held:
        outside = held.enter_context(fresh_namespace())
        sh("""
        ip link add wire type bridge && ip link set wire up
        ip addr add 10.33.74.1/24 dev wire && ip addr add 2001:db8::1/64 dev wire nodad
        sysctl -qw net.ipv4.ip_forward=1
        """)
        workers = [held.enter_context(fresh_namespace()) for _ in range(count)]
        for number, worker in enumerate(workers, 11):
            sh(f"""
            ip -n {worker} link add eth1 type veth peer name w{number} netns {outside}
            ip -n {outside} link set w{number} master wire up
            ip -n {worker} addr add 10.33.74.{number}/24 dev eth1 broadcast 10.33.74.255
            ip -n {worker} addr add 2001:db8::{number}/64 dev eth1 nodad
            ip -n {worker} link set eth1 up
            ip -n {worker} route add default via 10.33.74.1 proto static metric 100
            ip -n {worker} -6 route add default via 2001:db8::1 proto static metric 1024
            """)
        yield Wire(outside, tuple(workers))


class Applied(NamedTuple):
    """One converging round, and the way back that was rendered before it."""

    compiled: Compiled
    plan: Plan
    result: Result
    undo: tuple[str, ...]


def apply(network: Network, node: str, root: str = "") -> Applied:
    """As `plumbline apply` in the namespace of this thread, without the trial."""
    kinds, io = all_kinds(), KernelNode()
    try:
        host = with_devices(observe_host(io, network.facts.nodes[node], root), io, network.loaded.spec.devices)
        compiled = compile_node(Context(network.loaded.spec, network.facts._replace(host=host), node, network.loaded.where))
        assert not compiled.clashes, compiled.clashes
        engine, scope = Round(io, kinds, limits=ANYTHING, name=node), Scope(("",), compiled.wanted)
        plan, seen = engine.plan(scope)
        ground = lifeline.ground(lifeline.carriers(host, seen))
        undo = inverse(kinds, Renderer(kinds), plan.runnable, seen, ground)
        return Applied(compiled, plan, engine.converge(scope), tuple(line.words for action in undo for line in action.lines))
    finally:
        io.close()


def dumps(of_the_kernel: bool = True) -> list[str]:
    """Everything that a takeover may touch, without what changes by itself; or without the link-local addresses, which the kernel makes."""
    said = sh("""
    ip -br link | awk '{sub("@if.*", "", $1); print $1}' | sort; bridge -d link | sed 's/^[0-9]*: //' | paste - - | sort
    for dev in eth1 $(ip -br link show type bridge | cut -d' ' -f1 | sort); do ip addr show dev $dev; done
    ip route show table all | sort; ip rule; ip -6 rule; ip neigh show nud permanent | sort
    """)
    lines = (
        line
        for line in said.splitlines()
        if " table local " not in line and "fe80::/64 dev" not in line and not line.startswith(("multicast", "local", "anycast"))
        if of_the_kernel or "inet6 fe80::" not in line
    )
    return [re.sub(r" tentative| linkdown|state \w+ | dadfailed|^\d+: |@[\w-]+", "", line) for line in lines]


class Stream:
    """Numbered packets to an echo at `address` and back: of one TCP connection, and of UDP beside it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sent = self.lost = 0  # UDP packets
        self.gap = 0.0  # seconds; the longest without an answer in the TCP connection
        self.answers = 0  # of the TCP connection, each in its turn

    def __str__(self) -> str:
        return f"{self.address}: TCP {self.answers} answers, longest gap {self.gap * 1000:.0f} ms; UDP {self.lost} of {self.sent} lost"


@contextmanager
def stream(outside: str, address: str) -> Iterator[Stream]:
    """From the namespace of this thread to an echo in `outside`; the figures are complete at the end."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as held:
        with entered(outside):
            server, echo = (held.enter_context(socket.socket(family, kind)) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for one in (server, echo):
            one.bind((address, PORT))
        server.listen()
        client, probe = (held.enter_context(socket.socket(family, kind)) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
        client.connect((address, PORT))
        probe.connect((address, PORT))
        answering = held.enter_context(server.accept()[0])
        for one in (client, answering):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for one in (answering, client):
            one.settimeout(WAIT)
        for one in (echo, probe):
            one.settimeout(0.1)
        found, over, counted = Stream(address), threading.Event(), threading.Event()
        threads = [
            threading.Thread(target=call, daemon=True)
            for call in (
                lambda: _echo_stream(answering),
                lambda: _echo_packets(echo, counted),
                lambda: _speak(client, probe, over, found),
                lambda: _hear(client, found),
                lambda: _count(probe, over, found),
            )
        ]
        for thread in threads:
            thread.start()
        until(lambda: found.answers > WARM, WAIT, lambda: f"{address} does not answer")
        yield found
        heard = found.answers
        until(lambda: found.answers > heard + WARM, WAIT, lambda: f"{address} does not answer any more: {found}")
        over.set()
        for thread in threads[2:]:
            thread.join()
        counted.set()
        for thread in threads:  # who still reads keeps the port
            thread.join()


def _echo_stream(connection: socket.socket) -> None:
    with suppress(OSError):
        while data := connection.recv(65536):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def _echo_packets(connection: socket.socket, counted: threading.Event) -> None:
    while not counted.is_set():
        with suppress(OSError):
            data, sender = connection.recvfrom(64)
            connection.sendto(data, sender)


def _speak(client: socket.socket, probe: socket.socket, over: threading.Event, found: Stream) -> None:
    number = 0
    while not over.wait(PAUSE):
        client.sendall(_NUMBER.pack(number))
        with suppress(OSError):
            probe.send(_NUMBER.pack(number))
        number += 1
    found.sent = number
    client.shutdown(socket.SHUT_WR)


def _hear(client: socket.socket, found: Stream) -> None:
    before, rest = time.monotonic(), b""
    while data := client.recv(65536):
        now = time.monotonic()
        found.gap, before = max(found.gap, now - before), now
        rest += data
        while len(rest) >= _NUMBER.size:
            assert _NUMBER.unpack_from(rest)[0] == found.answers
            found.answers, rest = found.answers + 1, rest[_NUMBER.size :]


def _count(probe: socket.socket, over: threading.Event, found: Stream) -> None:
    heard = set()
    quiet = 0  # timeouts since the last packet was sent
    while quiet < LATE and not (over.is_set() and found.sent and len(heard) == found.sent):
        try:
            heard.add(probe.recv(64))
        except TimeoutError:
            quiet += over.is_set()
        except OSError:
            continue  # an ICMP error
    found.lost = found.sent - len(heard)


PREFIX = "2001:db8:77::"


@contextmanager
def router(wired: Wire) -> Iterator[None]:
    """The gateway advertises itself and a prefix, once now and to whoever solicits (RFC 4861, sections 4.1, 4.2, 4.6.2)."""
    with entered(wired.outside):
        asked = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        index = socket.if_nametoindex("wire")
        sh(f"sysctl -qw net.ipv6.conf.all.forwarding=1; ip addr add {PREFIX}1/64 dev wire nodad")
    with asked:
        asked.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        asked.setsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, "ff02::2") + struct.pack("@I", index)
        )
        prefix = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 7200, 3600, 0, socket.inet_pton(socket.AF_INET6, PREFIX))
        advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
        over = threading.Event()
        asked.settimeout(0.1)

        def answer() -> None:
            asked.sendto(advertisement, ("ff02::1", 0, 0, index))
            while not over.is_set():
                with suppress(TimeoutError):
                    if asked.recv(1500)[0] == SOLICITATION:
                        asked.sendto(advertisement, ("ff02::1", 0, 0, index))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield
        over.set()
        thread.join()
