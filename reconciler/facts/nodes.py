"""Kubernetes Node objects as plain dictionaries → Node. API watches and manifest files use the same function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.facts.model import Endpoint, Node, NodeAddress
from reconciler.spec.values import address_with_prefix, endpoint, node_name, site_name, split_endpoint
from reconciler.wire.ip import normal_address, normal_network, routed, usable_by_a_host

ADDRESS = "plumbline.dev/address"  # with prefix length; a comma between families
PUBLIC_ADDRESS = "plumbline.dev/public-address"
DIRECT_ROUTING = "plumbline.dev/direct-routing"
SITE = "plumbline.dev/site"


class BadNode(Exception):
    """A Node object that says something impossible; names the node and the field."""


class KnownNodes:
    """Nodes that were read before: whose object says the same again is the very same Node, at a fraction of the cost.

    It gives what parse_node gives. Who reads the same objects again and again keeps one.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[Any, ...], Node]] = {}

    def node(self, thing: Mapping[str, Any], where: str = "") -> Node:
        """Raises BadNode."""
        said = _said(thing, where)
        if said is None:
            return parse_node(thing, where)
        before = self._known.get(said[0])
        if before is not None and before[0] == said:
            return before[1]
        node = parse_node(thing, where)
        self._known[node.name] = (said, node)
        return node


def _said(thing: Mapping[str, Any], where: str) -> tuple[Any, ...] | None:
    """All of an object that parse_node reads, the name first; None where it is not shaped like a Node."""
    metadata, spec, status = thing.get("metadata"), thing.get("spec"), thing.get("status")
    if type(metadata) is not dict or type(spec) is not dict or type(status) is not dict:
        return None
    return (
        metadata.get("name"),
        where,
        metadata.get("labels"),
        metadata.get("annotations"),
        spec.get("podCIDRs"),
        spec.get("podCIDR"),
        status.get("addresses"),
    )


def parse_node(thing: Mapping[str, Any], where: str = "") -> Node:
    """One Node object. Raises BadNode; fields that are absent are absent, not wrong."""
    metadata = _mapping(thing, "metadata", "Node")
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        raise BadNode(f"{where or 'a Node'}: metadata.name is missing")
    try:
        node_name(name)
    except ValueError as error:
        raise BadNode(f"{where or 'a Node'}: metadata.name: {error}") from None
    label = f"Node {name}"
    spec, status = _mapping(thing, "spec", label), _mapping(thing, "status", label)
    annotations = _mapping(metadata, "annotations", label)
    internal, external = _status_addresses(status, label)
    stated = _annotated(annotations, label)
    public = annotations.get(PUBLIC_ADDRESS)
    return Node(
        name,
        stated + tuple(one for one in internal if all(one.family != other.family for other in stated)) if stated else internal,
        _pod_cidrs(spec, label),
        _mapping(metadata, "labels", label),
        _site(annotations.get(SITE), label),
        _endpoints(public, label) if public else external,
        _switch(annotations.get(DIRECT_ROUTING), label),
        where=f"{where} ({label})" if where else label,
    )


def _mapping(thing: Any, name: str, label: str) -> Mapping[str, Any]:
    found = thing.get(name) if type(thing) is dict or isinstance(thing, Mapping) else None
    if type(found) is dict:
        return found
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise BadNode(f"{label}: {name} is no mapping")
    return found


def _pod_cidrs(spec: Mapping[str, Any], label: str) -> tuple[str, ...]:
    cidrs = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    if not isinstance(cidrs, list):
        raise BadNode(f"{label}: spec.podCIDRs is no list")
    try:
        return tuple([routed(normal_network(cidr)) for cidr in cidrs])
    except (ValueError, TypeError) as error:
        raise BadNode(f"{label}: spec.podCIDRs: {error}") from None


def _status_addresses(status: Mapping[str, Any], label: str) -> tuple[tuple[NodeAddress, ...], tuple[Endpoint, ...]]:
    """Internal addresses, whose prefix length the API does not know, and external ones."""
    internal: list[NodeAddress] = []
    external: list[Endpoint] = []
    listed = status.get("addresses") or []
    if not isinstance(listed, list):
        raise BadNode(f"{label}: status.addresses is no list")
    for one in listed:
        kind, address = (one.get("type"), one.get("address")) if isinstance(one, Mapping) else (None, None)
        if kind not in ("InternalIP", "ExternalIP"):
            continue
        try:
            address = normal_address(str(address))
            if not usable_by_a_host(address):
                raise ValueError(f"{address} cannot be the address of a node")
        except ValueError as error:
            raise BadNode(f"{label}: status.addresses: {error}") from None
        if kind == "InternalIP":
            internal.append(NodeAddress(address, None))
        else:
            external.append(Endpoint(address))
    return tuple(internal), tuple(external)


def _annotated(annotations: Mapping[str, Any], label: str) -> tuple[NodeAddress, ...]:
    text = annotations.get(ADDRESS)
    if not text:
        return ()
    try:
        return node_addresses(part.strip() for part in str(text).split(","))
    except ValueError as error:
        raise BadNode(f"{label}: annotation {ADDRESS}: {error}") from None


def _endpoints(text: Any, label: str) -> tuple[Endpoint, ...]:
    try:
        return endpoints(part.strip() for part in str(text).split(","))
    except ValueError as error:
        raise BadNode(f"{label}: annotation {PUBLIC_ADDRESS}: {error}") from None


def _site(text: Any, label: str) -> str:
    try:
        return site_name("" if text is None else str(text))
    except ValueError as error:
        raise BadNode(f"{label}: annotation {SITE}: {error}") from None


def _switch(text: Any, label: str) -> bool | None:
    if text is None:
        return None
    if str(text).lower() not in ("true", "false"):
        raise BadNode(f'{label}: annotation {DIRECT_ROUTING}: found "{text}"; allowed: "true" or "false"')
    return str(text).lower() == "true"


def node_addresses(texts: Iterable[str]) -> tuple[NodeAddress, ...]:
    """Addresses with or without prefix length. Raises ValueError."""
    found = []
    for text in texts:
        address, _, prefix = address_with_prefix(text).partition("/")
        found.append(NodeAddress(address, int(prefix) if prefix else None))
    return tuple(found)


def endpoints(texts: Iterable[str]) -> tuple[Endpoint, ...]:
    """Addresses with or without a port. Raises ValueError."""
    return tuple(Endpoint(*split_endpoint(endpoint(text))) for text in texts)
