"""Conversations from outside: a client that asks a front, a backend that answers, and what each sees of the other."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import NamedTuple

from tests.bpf.node import TCP, UDP, Endpoint
from tests.bpf.site import OVERLAY_MTU, SECONDS, SOURCE_PORTS, Family, Site

IPV6_MTU = 24  # include/uapi/linux/in6.h


class Conversation(NamedTuple):
    """Both ends of a flow, once the backend knows of it."""

    proto: int
    client: socket.socket
    backend: socket.socket  # of TCP the accepted one
    peer: Endpoint  # the client as the backend sees it

    def ask(self, data: bytes) -> None:
        """From the client to the backend, whole. Raises TimeoutError."""
        self.client.sendall(data)
        if self.proto == UDP:
            got, sender = self.backend.recvfrom(len(data) + 1)
            assert endpoint(sender) == self.peer, f"the backend sees {sender}, before it saw {self.peer}"
        else:
            got = received(self.backend, len(data))
        assert got == data

    def answer(self, data: bytes) -> None:
        """From the backend to the client, whole. Raises TimeoutError."""
        if self.proto == UDP:
            self.backend.sendto(data, self.peer)
            assert self.client.recv(len(data) + 1) == data
        else:
            self.backend.sendall(data)
            assert received(self.client, len(data)) == data

    def in_pieces(self) -> None:
        """Fragments of IPv6 that fit through the overlay from the first one on: nobody makes them smaller on the way, as of IPv4 (RFC 8200, 5)."""
        for one in (self.client, self.backend) if self.proto == UDP else ():
            if one.family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU, OVERLAY_MTU)

    def close(self) -> None:
        self.client.close()
        if self.proto == TCP:
            self.backend.close()


def endpoint(sender: tuple[str, int]) -> Endpoint:
    return Endpoint(str(ip_address(sender[0])), sender[1])


def received(one: socket.socket, length: int) -> bytes:
    """So many bytes of a stream. Raises TimeoutError."""
    parts = bytearray()
    while len(parts) < length:
        part = one.recv(length - len(parts))
        assert part, f"closed after {len(parts)} of {length} bytes"
        parts += part
    return bytes(parts)


def begin(client: socket.socket, proto: int, front: Endpoint, listener: socket.socket) -> Conversation:
    """The client asks the front; the listener is the backend that is to hear it. Raises OSError."""
    client.connect(front)
    if proto == TCP:
        accepted, sender = listener.accept()
        accepted.settimeout(listener.gettimeout())
        return Conversation(proto, client, accepted, endpoint(sender))
    client.send(b"begin")
    _, sender = listener.recvfrom(100)
    talk = Conversation(proto, client, listener, endpoint(sender))
    talk.answer(b"begun")
    return talk


@contextmanager
def conversation(
    site: Site,
    family: Family,
    proto: int,
    front: Endpoint,
    backend: Endpoint,
    *,
    machine: str = "podb",
    asking: str = "client",
    source: Endpoint | None = None,
) -> Iterator[Conversation]:
    """One flow by real sockets, from the machine that asks (by the address and port of `source`) to a front with one backend."""
    with site.listener(machine, family, proto, backend) as listener, site.new_socket(asking, family, proto) as client:
        if source:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(source)
        talk = begin(client, proto, front, listener)
        try:
            yield talk
        finally:
            talk.close()


Listeners = dict[Endpoint, socket.socket]


def asked(listeners: Listeners) -> Endpoint:
    """The backend at which something new has arrived."""
    ready, _, _ = select.select(list(listeners.values()), [], [], SECONDS)
    assert len(ready) == 1, f"{len(ready)} of the backends were asked"
    return next(one for one, listener in listeners.items() if listener is ready[0])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    pause, end = threading.Event(), time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {SECONDS} s: {what}"
        pause.wait(0.002)


def seen_as(family: Family, transport: str) -> str:
    """The address that another node's backend sees."""
    return family.vtep if transport == "overlay" else family.node


def is_source_port(port: int) -> bool:
    return port in SOURCE_PORTS
