"""Which objects are kept up, and what of each: read by the very functions that read manifests in files.

A further sort is an entry here, and in `view.py` a line of `_resources` and a field of `View`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from sys import intern
from typing import Any, TypeVar

from reconciler.cluster.reflector import Resource, Unreadable
from reconciler.facts.model import EndpointSlice, Node, Pod, Service
from reconciler.facts.nodes import BadNode, parse_node
from reconciler.facts.pods import BadPod, parse_pod
from reconciler.facts.policies import policies_of
from reconciler.facts.services import BadService, parse_service, parse_slice

T = TypeVar("T")

NODES, PODS_HERE, MEMBERS, SERVICES, SLICES = "nodes", "pods of this node", "labelled pods", "services", "endpointslices"
POLICIES = "networkpolicies"


def nodes() -> Resource[Node]:
    def read(thing: Mapping[str, Any]) -> Node:
        node = _said(parse_node, thing)
        return node._replace(labels=_interned(node.labels))

    return Resource(NODES, "/api/v1/nodes", read)


def pods(name: str, keep: Collection[str], *, fields: str = "", labels: str = "") -> Resource[Pod]:
    """`keep`: the annotations that are read."""

    def read(thing: Mapping[str, Any]) -> Pod:
        pod = _said(parse_pod, thing)
        kept = {name: text for name, text in pod.annotations.items() if name in keep}
        return pod._replace(labels=_interned(pod.labels), annotations=kept)

    return Resource(name, "/api/v1/pods", read, fields, labels)


def services() -> Resource[Service]:
    return Resource(SERVICES, "/api/v1/services", lambda thing: _said(parse_service, thing))


def slices() -> Resource[EndpointSlice]:
    return Resource(SLICES, "/apis/discovery.k8s.io/v1/endpointslices", lambda thing: _said(parse_slice, thing))


def policies() -> Resource[str]:
    """By name alone: nobody here enforces them."""
    return Resource(
        POLICIES, "/apis/networking.k8s.io/v1/networkpolicies", lambda thing: policies_of([({**thing, "kind": "NetworkPolicy"}, "")])[0]
    )


KINDS = {NODES: "Node", PODS_HERE: "Pod", MEMBERS: "Pod", SERVICES: "Service", SLICES: "EndpointSlice"}


def _said(parse: Callable[[Mapping[str, Any]], T], thing: Mapping[str, Any]) -> T:
    """Raises Unreadable."""
    try:
        return parse(thing)
    except (BadNode, BadPod, BadService) as error:
        raise Unreadable(str(error)) from None


def _interned(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Thousands of objects have the same few words."""
    return {intern(name): intern(text) if type(text) is str else text for name, text in labels.items()}
