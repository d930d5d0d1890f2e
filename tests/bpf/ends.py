"""Both ends of a conversation, as real sockets of one namespace: backends on lo, clients that ask for services."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_interface
from pathlib import Path
from typing import NamedTuple

from tests.bpf.node import TCP, UDP, Endpoint
from tests.namespaces import sh

SECONDS = 5.0
RTF_LOCAL = 0x80000000  # include/uapi/linux/ipv6_route.h


class Way(NamedTuple):
    """How a socket speaks: with which family of sockets, and with which of addresses."""

    name: str
    family: socket.AddressFamily
    service: str
    backends: tuple[Endpoint, ...]

    def written(self, text: str) -> str:
        """An address as sockets of this family write it."""
        return f"::ffff:{text}" if self.family == socket.AF_INET6 and "." in text else text


FOUR = (Endpoint("10.1.0.1", 8080), Endpoint("10.1.0.2", 8081), Endpoint("10.1.0.3", 8082))
SIX = (Endpoint("fd01:2:3:4:5:6:7:1", 8080), Endpoint("fd01:2:3:4:5:6:7:2", 8081), Endpoint("fd01:2:3:4:5:6:7:3", 8082))
IPV4 = Way("ipv4", socket.AF_INET, "10.96.0.10", FOUR)
IPV6 = Way("ipv6", socket.AF_INET6, "fd96:a:b:c:d:e:f:10", SIX)
MAPPED = Way("mapped", socket.AF_INET6, "10.96.0.10", FOUR)  # an IPv6 socket that speaks IPv4
WAYS = (IPV4, IPV6, MAPPED)


def add_addresses() -> None:
    """Those of the backends, so that they are reached within the namespace; no service's is anybody's."""
    sh("\n".join(f"ip addr add {one.address}/32 dev lo" for one in FOUR))
    add_ipv6(*(f"{one.address}/128" for one in SIX))


def add_ipv6(*addresses: str) -> None:
    """To lo; waits for the kernel's worker that makes their routes."""
    sh("\n".join(f"ip addr add {one} dev lo nodad" for one in addresses))
    wanted = {ip_interface(one).ip.packed.hex() for one in addresses}
    pause, end = threading.Event(), time.monotonic() + SECONDS
    while not wanted <= _local_ipv6():
        assert time.monotonic() < end, f"not reached within {SECONDS} s: {addresses}"
        pause.wait(0.002)


def _local_ipv6() -> set[str]:
    """Addresses that this namespace answers at."""
    routes = [line.split() for line in Path("/proc/thread-self/net/ipv6_route").read_text().splitlines()]
    return {words[0] for words in routes if int(words[8], 16) & RTF_LOCAL}


class Backends:
    """Listening sockets, one for each endpoint."""

    def __init__(self, proto: int, endpoints: Sequence[Endpoint]) -> None:
        self._proto = proto
        self._sockets = {}
        for one in endpoints:
            family = socket.AF_INET6 if ":" in one.address else socket.AF_INET
            listening = socket.socket(family, socket.SOCK_STREAM if proto == TCP else socket.SOCK_DGRAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(one)
            if proto == TCP:
                listening.listen(512)
            listening.settimeout(SECONDS)
            self._sockets[listening] = one

    def socket(self, endpoint: Endpoint) -> socket.socket:
        return next(one for one, at in self._sockets.items() if at == endpoint)

    def asked(self, reply: bytes = b"") -> Endpoint:
        """Which one was connected to, or got a datagram; it answers."""
        ready, _, _ = select.select(list(self._sockets), [], [], SECONDS)
        assert len(ready) == 1, f"{len(ready)} of the backends were asked"
        if self._proto == UDP:
            _, sender = ready[0].recvfrom(100)
            if reply:
                ready[0].sendto(reply, sender)
        else:
            connection, _ = ready[0].accept()
            if reply:
                connection.sendall(reply)
            connection.close()
        return self._sockets[ready[0]]

    def close(self) -> None:
        for one in self._sockets:
            one.close()


@contextmanager
def backends(*groups: tuple[int, Sequence[Endpoint]]) -> Iterator[tuple[Backends, ...]]:
    with ExitStack() as stack:
        made = tuple(Backends(proto, endpoints) for proto, endpoints in groups)
        for one in made:
            stack.callback(one.close)
        yield made


@contextmanager
def client(way: Way, proto: int, **options: int) -> Iterator[socket.socket]:
    with socket.socket(way.family, socket.SOCK_STREAM if proto == TCP else socket.SOCK_DGRAM, options.get("protocol", 0)) as one:
        one.settimeout(SECONDS)
        yield one
