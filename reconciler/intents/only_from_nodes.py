"""VXLAN is unauthenticated (RFC 7348, 7): its UDP port is for the cluster's nodes, and never for pods.

Two doors are shut on every node. *Input*: a packet to the port is dropped unless
it is addressed to an address that the inventory has of this node, comes from one
that it has of another node, and does not come out of a network of pods with a
made-up source. *Forward*: a pod's packet towards the port of another node is
dropped here, before masquerading would give it this node's address; the other
node could not tell it from ours.

Nodes read new content one after the other, so an address that is new to some is
refused by them for that long. A node that holds both moves without loss in steps:
`address: [OLD, NEW]`, then `[NEW, OLD]`, then `NEW` (tests/lab/test_streams.py).

What an address proves is all that is proved: a host on the wire between nodes can
still send with a node's address, and so can whoever is root on a node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from reconciler.engine.model import Origin
from reconciler.facts.model import Node
from reconciler.intents import Context, Memo
from reconciler.kinds.nft import Nft, NftSet, chain, nft
from reconciler.kinds.nft_element import NftElement, element

TABLE, NODES, ENDPOINTS = "plumbline-overlay", "nodes", "endpoints"
FILTER = 0  # NF_IP_PRI_FILTER, include/uapi/linux/netfilter_ipv4.h


class _Port(NamedTuple):
    """What of the overlay goes into the elements of every peer."""

    six: bool  # family of the outer packets
    port: int


def only_from_nodes(context: Context, me: Node, underlay: int, port: int, origin: Origin) -> Iterator[Any]:
    """The table, and of every other node the elements: whatever its transport is now, it may be about to change."""
    mine = _Port(underlay == 6, port)
    yield _table(mine, _addresses(mine, me), origin)
    others = (node for node in context.facts.nodes.values() if node.name != me.name)
    yield from (context.memo or Memo()).each("only from nodes", mine, others, _elements)


def _addresses(mine: _Port, node: Node) -> list[str]:
    """All that the inventory has of a node: behind a NAT it is seen by its public address, at its own site by the other."""
    addresses = (*(one.address for one in node.addresses), *(one.address for one in node.public_addresses))
    return list(dict.fromkeys(address for address in addresses if (":" in address) is mine.six))


def _elements(mine: _Port, peer: Node) -> list[NftElement]:
    """What one other node adds; depends on nothing else, so it can be remembered."""
    origins = (Origin("fabric", f"node {peer.name}", peer.where, "may send to the overlay's port"),)
    rows = [element("", "inet", TABLE, NODES, address, origin=origins) for address in _addresses(mine, peer)]
    for public in peer.public_addresses:
        if (":" in public.address) is mine.six and public.port is not None and public.port != mine.port:
            rows.append(element("", "inet", TABLE, ENDPOINTS, public.address, public.port, origin=origins))
    return rows


def _table(mine: _Port, own: list[str], origin: Origin) -> Nft:
    ip, kind = ("ip6", "ipv6_addr") if mine.six else ("ip", "ipv4_addr")
    here = own[0] if len(own) == 1 else "{ " + ", ".join(own) + " }"
    port = f"udp dport {mine.port}"
    arriving = (
        f"{port} {ip} daddr != {here} counter drop",
        f"{port} {ip} saddr != @{NODES} counter drop",
        # A node's address on a packet out of a pod: it comes in where that node is not reached, for an address that is not there.
        # Both, because a node with several uplinks rightly receives on one what it answers on another.
        f"{port} {ip} saddr @{NODES} fib saddr . iif oif missing fib daddr . iif type != local counter drop",
    )
    leaving = tuple(
        f"{towards} {which} counter drop"
        for towards in (f"{ip} daddr @{NODES} {port}", f"{ip} daddr . udp dport @{ENDPOINTS}")
        for which in (f"{ip} saddr != @{NODES}", "fib saddr . iif oif missing")
    )
    chains = [
        chain("forward", *leaving, type="filter", hook="forward", at=FILTER),
        chain("input", *arriving, type="filter", hook="input", at=FILTER),
    ]
    sets = [NftSet(NODES, (kind,)), NftSet(ENDPOINTS, (kind, ".", "inet_service"))]
    return nft("", "inet", TABLE, chains, sets)._replace(origin=(origin,))
