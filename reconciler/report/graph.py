"""Nodes, their subnets, and how they reach each other: what a picture of the cluster shows. Pure.

Whether a pair goes direct depends on few things: site, subnets, consent, the families of pods. Nodes that agree in
these are one *sort*; pairs of sorts are judged by one pair of nodes each, so that ten thousand nodes take no longer
than their few sorts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from ipaddress import ip_interface
from itertools import combinations_with_replacement
from typing import Literal, NamedTuple

from reconciler.facts.model import Facts, Node
from reconciler.facts.order import natural
from reconciler.intents.transport import Transport, transport
from reconciler.spec.model import ClusterNetwork

SORTS = 600  # of nodes; with more there is no picture that anybody could read
Via = Literal["overlay", "direct", "none"]


class TooMany(Exception):
    """More different subnets than one picture holds; says what to do."""


class Spot(NamedTuple):
    """A node in its subnet."""

    node: Node
    direct: bool  # some other node of this subnet is reached without a tunnel: all of those are
    overlay: bool  # some other node is reached through the overlay


class Group(NamedTuple):
    """The nodes of one site that share their subnets."""

    site: str
    subnets: tuple[str, ...]  # "10.0.1.0/24"; none: no prefix length is known, so nobody is known to share them
    spots: tuple[Spot, ...]


class Tie(NamedTuple):
    """How nodes of two groups, or of one, reach each other."""

    a: int  # index of a group
    b: int
    via: Via
    pairs: int
    example: tuple[str, str]  # names of one pair
    why: str  # of that pair


class Graph(NamedTuple):
    """Every node and every pair."""

    title: str
    overlay: str  # what the tunnel is; empty: nobody uses one
    groups: tuple[Group, ...]
    ties: tuple[Tie, ...]

    @property
    def nodes(self) -> int:
        return sum(len(group.spots) for group in self.groups)


class Ray(NamedTuple):
    """Peers of one node in one group that it reaches in one way."""

    group: Group
    via: Via
    why: str  # of the first of them


class Star(NamedTuple):
    """One node and its peers."""

    title: str
    overlay: str
    node: Node
    rays: tuple[Ray, ...]


_Sort = tuple[str, tuple[str, ...], bool, tuple[int, ...]]  # site, subnets, consent, families of pods


def graph(title: str, spec: ClusterNetwork, facts: Facts) -> Graph:
    """Raises TooMany."""
    sorts = _sorts(facts.nodes.values())
    if len(sorts) > SORTS:
        raise TooMany(f"{len(sorts)} different subnets and settings are more than one picture holds; choose a node with --node")
    keys = sorted({sort[:2] for sort in sorts}, key=_place)
    ways = {}
    for first, second in combinations_with_replacement(sorts, 2):
        a, b = sorts[first][0], sorts[second][-1]
        if a is not b:
            ways[first, second] = (_way(spec, a, b), a, b)
    direct, overlay = set[_Sort](), set[_Sort]()
    for (first, second), (how, _, _) in ways.items():
        if how.via == "overlay":
            overlay |= {first, second}
        elif how.via == "direct" and first[:2] == second[:2]:
            direct |= {first, second}
    groups = tuple(
        _group(key, [Spot(node, sort in direct, sort in overlay) for sort in sorts if sort[:2] == key for node in sorts[sort]])
        for key in keys
    )
    return Graph(title, _overlay(spec) if overlay else "", groups, _ties(keys, sorts, ways))


def star(title: str, spec: ClusterNetwork, facts: Facts, name: str) -> Star:
    """`name`: of a node that the facts have."""
    me = facts.nodes[name]
    found: dict[tuple[tuple[str, tuple[str, ...]], Via], list[Node]] = defaultdict(list)
    why: dict[tuple[tuple[str, tuple[str, ...]], Via], str] = {}
    for node in _ordered(one for one in facts.nodes.values() if one is not me):
        how = _way(spec, me, node)
        key = (_where(node), how.via)
        found[key].append(node)
        why.setdefault(key, how.why)
    rays = [
        Ray(_group(key[0], [Spot(node, key[1] == "direct", key[1] == "overlay") for node in nodes]), key[1], why[key])
        for key, nodes in sorted(found.items(), key=lambda one: (("direct", "overlay", "none").index(one[0][1]), _place(one[0][0])))
    ]
    return Star(title, _overlay(spec) if any(ray.via == "overlay" for ray in rays) else "", me, tuple(rays))


def names(nodes: Sequence[Node]) -> str:
    """ "n1, n2, n3", or of many the first and the last."""
    told = [node.name for node in nodes]
    return ", ".join(told) if len(told) <= 4 else f"{told[0]}, {told[1]} … {told[-1]}"


def _ties(
    keys: Sequence[tuple[str, tuple[str, ...]]],
    sorts: dict[_Sort, list[Node]],
    ways: dict[tuple[_Sort, _Sort], tuple[Transport, Node, Node]],
) -> tuple[Tie, ...]:
    at = {key: index for index, key in enumerate(keys)}
    found: dict[tuple[int, int, Via], Tie] = {}
    for (first, second), (how, a, b) in ways.items():
        left, right = sorted((at[first[:2]], at[second[:2]]))
        pairs = len(sorts[first]) * (len(sorts[first]) - 1) // 2 if first == second else len(sorts[first]) * len(sorts[second])
        one, other = sorted((a.name, b.name), key=natural)
        known = found.get((left, right, how.via), Tie(left, right, how.via, 0, (one, other), how.why))
        found[left, right, how.via] = known._replace(pairs=known.pairs + pairs)
    return tuple(found[key] for key in sorted(found))


def _sorts(nodes: Iterable[Node]) -> dict[_Sort, list[Node]]:
    found: dict[_Sort, list[Node]] = defaultdict(list)
    for node in _ordered(nodes):
        families = tuple(sorted({6 if ":" in cidr else 4 for cidr in node.pod_cidrs}))
        found[(*_where(node), bool(node.direct_routing), families)].append(node)
    return found


def _where(node: Node) -> tuple[str, tuple[str, ...]]:
    """Site, and the subnets that transports compare: of the first address of each family."""
    known = (node.address(family) for family in (4, 6))
    return node.site, tuple(str(ip_interface(f"{one.address}/{one.prefix}").network) for one in known if one and one.prefix is not None)


def _group(key: tuple[str, tuple[str, ...]], spots: Iterable[Spot]) -> Group:
    return Group(key[0], key[1], tuple(sorted(spots, key=lambda spot: natural(spot.node.name))))


def _ordered(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: natural(node.name))


def _place(key: tuple[str, tuple[str, ...]]) -> tuple[str, list[list[tuple[int, str]]]]:
    return key[0], [natural(subnet) for subnet in key[1]]


def _way(spec: ClusterNetwork, a: Node, b: Node) -> Transport:
    if spec.fabric is None:
        return Transport("none", "network.yaml has no fabric")
    return transport(a, b, spec.fabric.mode)


def _overlay(spec: ClusterNetwork) -> str:
    if spec.fabric is None:
        return ""
    overlay = spec.fabric.overlay
    return f"VXLAN {overlay.device}, VNI {overlay.vni}, UDP port {overlay.port}"
