"""Which pod is in which segment, and how: the annotations read against `segments:`. Pure.

Pod authors are not trusted: what network.yaml does not allow is a fault of that pod in that
segment, told with what would mend it; every other pod is a member all the same.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_interface, ip_network
from typing import NamedTuple

from reconciler.facts.annotations import BadAnnotation, read_networks, read_segments
from reconciler.facts.model import Pod
from reconciler.intents.options import BadOption, said_by_options
from reconciler.spec.model import ClusterNetwork
from reconciler.spec.segments import PodSegment, Segment, SegmentRoute
from reconciler.spec.values import interface_name

REFERENCE_PORT, PORT = 8472, 4789  # UDP: the kernel's own, which the reference asks for with `dstport 0`; IANA's for VXLAN
_OVER = frozenset({"Succeeded", "Failed"})  # their addresses are other pods' by now
_ANYTHING = Segment(pod_overrides=["id", "dev", "name", "defaultRoute"])  # a network that only a pod defines


class Member(NamedTuple):
    """One pod in one segment."""

    pod: Pod
    segment: str
    vni: int
    name: str  # of the VXLAN device in the pod
    device: str  # of the pod, by which the packets leave
    up: bool
    port: int  # UDP
    ip: tuple[str, ...]  # with prefix length
    routes: tuple[tuple[str, str], ...]  # destination, gateway
    mtu: int | None  # bytes; None: the kernel's choice


class Fault(NamedTuple):
    """Why a pod is not in a segment, or not as it says, and what to do about it."""

    pod: Pod
    segment: str  # "": in none
    text: str

    def __str__(self) -> str:
        return f"{self.pod.where or self.pod.key}: " + (f"segment {self.segment}: " if self.segment else "") + self.text


class Refused(Exception):
    """Why a pod cannot be a member."""


class Members(NamedTuple):
    """Every segment's members, in the pods' order, and what is wrong."""

    segments: dict[str, list[Member]]
    faults: list[Fault]
    families: dict[str, int]  # of each segment's outer packets, 4 or 6

    def peers(self, member: Member) -> list[str]:
        """The pod addresses of a segment's other members."""
        family = self.families[member.segment]
        own = member.pod.address(family)
        found = dict.fromkeys(one.pod.address(family) for one in self.segments[member.segment])
        return [address for address in found if address != own]

    def by_pod(self) -> dict[str, list[Member]]:
        """All memberships of each pod that has any."""
        found: dict[str, list[Member]] = defaultdict(list)
        for everybody in self.segments.values():
            for member in everybody:
                found[member.pod.key].append(member)
        return found


def members(spec: ClusterNetwork, pods: Iterable[Pod]) -> Members:
    """Every pod's memberships; needs no node and no kernel."""
    found = Members(defaultdict(list), [], {})
    for pod in pods:
        for one in _memberships(spec, pod):
            if isinstance(one, Fault):
                found.faults.append(one)
            else:
                found.segments[one.segment].append(one)
    for name in list(found.segments):
        _settle_family(found, name)
    return found


def asks(spec: ClusterNetwork, pod: Pod) -> bool:
    """Whether a pod wants to be in any segment, may it or not."""
    return pod.phase not in _OVER and not pod.host_network and any(True for _ in _asked(spec, pod))


def _settle_family(found: Members, name: str) -> None:
    """One VXLAN device carries one family: IPv4 where everybody has it, else IPv6 where everybody has that."""
    everybody = found.segments[name]
    family = next((one for one in (4, 6) if all(member.pod.address(one) for member in everybody)), 4)
    found.families[name] = family
    found.segments[name] = [member for member in everybody if member.pod.address(family)]
    for member in everybody:
        if not member.pod.address(family):
            text = "has no IPv4 address, and others have no IPv6 one: the members of a segment need addresses of one family"
            found.faults.append(Fault(member.pod, name, text))


def _memberships(spec: ClusterNetwork, pod: Pod) -> Iterator[Member | Fault]:
    asked = list(_asked(spec, pod))
    if not asked or pod.phase in _OVER:
        return
    if pod.host_network:
        yield Fault(pod, "", "a pod with hostNetwork has the node's own interfaces and can join no segment; take the annotation off")
        return
    if not pod.addresses:
        return  # Pending: it joins once it has one
    taken = _Taken()
    for name, said, reference in asked:
        try:
            if not isinstance(said, PodSegment):
                raise Refused(str(said))
            member = _member(spec, pod, name, said, reference)
            taken.take(member)
        except Refused as refused:
            yield Fault(pod, name, str(refused))
            continue
        routes = list(member.routes)
        for route in member.routes:
            why = _no_way(member, route) or taken.route(member, route)
            if why:
                routes.remove(route)
                yield Fault(pod, name, why)
        yield member._replace(routes=tuple(routes))


def _asked(spec: ClusterNetwork, pod: Pod) -> Iterator[tuple[str, PodSegment | Exception, bool]]:
    """What the pod's annotations ask for: network, options, whether with the reference's meanings."""
    rules = spec.membership
    text = pod.annotations.get(rules.annotation)
    if text and pod.labels.get(rules.label) == "true":
        for network in read_networks(text):
            try:
                yield network.name, said_by_options(network.options), True
            except BadOption as error:
                yield network.name, error, True
    structured = pod.annotations.get(rules.segments_annotation)
    if structured:
        try:
            for name, said in read_segments(structured).items():
                yield name, said, False
        except BadAnnotation as error:
            yield "", BadAnnotation(f"annotation {rules.segments_annotation}: {error}"), False


