"""How two nodes reach each other's pods: one pure function with the same answer at both ends."""

from __future__ import annotations

import socket
from typing import Literal, NamedTuple

from reconciler.facts.model import Node, NodeAddress

Mode = Literal["overlay", "direct", "auto", "none"]


class Transport(NamedTuple):
    """`via` is "overlay", "direct" or "none"; `why` says it to a person."""

    via: Literal["overlay", "direct", "none"]
    why: str


def transport(a: Node, b: Node, mode: Mode) -> Transport:
    """The transport of a pair; transport(a, b) == transport(b, a), names in the reason sorted."""
    if b.name < a.name:
        a, b = b, a
    if mode == "none":
        return Transport("none", "fabric.mode is none")
    if mode == "overlay":
        return Transport("overlay", "fabric.mode is overlay")
    obstacle = _obstacle(a, b, need_consent=mode == "auto")
    if not obstacle:
        return Transport("direct", f"{a.name} and {b.name} share a subnet")
    if mode == "direct":
        return Transport("none", f"fabric.mode is direct, but {obstacle}")
    return Transport("overlay", obstacle)


def _obstacle(a: Node, b: Node, *, need_consent: bool) -> str:
    """Why the pair cannot go without a tunnel; empty when it can."""
    if need_consent:
        refusing = [node.name for node in (a, b) if not node.direct_routing]
        if refusing:
            return f"directRouting is not on at {' and '.join(refusing)}"
    if a.site != b.site:
        return f"{a.name} is at site {a.site or '(none)'}, {b.name} at {b.site or '(none)'}"
    families = {6 if ":" in cidr else 4 for cidr in (*a.pod_cidrs, *b.pod_cidrs)}
    for family in sorted(families):
        if not gateway_family(a, b, family):
            return f"{a.name} and {b.name} name no common subnet for IPv{family} pods"
    return ""


def gateway_family(a: Node, b: Node, family: int) -> int:
    """The family of the gateway for pods of `family` on a direct path, 0 for none.

    IPv4 pods may go by an IPv6 gateway (RFC 8950), not the other way round.
    """
    for candidate in (4, 6) if family == 4 else (6,):
        if share_subnet(a.address(candidate), b.address(candidate)):
            return candidate
    return 0


def share_subnet(a: NodeAddress | None, b: NodeAddress | None) -> bool:
    """Whether both name the same subnet. An unknown prefix length is no subnet."""
    if a is None or b is None or a.prefix is None or a.prefix != b.prefix:
        return False
    return _network(a.address, a.prefix) == _network(b.address, b.prefix)


def _network(address: str, prefix: int) -> int:
    raw = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    return int.from_bytes(raw, "big") >> (len(raw) * 8 - prefix)
