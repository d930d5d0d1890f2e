"""Edits of a network.yaml, as an engineer would make them: a pair goes direct, a node joins, a node leaves. Pure."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from itertools import combinations
from typing import Any

import yaml

from reconciler.facts.model import Node
from reconciler.intents.transport import gateway_family, transport
from reconciler.lab.nodes import Network
from reconciler.lab.topology import LabError


class Document:
    """The content of a network.yaml; every edit gives another one."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    @classmethod
    def of(cls, text: str) -> Document:
        """Of a text that has been validated already."""
        return cls(yaml.safe_load(text))

    @property
    def text(self) -> str:
        """One node a line, so that a difference reads as in git."""
        rest = {key: value for key, value in self._data.items() if key != "nodes"}
        nodes = [f"  {name}: {_flow(node)}" for name, node in self._data.get("nodes", {}).items()]
        return yaml.safe_dump(rest, sort_keys=False, allow_unicode=True) + "\n".join(["nodes:", *nodes, ""])

    def with_node(self, name: str, **said: Any) -> Document:
        """With a node that says this, on top of what is said of it already."""
        data = copy.deepcopy(self._data)
        data["nodes"][name] = {**data["nodes"].get(name, {}), **said}
        return Document(data)

    def without_node(self, name: str) -> Document:
        data = copy.deepcopy(self._data)
        del data["nodes"][name]
        return Document(data)

    def changes_to(self, other: Document) -> list[str]:
        """The lines that differ, each with its sign in front."""
        lines = difflib.unified_diff(self.text.splitlines(), other.text.splitlines(), lineterm="", n=0)
        return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def _flow(value: Any) -> str:
    """In one line, quoted only where it must be."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    if isinstance(value, str) and ":" not in value and yaml.safe_load(value) == value:
        return value
    return json.dumps(value)


def indirect_pair(network: Network) -> tuple[Node, Node] | None:
    """Two nodes that could do without a tunnel and have one."""
    fabric = network.loaded.spec.fabric
    for a, b in combinations(network.facts.nodes.values(), 2):
        near = all(gateway_family(a, b, 6 if ":" in cidr else 4) for cidr in (*a.pod_cidrs, *b.pod_cidrs))
        if fabric and near and a.site == b.site and transport(a, b, fabric.mode).via == "overlay":
            return a, b
    return None


def newcomer(network: Network) -> tuple[str, dict[str, Any]]:
    """A node that is not there yet: its name, and what network.yaml is to say of it. Beside the first node, with free addresses."""
    nodes = network.facts.nodes
    first = next(iter(nodes.values()))
    name = next(name for number in range(1, len(nodes) + 2) if (name := f"n{number}") not in nodes)
    taken = {address.address for node in nodes.values() for address in node.addresses}
    addresses = []
    for address in first.addresses:
        subnet = ip_interface(f"{address.address}/{address.prefix or (64 if address.family == 6 else 24)}").network
        free = ip_address(address.address)
        while str(free) in taken:
            free += 1
        addresses.append(f"{free}/{subnet.prefixlen}")
    fabric = network.loaded.spec.fabric
    networks = fabric.pod_network if fabric else []
    used = {cidr for node in nodes.values() for cidr in node.pod_cidrs}
    return name, {"address": addresses, "podCIDRs": [_free_cidr(cidr, networks, used) for cidr in first.pod_cidrs]}


def _free_cidr(like: str, networks: Iterable[str], used: Iterable[str]) -> str:
    """A pod CIDR as large as another that overlaps no used one."""
    taken = [ip_network(cidr) for cidr in used if (":" in cidr) is (":" in like)]
    for network in networks:
        if (":" in network) is (":" in like):
            for candidate in _subnets(network, ip_network(like).prefixlen):
                if not any(candidate.overlaps(one) for one in taken):
                    return str(candidate)
    raise LabError(f"no room for another pod CIDR like {like} in fabric.podNetwork")


def _subnets(network: str, length: int) -> Iterator[Any]:
    """Its parts of a length, the first left out: people number nodes from 1."""
    whole = ip_network(network)
    if length >= whole.prefixlen:
        parts = whole.subnets(new_prefix=length)
        next(parts)
        yield from parts
