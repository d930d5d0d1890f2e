"""Kubernetes Service and EndpointSlice objects as plain dictionaries → Service. API watches and manifest files use the same functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler.facts.model import Backend, EndpointSlice, Service, ServicePort
from reconciler.wire.ip import network_around, normal_address, usable_by_a_host

SERVICE_NAME = "kubernetes.io/service-name"  # label of a slice: whose it is
PROXY_NAME = "service.kubernetes.io/service-proxy-name"  # label: somebody else serves it
HEADLESS = "service.kubernetes.io/headless"  # label of a slice: of a service without an address
AFFINITY = 10800  # seconds: sessionAffinityConfig.clientIP.timeoutSeconds where it is not said
MAX_AFFINITY = 86400  # seconds: what the API allows
TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
PROTOCOLS = ("TCP", "UDP", "SCTP")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


class BadService(Exception):
    """A Service or EndpointSlice object that says something impossible; names the object and the field."""


def services_of(objects: Iterable[tuple[Mapping[str, Any], str]]) -> tuple[tuple[Service, ...] | None, list[str]]:
    """The Services among Kubernetes objects, with their slices, and what is wrong with those that are left out.

    None where no service is named at all: then nobody asked for them, and nothing is to be concluded.
    """
    services: dict[str, Service] = {}
    slices: dict[str, EndpointSlice] = {}
    wrong: list[str] = []
    for thing, where in objects:
        kind = thing.get("kind")
        if kind not in ("Service", "EndpointSlice"):
            continue
        try:
            if kind == "Service":
                _first(services, parse_service(thing, where), wrong)
            elif (piece := parse_slice(thing, where)) is not None:
                _first(slices, piece, wrong)
        except BadService as error:
            wrong.append(f"{error}; the {'service' if kind == 'Service' else 'slice'} is left out")
    if not services and not wrong:
        return None, wrong
    return joined(services.values(), slices.values()), wrong


def _first(known: dict[str, Any], found: Any, wrong: list[str]) -> None:
    """Keep the first of those that are named alike; another one that says the same is no mistake."""
    name = found.key if type(found) is Service else found.name
    first = known.setdefault(name, found)
    if first is not found and first._replace(where="") != found._replace(where=""):
        wrong.append(f"{found.where}: said otherwise before, in {first.where}; the first one counts")


def joined(services: Iterable[Service], slices: Iterable[EndpointSlice]) -> tuple[Service, ...]:
    """The services in the order of their names, each with its slices in the order of theirs: the same whatever came first."""
    of: dict[str, list[EndpointSlice]] = {}
    for piece in slices:
        of.setdefault(piece.service, []).append(piece)
    found = []
    for service in sorted(services):
        mine = tuple(sorted(of.get(service.key, ())))
        found.append(service if service.slices == mine else service._replace(slices=mine))
    return tuple(found)


def parse_service(thing: Mapping[str, Any], where: str = "") -> Service:
    """One Service object, without its slices. Raises BadService; fields that are absent are absent, not wrong."""
    namespace, name, label, labels = _named(thing, where, "Service")
    spec, status = _mapping(thing, "spec", label), _mapping(thing, "status", label)
    sort = _choice(spec, "type", TYPES, "ClusterIP", label)
    outside = sort in ("NodePort", "LoadBalancer")
    local = _choice(spec, "externalTrafficPolicy", ("Cluster", "Local"), "Cluster", label) == "Local"
    return Service(
        namespace,
        name,
        sort,
        _cluster_ips(spec, label) if sort != "ExternalName" else (),
        tuple(_ports(spec, label, outside)),
        _addresses(spec, "externalIPs", label),
        tuple(_ingress(status, label)) if sort == "LoadBalancer" else (),
        local and (outside or bool(spec.get("externalIPs"))),
        _choice(spec, "internalTrafficPolicy", ("Cluster", "Local"), "Cluster", label) == "Local",
        _affinity(spec, label),
        _number(spec, "healthCheckNodePort", label, least=0) if sort == "LoadBalancer" and local else 0,
        _ranges(spec, label) if sort == "LoadBalancer" else (),
        str(labels.get(PROXY_NAME) or ""),
        where=label,
    )


def parse_slice(thing: Mapping[str, Any], where: str = "") -> EndpointSlice | None:
    """One EndpointSlice object; None where it is no concern of a node's data path (headless, of names, of nobody). Raises BadService."""
    namespace, name, label, labels = _named(thing, where, "EndpointSlice")
    service = labels.get(SERVICE_NAME)
    if not service or HEADLESS in labels or PROXY_NAME in labels:
        return None
    family = _choice(thing, "addressType", ("IPv4", "IPv6", "FQDN"), "", label)
    if family == "FQDN":
        return None
    backends = tuple(_backends(thing, label, six=family == "IPv6"))
    return EndpointSlice(f"{namespace}/{name}", f"{namespace}/{service}", tuple(_slice_ports(thing, label)), backends, label)


def _named(thing: Mapping[str, Any], where: str, kind: str) -> tuple[str, str, str, Mapping[str, Any]]:
    """Namespace, name, how it is called in messages, labels."""
    metadata = _mapping(thing, "metadata", where or f"a {kind}")
    name, namespace = metadata.get("name"), metadata.get("namespace") or "default"
    if not isinstance(name, str) or not name or not isinstance(namespace, str):
        raise BadService(f"{where or f'a {kind}'}: metadata.name is missing")
    for field, text in (("name", name), ("namespace", namespace)):
        if len(text) > 253 or not _NAME.fullmatch(text):
            raise BadService(f"{where or f'a {kind}'}: metadata.{field}: {text[:80]!r} is none; allowed: a-z 0-9 - and dots")
    label = f"{where} ({kind} {namespace}/{name})" if where else f"{kind} {namespace}/{name}"
    return namespace, name, label, _mapping(metadata, "labels", label)


