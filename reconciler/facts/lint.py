"""What only shows across nodes: overlaps, duplicates, settings that contradict or have no effect. No I/O; linear in nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from reconciler.facts.model import Facts, Node
from reconciler.facts.problem import named, problem_at
from reconciler.facts.reach import reach
from reconciler.facts.service_lint import services
from reconciler.spec.load import Loaded
from reconciler.spec.model import SysctlSpec
from reconciler.spec.problems import Path, Problem
from reconciler.spec.resources import SELECTOR
from reconciler.wire.ip import span


class _Network(NamedTuple):
    """A network as numbers, sortable: family, first address, prefix length; `last` is its last address."""

    family: int
    first: int
    length: int
    owner: str
    text: str

    last: int


def lint(loaded: Loaded, facts: Facts) -> list[Problem]:
    """Errors and warnings about the nodes together, each at the line that can be changed."""
    return [
        *_identity(loaded, facts),
        *_pod_networks(loaded),
        *_pod_cidrs(loaded, facts),
        *_addresses(loaded, facts),
        *_public_addresses(loaded, facts),
        *_sites(loaded, facts),
        *_direct_routing(loaded, facts),
        *_incomplete(loaded, facts),
        *_devices(loaded, facts),
        *_segments(loaded),
        *_selectors(loaded, facts),
        *reach(loaded, facts),
        *services(loaded, facts),
    ]


def _number(text: str, owner: str) -> _Network:
    family, first, length, last = span(text)
    return _Network(family, first, length, owner, text, last)


def _within(network: _Network, others: Iterable[_Network]) -> _Network | None:
    """The one of the others that a network lies in."""
    family, first, _, _, _, last = network
    for one in others:
        if one.family == family and one.first <= first and last <= one.last:
            return one
    return None


def _overlaps(networks: Iterable[_Network]) -> Iterator[tuple[_Network, _Network]]:
    """Pairs of networks that share addresses: after sorting, a neighbour or whatever still covers it."""
    covering: _Network | None = None
    for network in sorted(networks):
        if covering is not None and covering.family == network.family and network.first <= covering.last:
            yield covering, network
        if covering is None or covering.family != network.family or network.last > covering.last:
            covering = network


def _identity(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    """One cluster's network.yaml must not come to another one's nodes."""
    said = loaded.spec.metadata.cluster_id
    if said and facts.cluster_id and said != facts.cluster_id:
        yield problem_at(
            loaded, ("metadata", "clusterID"), f"is {said}, and this cluster is {facts.cluster_id}",
            "is it another cluster's network.yaml? kubectl get namespace kube-system -o jsonpath={.metadata.uid}",
        )  # fmt: skip


def _pod_networks(loaded: Loaded) -> Iterator[Problem]:
    fabric = loaded.spec.fabric
    if fabric is None:
        return
    for first, second in _overlaps(_number(text, "") for text in fabric.pod_network):
        yield problem_at(loaded, ("fabric", "podNetwork"), f"{second.text} overlaps {first.text}", "keep one of the two")
    if fabric.masquerade and not fabric.pod_network and fabric.mode != "none":
        yield problem_at(
            loaded, ("fabric",), "masquerade needs podNetwork to know what is inside", "add podNetwork: [10.244.0.0/16]", warning=True
        )


def _pod_cidrs(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    inside = [_number(text, "") for text in loaded.spec.fabric.pod_network] if loaded.spec.fabric else []
    networks = []
    for node in facts.nodes.values():
        for text in node.pod_cidrs:
            network = _number(text, node.name)
            networks.append(network)
            if inside and not _within(network, inside):
                yield problem_at(
                    loaded, ("nodes", node.name, "podCIDRs"), f"{text} is outside the pod network",
                    f"fabric.podNetwork is {', '.join(one.text for one in inside)}", node=node,
                )  # fmt: skip
    for first, second in _overlaps(networks):
        yield problem_at(
            loaded, ("nodes", second.owner, "podCIDRs"), f"{second.text} overlaps {first.text} of node {first.owner}",
            f"give each node a pod CIDR of its own; {_twice(first.owner)}", node=facts.nodes[second.owner],
        )  # fmt: skip


def _addresses(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    inside = [_number(text, "") for text in loaded.spec.fabric.pod_network] if loaded.spec.fabric else []
    holders: dict[tuple[str, str], str] = {}
    for node in facts.nodes.values():
        path: Path = ("nodes", node.name, "address")
        for one in node.addresses:
            first = holders.setdefault((node.site, one.address), node.name)
            if first != node.name:
                yield problem_at(
                    loaded, path, f"{one.address} is the address of node {first} too",
                    f"every node of a site has its own; {_twice(first)}", node=node,
                )  # fmt: skip
            number = _number(one.address, node.name)
            network = _within(number, inside)
            if network is not None:
                yield problem_at(
                    loaded, path, f"{one.address} lies inside the pod network {network.text}", "they must not overlap", node=node
                )


def _twice(name: str) -> str:
    """Two nodes in one place may be one that was renamed."""
    return f"if both are one node, which was renamed, delete the old name: kubectl delete node {name}, if that is the old one"


def _public_addresses(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    holders: dict[tuple[str, int | None], str] = {}
    sites = {node.site for node in facts.nodes.values()}
    for node in facts.nodes.values():
        path: Path = ("nodes", node.name, "publicAddress")
        for public in node.public_addresses:
            first = holders.setdefault((public.address, public.port), node.name)
            if first != node.name:
                yield problem_at(
                    loaded, path, f"{public.address} with the same port is node {first}'s too",
                    "forward another UDP port to each node and say it: ADDRESS:PORT", node=node,
                )  # fmt: skip
        said = loaded.spec.nodes.get(node.name)
        if said is not None and said.public_address and len(sites) == 1:
            yield problem_at(
                loaded, path, "is never used: every node is at the same site", f"say nodes.{node.name}.site", warning=True, node=node
            )


def _sites(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    """Nodes of another site reach a node at its public address; without one they try its own.

    Nodes without a site are at home, where the others mostly get through to by their own addresses.
    """
    fabric = loaded.spec.fabric
    if fabric is None or fabric.mode in ("none", "direct"):
        return
    lacking: dict[str, list[Node]] = defaultdict(list)
    for node in facts.nodes.values():
        if node.site and node.addresses and not node.public_addresses:
            lacking[node.site].append(node)
    if len({node.site for node in facts.nodes.values()}) < 2:
        return
    for site, nodes in lacking.items():
        yield problem_at(
            loaded, ("nodes", nodes[0].name, "publicAddress"),
            f"is missing at {named(nodes)} of site {site}: nodes of other sites send to {nodes[0].addresses[0].address}, and the like",
            f"say nodes.{nodes[0].name}.publicAddress, and the port that its gateway forwards; or leave the site out if it gets through",
            warning=True, node=nodes[0],
        )  # fmt: skip


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
                where = named(others)
                yield problem_at(
                    loaded, ("nodes", node.name, "directRouting"), f"is on here, not at {where} on the same subnet: overlay at both ends",
                    "say directRouting: true there too", warning=True, node=node,
                )  # fmt: skip


def _incomplete(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    for node in facts.nodes.values():
        path: Path = ("nodes", node.name)
        if not node.addresses:
            yield problem_at(loaded, path, "has no address", f"say nodes.{node.name}.address", warning=True, node=node)
        for one in node.addresses:
            if one.prefix is None and node.direct_routing:
                yield problem_at(
                    loaded, (*path, "address"), f"{one.address} has no prefix length: its subnet is unknown, so overlay it is",
                    f"write {one.address}/24, or whatever it is", warning=True, node=node,
                )  # fmt: skip


def _devices(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    """One name, two devices."""
    fabric, cni = loaded.spec.fabric, loaded.spec.cni
    ours = {}
    if fabric is not None and fabric.mode in ("overlay", "auto"):
        ours[fabric.overlay.device] = "the overlay's device"
    if cni is not None:
        if cni.bridge in ours:
            yield problem_at(loaded, ("cni", "bridge"), f"{cni.bridge} is the overlay's device too", "give one of them another name")
        ours[cni.bridge] = "the pods' bridge"
    for node in facts.nodes.values():
        if node.interface in ours:
            path: Path = ("nodes", node.name, "interface")
            yield problem_at(
                loaded, path, f"{node.interface} is {ours[node.interface]}", "name the device that has the node's address", node=node
            )


def _segments(loaded: Loaded) -> Iterator[Problem]:
    """Two names for one network: whoever may join either of them is in both."""
    holders: dict[tuple[int, int | None], str] = {}
    for name, segment in loaded.spec.segments.items():
        if segment.vni is None:
            continue
        first = holders.setdefault((segment.vni, segment.port), name)
        if first != name:
            yield problem_at(
                loaded, ("segments", name, "vni"), f"{segment.vni} is the VNI of segment {first} too: members of both share one network",
                "give it another VNI, or keep one of the two", warning=True,
            )  # fmt: skip


def _selectors(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    """A selector that no node answers to is mostly a typing mistake."""
    said: list[tuple[Path, Mapping[str, str]]] = [
        (("sysctls", name, SELECTOR), one.node_selector) for name, one in loaded.spec.sysctls.items() if isinstance(one, SysctlSpec)
    ]
    for kind, rows in loaded.spec.resources.items():
        said += [(("resources", kind, handle, SELECTOR), row[SELECTOR]) for handle, row in rows.items() if row.get(SELECTOR)]
    for path, wanted in said:
        if wanted and facts.nodes and not any(wanted.items() <= node.labels.items() for node in facts.nodes.values()):
            labels = ", ".join(f"{name}: {value}" for name, value in wanted.items())
            yield problem_at(loaded, path, f"no node has the labels {labels}", "see the nodes' labels", warning=True)
