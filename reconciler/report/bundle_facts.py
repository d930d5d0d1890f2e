"""Of Kubernetes objects what plumbline reads, and nothing else: no container, no environment, no foreign annotation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_ALL: Any = object()  # the value as it is
_NAMED = {"name": _ALL, "namespace": _ALL, "uid": _ALL, "labels": _ALL}
_PORTS = [{"name": _ALL, "protocol": _ALL, "port": _ALL, "targetPort": _ALL, "nodePort": _ALL}]
_SERVICE = (
    *("type", "clusterIP", "clusterIPs", "externalIPs", "externalTrafficPolicy", "internalTrafficPolicy", "sessionAffinity"),
    *("sessionAffinityConfig", "healthCheckNodePort", "loadBalancerSourceRanges", "ipFamilies", "ipFamilyPolicy", "trafficDistribution"),
)
_KINDS: dict[str, Any] = {
    "Node": {"metadata": _NAMED, "spec": {"podCIDR": _ALL, "podCIDRs": _ALL}, "status": {"addresses": _ALL}},
    "Pod": {"metadata": _NAMED, "spec": {"nodeName": _ALL, "hostNetwork": _ALL}, "status": {"phase": _ALL, "podIP": _ALL, "podIPs": _ALL}},
    "Service": {
        "metadata": _NAMED,
        "spec": {"ports": _PORTS, **dict.fromkeys(_SERVICE, _ALL)},
        "status": {"loadBalancer": {"ingress": [{"ip": _ALL, "ipMode": _ALL}]}},
    },
    "EndpointSlice": {
        "metadata": _NAMED,
        "addressType": _ALL,
        "ports": _PORTS,
        "endpoints": [{"addresses": _ALL, "conditions": _ALL, "nodeName": _ALL, "zone": _ALL, "hints": _ALL}],
    },
    "NetworkPolicy": {"metadata": _NAMED, "spec": _ALL},
    "Namespace": {"metadata": _NAMED},
}


def bare(objects: Iterable[Mapping[str, Any]], annotations: Iterable[str]) -> dict[str, Any]:
    """A List, as `--facts` takes it. `annotations`: those that are read, or how they begin where that ends in a slash."""
    names = tuple(annotations)
    items = [one for thing in objects if (one := _object(thing, names)) is not None]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _object(thing: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any] | None:
    """None for a kind that nobody reads, a Secret for one."""
    kind = thing.get("kind")
    shape = _KINDS.get(kind) if isinstance(kind, str) else None
    if shape is None:
        return None
    made: dict[str, Any] = {"apiVersion": thing.get("apiVersion"), "kind": kind, **_part(thing, shape)}
    metadata = thing.get("metadata")
    said = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    if isinstance(said, Mapping):
        read = {
            name: text
            for name, text in said.items()
            if any(name == one or (one.endswith("/") and str(name).startswith(one)) for one in names)
        }
        made["metadata"]["annotations"] = read
    return made


def _part(value: Any, shape: Any) -> Any:
    if shape is _ALL:
        return value
    if isinstance(shape, list):
        return [_part(one, shape[0]) for one in value] if isinstance(value, list) else []
    if not isinstance(value, Mapping):
        return {}
    return {name: _part(value[name], inner) for name, inner in shape.items() if value.get(name) is not None}
