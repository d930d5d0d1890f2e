"""What only shows across nodes: overlaps, duplicates, settings that contradict or have no effect. No I/O; linear in nodes."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reconciler.facts.model import Facts, Node
from reconciler.spec.load import Loaded, nearest
from reconciler.spec.problems import Path, Place, Problem

ARP_TABLE = 1024  # net.ipv4.neigh.default.gc_thresh3, the kernel's default


class _Network(NamedTuple):
    """A network as numbers, sortable: family, first address, prefix length."""

    family: int
    first: int
    length: int
    owner: str
    text: str

    @property
    def last(self) -> int:
        bits = 32 if self.family == 4 else 128
        return self.first + (1 << (bits - self.length)) - 1


def lint(loaded: Loaded, facts: Facts) -> list[Problem]:
    """Errors and warnings about the nodes together, each at the line that can be changed."""
    return [
        *_pod_networks(loaded),
        *_pod_cidrs(loaded, facts),
        *_addresses(loaded, facts),
        *_public_addresses(loaded, facts),
        *_direct_routing(loaded, facts),
        *_incomplete(loaded, facts),
        *_size(loaded, facts),
    ]


def _problem(loaded: Loaded, path: Path, message: str, remedy: str = "", *, warning: bool = False, node: Node | None = None) -> Problem:
    place = nearest(loaded.places, path)
    if node is not None and (place is None or (node.where and not node.where.startswith(f"{place.file}:"))):
        place = Place(node.where or loaded.name)
    return Problem(place or Place(loaded.name, 1), path, message, remedy=remedy, severity="warning" if warning else "error")


def _number(text: str, owner: str) -> _Network:
    address, _, length = text.partition("/")
    family = 6 if ":" in address else 4
    raw = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, address)
    return _Network(family, int.from_bytes(raw, "big"), int(length or (128 if family == 6 else 32)), owner, text)


def _overlaps(networks: Iterable[_Network]) -> Iterator[tuple[_Network, _Network]]:
    """Pairs of networks that share addresses: after sorting, a neighbour or whatever still covers it."""
    covering: _Network | None = None
    for network in sorted(networks):
        if covering is not None and covering.family == network.family and network.first <= covering.last:
            yield covering, network
        if covering is None or covering.family != network.family or network.last > covering.last:
            covering = network


def _pod_networks(loaded: Loaded) -> Iterator[Problem]:
    fabric = loaded.spec.fabric
    if fabric is None:
        return
    for first, second in _overlaps(_number(text, "") for text in fabric.pod_network):
        yield _problem(loaded, ("fabric", "podNetwork"), f"{second.text} overlaps {first.text}", "keep one of the two")
    if fabric.masquerade and not fabric.pod_network and fabric.mode != "none":
        yield _problem(
            loaded, ("fabric",), "masquerade needs podNetwork to know what is inside", "add podNetwork: [10.244.0.0/16]", warning=True
        )


def _pod_cidrs(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    inside = [_number(text, "") for text in loaded.spec.fabric.pod_network] if loaded.spec.fabric else []
    networks = []
    for node in facts.nodes.values():
        for text in node.pod_cidrs:
            network = _number(text, node.name)
            networks.append(network)
            if inside and not any(
                one.family == network.family and one.first <= network.first and network.last <= one.last for one in inside
            ):
                yield _problem(
                    loaded, ("nodes", node.name, "podCIDRs"), f"{text} is outside the pod network",
                    f"fabric.podNetwork is {', '.join(one.text for one in inside)}", node=node,
                )  # fmt: skip
    for first, second in _overlaps(networks):
        yield _problem(
            loaded, ("nodes", second.owner, "podCIDRs"), f"{second.text} overlaps {first.text} of node {first.owner}",
            "give each node a pod CIDR of its own", node=facts.nodes[second.owner],
        )  # fmt: skip


def _addresses(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    inside = [_number(text, "") for text in loaded.spec.fabric.pod_network] if loaded.spec.fabric else []
    holders: dict[tuple[str, str], str] = {}
    for node in facts.nodes.values():
        path: Path = ("nodes", node.name, "address")
        for one in node.addresses:
            first = holders.setdefault((node.site, one.address), node.name)
            if first != node.name:
                yield _problem(
                    loaded, path, f"{one.address} is the address of node {first} too", "every node of a site has its own", node=node
                )
            number = _number(one.address, node.name)
            for network in inside:
                if network.family == number.family and network.first <= number.first <= network.last:
                    yield _problem(
                        loaded, path, f"{one.address} lies inside the pod network {network.text}", "they must not overlap", node=node
                    )


def _public_addresses(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    holders: dict[tuple[str, int | None], str] = {}
    sites = {node.site for node in facts.nodes.values()}
    for node in facts.nodes.values():
        path: Path = ("nodes", node.name, "publicAddress")
        for public in node.public_addresses:
            first = holders.setdefault((public.address, public.port), node.name)
            if first != node.name:
                yield _problem(
                    loaded, path, f"{public.address} with the same port is node {first}'s too",
                    "forward another UDP port to each node and say it: ADDRESS:PORT", node=node,
                )  # fmt: skip
        said = loaded.spec.nodes.get(node.name)
        if said is not None and said.public_address and len(sites) == 1:
            yield _problem(
                loaded, path, "is never used: every node is at the same site", f"say nodes.{node.name}.site", warning=True, node=node
            )


def _direct_routing(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    """One-sided direct routing stays overlay at both ends."""
    fabric = loaded.spec.fabric
    if fabric is None or fabric.mode != "auto":
        return
    by_subnet: dict[tuple[str, int, int, int], list[Node]] = defaultdict(list)
    for node in facts.nodes.values():
        for one in node.addresses:
            if one.prefix is not None:
                number = _number(one.address, node.name)
                bits = (32 if number.family == 4 else 128) - one.prefix
                by_subnet[node.site, number.family, number.first >> bits, one.prefix].append(node)
    told: set[str] = set()
    for nodes in by_subnet.values():
        willing = [node for node in nodes if node.direct_routing]
        others = [node for node in nodes if not node.direct_routing]
        for node in willing:
            if others and node.name not in told:
                told.add(node.name)
                names = ", ".join(other.name for other in others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
                yield _problem(
                    loaded, ("nodes", node.name, "directRouting"), f"is on here, not at {names} on the same subnet: overlay at both ends",
                    "say directRouting: true there too", warning=True, node=node,
                )  # fmt: skip


def _incomplete(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    for node in facts.nodes.values():
        path: Path = ("nodes", node.name)
        if not node.addresses:
            yield _problem(loaded, path, "has no address", f"say nodes.{node.name}.address", warning=True, node=node)
        for one in node.addresses:
            if one.prefix is None and node.direct_routing:
                yield _problem(
                    loaded, (*path, "address"), f"{one.address} has no prefix length: its subnet is unknown, so overlay it is",
                    f"write {one.address}/24, or whatever it is", warning=True, node=node,
                )  # fmt: skip
        families = {6 if ":" in cidr else 4 for cidr in node.pod_cidrs}
        mtu = node.mtu
        if 6 in families and mtu is not None and mtu < 1350:
            yield _problem(
                loaded, (*path, "mtu"), f"{mtu} leaves less than IPv6's 1280 bytes inside the overlay", "1350 or more", node=node
            )


def _size(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    fabric = loaded.spec.fabric
    if fabric is not None and fabric.mode == "direct" and len(facts.nodes) > ARP_TABLE:
        name = "net.ipv4.neigh.default.gc_thresh3"
        if name not in loaded.spec.sysctls:
            yield _problem(
                loaded, ("fabric", "mode"), f"{len(facts.nodes)} neighbours on a subnet are more than the kernel's table of {ARP_TABLE}",
                f"say sysctls: {{{name}: {len(facts.nodes) * 2}}}", warning=True,
            )  # fmt: skip