def _mapping(thing: Mapping[str, Any], name: str, label: str) -> Mapping[str, Any]:
    found = thing.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise BadService(f"{label}: {name} is no mapping")
    return found


def _list(thing: Mapping[str, Any], name: str, label: str) -> list[Any]:
    found = thing.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise BadService(f"{label}: {name} is no list")
    return found


def _mappings(thing: Mapping[str, Any], name: str, label: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The mappings in a list, each with how it is called in messages."""
    for index, one in enumerate(_list(thing, name, label)):
        if not isinstance(one, Mapping):
            raise BadService(f"{label}: {name}[{index}] is no mapping")
        yield one, f"{label}: {name}[{index}]"


def _choice(thing: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str, label: str) -> str:
    found = thing.get(name) or default
    if found not in allowed:
        raise BadService(f"{label}: {name}: found {str(found)[:80]!r}; allowed: {', '.join(allowed)}")
    return str(found)


def _number(thing: Mapping[str, Any], name: str, label: str, *, least: int = 1, most: int = 65535) -> int:
    found = thing.get(name, 0)
    if found is None:
        found = 0
    if type(found) is not int or (found != 0 and not least <= found <= most) or (found == 0 and least > 0):
        raise BadService(f"{label}: {name}: found {str(found)[:80]!r}; allowed: {max(least, 1)} to {most}")
    return found


def _address(text: Any, label: str) -> str:
    try:
        address = normal_address(str(text))
        if not usable_by_a_host(address):
            raise ValueError(f"{address} can be reached by nobody else")
    except ValueError as error:
        raise BadService(f"{label}: {error}") from None
    return address


def _addresses(spec: Mapping[str, Any], name: str, label: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_address(one, f"{label}: spec.{name}") for one in _list(spec, name, label)))


def _cluster_ips(spec: Mapping[str, Any], label: str) -> tuple[str, ...]:
    """None of them where the service is headless, or has no address yet."""
    listed = _list(spec, "clusterIPs", label) or [spec.get("clusterIP")]
    return tuple(dict.fromkeys(_address(one, f"{label}: spec.clusterIPs") for one in listed if one and one != "None"))


def _ports(spec: Mapping[str, Any], label: str, outside: bool) -> Iterator[ServicePort]:
    for one, at in _mappings(spec, "ports", label):
        yield ServicePort(
            str(one.get("name") or ""),
            _choice(one, "protocol", PROTOCOLS, "TCP", at),
            _number(one, "port", at),
            _number(one, "nodePort", at, least=0) if outside else 0,
        )


def _ingress(status: Mapping[str, Any], label: str) -> Iterator[str]:
    """A load balancer that is no virtual address (ipMode: Proxy) sends to node ports: its address is nobody's here."""
    for one, at in _mappings(_mapping(status, "loadBalancer", label), "ingress", label):
        if one.get("ip") and (one.get("ipMode") or "VIP") == "VIP":
            yield _address(one["ip"], at)


def _affinity(spec: Mapping[str, Any], label: str) -> int:
    if _choice(spec, "sessionAffinity", ("None", "ClientIP"), "None", label) == "None":
        return 0
    said = _mapping(_mapping(spec, "sessionAffinityConfig", label), "clientIP", label)
    return _number(said, "timeoutSeconds", label, most=MAX_AFFINITY) if said.get("timeoutSeconds") is not None else AFFINITY


def _ranges(spec: Mapping[str, Any], label: str) -> tuple[str, ...]:
    """Each once, in their order as text; host bits mean nothing, as they do to kube-proxy."""
    try:
        found = {network_around(str(one).strip()) for one in _list(spec, "loadBalancerSourceRanges", label)}
    except ValueError as error:
        raise BadService(f"{label}: spec.loadBalancerSourceRanges: {error}") from None
    return tuple(sorted(found))


def _slice_ports(thing: Mapping[str, Any], label: str) -> Iterator[tuple[str, str, int]]:
    """A port without a number means all ports, which no service port leads to."""
    for one, at in _mappings(thing, "ports", label):
        if one.get("port") is not None:
            yield str(one.get("name") or ""), _choice(one, "protocol", PROTOCOLS, "TCP", at), _number(one, "port", at)


def _backends(thing: Mapping[str, Any], label: str, *, six: bool) -> Iterator[Backend]:
    for one, at in _mappings(thing, "endpoints", label):
        listed = _list(one, "addresses", at)
        if not listed:
            raise BadService(f"{at}: addresses are missing")
        address = _address(listed[0], at)
        if (":" in address) is not six:
            raise BadService(f"{at}: {address} is not of the slice's addressType")
        said = _mapping(one, "conditions", at)
        ready, serving = said.get("ready") is not False, said.get("serving")
        hints = _mapping(one, "hints", at)
        yield Backend(
            address,
            str(one.get("nodeName") or ""),
            ready,
            ready if serving is None else serving is True,
            said.get("terminating") is True,
            _hinted(hints, "forZones", at),
            _hinted(hints, "forNodes", at),
        )


def _hinted(hints: Mapping[str, Any], name: str, label: str) -> tuple[str, ...]:
    if not hints:
        return ()
    return tuple(str(one.get("name")) for one, _ in _mappings(hints, name, label) if one.get("name"))
