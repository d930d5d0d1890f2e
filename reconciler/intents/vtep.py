"""What both ends of a tunnel derive by themselves. A wire contract, version 1.

Every node computes these values of every other node, so nodes of different
releases must agree: the functions never change; a change is a new version, and
tests/vectors/vtep-v1.json freezes this one.
"""

from __future__ import annotations

import socket
from hashlib import sha256

VERSION = 1


def vtep_mac(node: str, vni: int) -> str:
    """The MAC of a node's VXLAN device."""
    return derived_mac(f"plumbline.dev/vtep/v{VERSION} {vni} {node}")


def derived_mac(said: str) -> str:
    """46 bits of a hash, unicast, locally administered (IEEE 802, 8.2)."""
    hashed = bytearray(sha256(said.encode()).digest()[:6])
    hashed[0] = hashed[0] & 0xFC | 0x02
    return hashed.hex(":")


def link_local(mac: str) -> str:
    """The IPv6 link-local address made of a MAC (modified EUI-64, RFC 4291 appendix A)."""
    part = bytes.fromhex(mac.replace(":", ""))
    return socket.inet_ntop(socket.AF_INET6, b"\xfe\x80" + bytes(6) + bytes((part[0] ^ 0x02,)) + part[1:3] + b"\xff\xfe" + part[3:])


def vtep_address(pod_cidr: str) -> str:
    """The address that a node holds on its VXLAN device: the network address of its first pod CIDR of a family."""
    return pod_cidr.partition("/")[0]
