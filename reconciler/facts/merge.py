"""Facts from Node objects and from network.yaml: what the file says of a node wins, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.facts.model import Facts, Host, Node, Pod, Service
from reconciler.facts.nodes import BadNode, KnownNodes, endpoints, node_addresses, parse_node
from reconciler.spec.load import Loaded
from reconciler.spec.model import NodeSpec


def nodes_of(objects: Iterable[tuple[Mapping[str, Any], str]], known: KnownNodes | None = None) -> tuple[list[Node], list[str]]:
    """The Nodes among Kubernetes objects, and what is wrong with those that are left out."""
    parse = known.node if known is not None else parse_node
    nodes: dict[str, Node] = {}
    wrong: list[str] = []
    for thing, where in objects:
        if thing.get("kind") != "Node":
            continue
        try:
            node = parse(thing, where)
        except BadNode as error:
            wrong.append(f"{where}: {error}; the node is left out")
            continue
        first = nodes.setdefault(node.name, node)
        if first is not node and first._replace(where="") != node._replace(where=""):
            wrong.append(f"{node.where}: said otherwise before, in {first.where}; keep one of the two")
    return list(nodes.values()), wrong


def build_facts(
    loaded: Loaded,
    nodes: Iterable[Node],
    host: Host | None = None,
    pods: tuple[Pod, ...] | None = None,
    services: tuple[Service, ...] | None = None,
) -> Facts:
    """All nodes by name, and the pods and services as they are."""
    merged = {node.name: node for node in nodes}
    for name, said in loaded.spec.nodes.items():
        merged[name] = _over(merged.get(name, Node(name)), said, loaded.where(("nodes", name)))
    return Facts(merged, host, pods, services)


def _over(node: Node, said: NodeSpec, where: str) -> Node:
    changes: dict[str, Any] = {"where": where}
    if said.address is not None:
        changes["addresses"] = node_addresses(said.address)
    if said.pod_cidrs is not None:
        changes["pod_cidrs"] = tuple(said.pod_cidrs)
    if said.labels is not None:
        changes["labels"] = {**node.labels, **said.labels}
    if said.site is not None:
        changes["site"] = said.site
    if said.public_address is not None:
        changes["public_addresses"] = endpoints(said.public_address)
    if said.direct_routing is not None:
        changes["direct_routing"] = said.direct_routing
    if said.interface is not None:
        changes["interface"] = said.interface
    if said.mtu is not None:
        changes["mtu"] = said.mtu
    return node._replace(**changes)