def _member(spec: ClusterNetwork, pod: Pod, name: str, said: PodSegment, reference: bool) -> Member:
    segment = _segment(spec, name)
    _may_join(segment, pod, name)
    _may_say(segment, said, name)
    vni = said.vni or segment.vni
    if vni is None:
        raise Refused(f"has no VNI; say segments.{name}.vni in network.yaml")
    device = said.name or segment.name or name
    try:
        interface_name(device)
    except ValueError as error:
        raise Refused(f"{error}; say segments.{name}.name in network.yaml") from None
    routes = segment.routes if said.routes is None else said.routes
    up = next((one for one in (said.up, segment.up) if one is not None), not reference)
    return Member(
        pod,
        name,
        vni,
        device,
        said.device or segment.device,
        up,
        segment.port or (REFERENCE_PORT if reference else PORT),
        tuple(segment.ip if said.ip is None else said.ip),
        tuple((route.network, route.via) for route in routes),
        said.mtu or segment.mtu,
    )


def _segment(spec: ClusterNetwork, name: str) -> Segment:
    segment = spec.segments.get(name)
    if segment is not None:
        return segment
    if spec.membership.pod_defined:
        return _ANYTHING
    guess = difflib.get_close_matches(name, spec.segments, 1)
    known = f"did you mean {guess[0]}?" if guess else f"known: {', '.join(sorted(spec.segments)[:10]) or 'none'}"
    raise Refused(f"there is no such segment; {known}; or add segments.{name} to network.yaml, or say membership.podDefined: true")


def _may_join(segment: Segment, pod: Pod, name: str) -> None:
    allow = segment.allow
    if allow.namespaces is not None and pod.namespace not in allow.namespaces:
        raise Refused(f"namespace {pod.namespace} may not join; add it to segments.{name}.allow.namespaces, or take the pod out")
    lacking = [f"{label}: {value}" for label, value in allow.pod_selector.items() if pod.labels.get(label) != value]
    if lacking:
        raise Refused(f"only pods with the label {', '.join(lacking)} may join (segments.{name}.allow.podSelector)")


def _may_say(segment: Segment, said: PodSegment, name: str) -> None:
    """What leads out of a pod's own affairs only where podOverrides lists it."""
    differs = {
        "id": said.vni not in (None, segment.vni),
        "dev": said.device not in (None, segment.device),
        "name": said.name not in (None, segment.name or name),
        "defaultRoute": said.routes is not None and _covers_everything(said.routes) and said.routes != segment.routes,
    }
    for what, stated in differs.items():
        if stated and what not in segment.pod_overrides:
            words = "set a default route" if what == "defaultRoute" else f"say its own {what}"
            raise Refused(f"a pod may not {words} here; take it out of the annotation, or add {what} to segments.{name}.podOverrides")


def _covers_everything(routes: Sequence[SegmentRoute]) -> bool:
    """A default route, or several that are one together (0.0.0.0/1 and 128.0.0.0/1)."""
    said = [ip_network(route.network) for route in routes]
    ipv4 = collapse_addresses(network for network in said if isinstance(network, IPv4Network))
    ipv6 = collapse_addresses(network for network in said if isinstance(network, IPv6Network))
    return any(network.prefixlen == 0 for network in ipv4) or any(network.prefixlen == 0 for network in ipv6)


def _no_way(member: Member, route: tuple[str, str]) -> str:
    """Why the kernel would refuse a route; empty when it would not."""
    to, via = route
    if not member.up:
        return f"the route to {to} needs the interface up: say up"
    if not any(ip_address(via) in ip_interface(own).network for own in member.ip):
        own = ", ".join(member.ip) or "none said"
        return f"the route to {to} goes by {via}, which is not on the segment (ip: {own}); say an ip whose prefix contains it"
    return ""


class _Taken:
    """What the memberships of one pod hold already: in one namespace each may be there once."""

    def __init__(self) -> None:
        self._segments: set[str] = set()
        self._names: dict[str, str] = {}
        self._sockets: dict[tuple[int, int], str] = {}
        self._routes: dict[str, tuple[str, str]] = {}

    def take(self, member: Member) -> None:
        """Raises Refused."""
        if member.segment in self._segments:
            raise Refused("is named twice; say all of it in one place")
        other = self._names.get(member.name)
        if other is not None or member.name == member.device:
            whose = f"of segment {other}" if other else "that the packets leave by"
            raise Refused(f"{member.name} is the name of the interface {whose}; give it another one (segments.{member.segment}.name)")
        other = self._sockets.get((member.vni, member.port))
        if other is not None:
            raise Refused(f"VNI {member.vni} with UDP port {member.port} is segment {other}'s in this pod; a pod can be in it once")
        self._segments.add(member.segment)
        self._names[member.name] = member.segment
        self._sockets[member.vni, member.port] = member.segment

    def route(self, member: Member, route: tuple[str, str]) -> str:
        """Why a route cannot be; empty when it can."""
        to, via = route
        first = self._routes.setdefault(to, (member.segment, via))
        if first == (member.segment, via):
            return ""
        return f"the pod's route to {to} goes by {first[1]} in segment {first[0]} already; keep one of the two"
