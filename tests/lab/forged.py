"""VXLAN packets that nobody of the cluster sent (RFC 7348), made byte by byte so that every field can be a lie."""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import NamedTuple

from reconciler.intents.vtep import vtep_mac
from reconciler.kernel.netns import inside
from reconciler.lab.topology import Pod
from tests.namespaces import sh

PORT = 5000  # UDP, where a pod listens for what must not reach it
UDP = 17
TABLE = "inet plumbline-overlay"


class Forgery(NamedTuple):
    """A packet for a pod, sent from a namespace to a UDP endpoint; `source` is an address that is not the sender's, "" its own."""

    name: str
    sender: str  # namespace
    source: str
    to: str
    port: int
    pod: Pod  # whom the packet inside is for
    dropped_at: str  # namespace of the node that stops it
    chain: str  # there

    def send(self, vni: int) -> None:
        inner = _ethernet(vtep_mac(self.pod.node, vni), _udp_packet("10.244.77.7", self.pod.address(4) or "", PORT, self.name.encode()))
        vxlan = struct.pack("!BxxxI", 0x08, vni << 8) + inner
        inside(self.sender, lambda: self._send(vxlan))

    def _send(self, vxlan: bytes) -> None:
        family = socket.AF_INET6 if ":" in self.to else socket.AF_INET
        if not self.source:
            with socket.socket(family, socket.SOCK_DGRAM) as plain:
                plain.sendto(vxlan, (self.to, self.port))
            return
        with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:  # brings its own IP header
            raw.sendto(_udp_packet(self.source, self.to, self.port, vxlan), (self.to, 0))

    def dropped(self) -> int:
        """Packets that the chain which should stop it has stopped so far."""
        rules = sh(f"ip netns exec {self.dropped_at} nft list chain {TABLE} {self.chain}")
        words = rules.split()
        return sum(int(words[at + 2]) for at, word in enumerate(words) if word == "counter")


class Ear:
    """A pod that listens."""

    def __init__(self, pod: Pod) -> None:
        self._socket = inside(pod.netns, _listen)

    def close(self) -> None:
        self._socket.close()

    def heard(self, name: str, within: float = 0) -> bool:
        """Whether the forged packet of this name came in, waiting at most so many seconds for it."""
        end = time.monotonic() + within
        while select.select([self._socket], [], [], max(0, end - time.monotonic()))[0]:
            if self._socket.recv(2048) == name.encode():
                return True
        return False


def _listen() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("", PORT))
    return made


def _ethernet(to: str, packet: bytes) -> bytes:
    return bytes.fromhex(to.replace(":", "")) + bytes.fromhex("020000000077") + struct.pack("!H", 0x0800) + packet


def _udp_packet(source: str, to: str, port: int, payload: bytes) -> bytes:
    """An IPv4 or IPv6 packet with a UDP datagram."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    here, there = socket.inet_pton(family, source), socket.inet_pton(family, to)
    length = 8 + len(payload)
    pseudo = here + there + struct.pack("!II", length, UDP)
    bare = struct.pack("!HHHH", 40000, port, length, 0) + payload
    udp = struct.pack("!HHHH", 40000, port, length, _checksum(pseudo + bare) or 0xFFFF) + payload
    if family == socket.AF_INET6:
        return struct.pack("!IHBB", 6 << 28, length, UDP, 64) + here + there + udp
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 1, 0, 64, UDP, 0) + here + there
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + udp


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
