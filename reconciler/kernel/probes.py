"""Does an address answer: ICMP echo (RFC 792, RFC 4443), or a TCP handshake that is taken or refused. No tool, no data."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # request, reply
_EVERY = 0.2  # seconds between two tries


class Probe(NamedTuple):
    """`port` 0: echo. `why` says to a person what it is: "default gateway"."""

    address: str
    port: int = 0
    why: str = ""

    def __str__(self) -> str:
        at = f"[{self.address}]" if self.port and ":" in self.address else self.address
        return f"{self.why + ' ' if self.why else ''}{at}{f':{self.port}' if self.port else ''}"


def working(probes: Iterable[Probe], within: float) -> frozenset[Probe]:
    """Those that answer at least once within this many seconds."""
    asked = list(dict.fromkeys(probes))
    if not asked:
        return frozenset()
    with ThreadPoolExecutor(min(32, len(asked)), thread_name_prefix="probe") as pool:
        return frozenset(probe for probe, there in zip(asked, pool.map(lambda one: answers(one, within), asked), strict=True) if there)


def answers(probe: Probe, within: float) -> bool:
    """Tried again and again until then: the first packets after a change may wait for a neighbour."""
    end = time.monotonic() + within
    while (left := end - time.monotonic()) > 0:
        with suppress(OSError):  # no route, no buffer: not now
            if _tcp(probe, left) if probe.port else _echo(probe, min(left, 0.3)):
                return True
        time.sleep(max(0.0, min(_EVERY, end - time.monotonic())))
    return False


def _tcp(probe: Probe, within: float) -> bool:
    try:
        with socket.create_connection((probe.address, probe.port), timeout=min(within, 2.0)):
            return True
    except ConnectionRefusedError:
        return True  # somebody there said so


def _echo(probe: Probe, within: float) -> bool:
    family = socket.AF_INET6 if ":" in probe.address else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    request, reply = ECHO[family]
    name = os.urandom(8)
    body = struct.pack("!BBHHH", request, 0, 0, os.getpid() & 0xFFFF, 1) + name
    if family == socket.AF_INET:  # the kernel sums for ICMPv6 only
        body = body[:2] + struct.pack("!H", _checksum(body)) + body[4:]
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as asked:
        asked.sendto(body, (probe.address, 0))
        end = time.monotonic() + within
        while (left := end - time.monotonic()) > 0 and select.select([asked], [], [], left)[0]:
            packet = asked.recv(2048)
            message = packet[(packet[0] & 0xF) * 4 :] if family == socket.AF_INET else packet
            if message[:1] == bytes((reply,)) and message.endswith(name):
                return True
    return False


def _checksum(message: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total >> 16) + (total & 0xFFFF)
    folded: int = ~(total + (total >> 16)) & 0xFFFF
    return folded
