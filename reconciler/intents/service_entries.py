"""What one service puts into the maps of a node: pure, and of nothing but the service and this node's place in the cluster.

Which endpoints are used follows kube-proxy (https://kubernetes.io/docs/reference/networking/virtual-ips/), which
docs/services.md lists point by point.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from reconciler.engine.model import Origin
from reconciler.facts.model import Backend, Service, ServicePort
from reconciler.kinds.bpf_map_entry.layout import (
    DROP_EMPTY,
    HERE,
    INSIDE,
    KEEP_CLIENT,
    LOOPBACK,
    OUTSIDE,
    TCP,
    UDP,
    address,
    backend_value,
    front_key,
    loopback,
    network,
)
from reconciler.kinds.bpf_map_entry.services import Entries, Front, Gate

PROTOCOLS = {"TCP": TCP, "UDP": UDP}
LOCALHOST = {4: "127.0.0.1", 6: "::1"}
EVERYBODY = {4: "0.0.0.0/0", 6: "::/0"}
Found = list[tuple[Backend, int]]  # endpoints with their port


class Here(NamedTuple):
    """All of a node that goes into the entries of every service."""

    node: str
    zone: str = ""  # label topology.kubernetes.io/zone
    addresses: tuple[str, ...] = ()  # where node ports are reached
    outside: bool = True  # whether anything is to be reached from outside; else cluster IPs are all there is
    netns_cookie: int = 0  # of the node's own network namespace; 0: no node ports on loopback


class ListName(NamedTuple):
    """What a list of backends is called, part by part."""

    service: str  # "default/web"
    port: str
    protocol: str
    family: int
    policy: str  # "all", "local"

    def __str__(self) -> str:
        return f"{self.service}:{self.port}/{self.protocol} IPv{self.family} {self.policy}"

    @classmethod
    def read(cls, text: str) -> ListName:
        """The parts of a name that this module gave."""
        head, family, policy = text.rsplit(" ", 2)
        place, _, protocol = head.rpartition("/")
        service, _, port = place.rpartition(":")
        return cls(service, port, protocol, int(family.removeprefix("IPv")), policy)


class _Port(NamedTuple):
    """One port of a service for one family: its endpoints, and the lists that fronts name."""

    service: Service
    port: ServicePort
    family: int
    everywhere: Found  # those that are used at all
    here: Found  # those that are used under a policy of Local

    def name(self, policy: str) -> str:
        return str(ListName(self.service.key, self.port.name or str(self.port.port), self.port.protocol, self.family, policy))

    def served(self, *, local: bool) -> Found:
        return self.here if local else self.everywhere


def entries(here: Here, service: Service) -> Entries:
    """The fronts and lists of one service; none where it has no address, or is somebody else's to serve."""
    if service.proxy or not service.cluster_ips:
        return Entries()
    fronts: list[Front] = []
    gates: list[Gate] = []
    lists: dict[str, tuple[bytes, ...]] = {}
    for port in _ports(here, service):
        for front, local in _fronts(here, port):
            if isinstance(front, Gate):
                gates.append(front)
            else:
                fronts.append(front)
            if front.list not in lists:
                lists[front.list] = tuple(_packed(here, port.served(local=local)))
    named = {gate.ranges for gate in gates}
    ranges = tuple((name, tuple(map(network, found or ()))) for name, found in (_ranges(service, 4), _ranges(service, 6)) if name in named)
    return Entries(tuple(fronts), tuple(lists.items()), (Origin("services", service.key, service.where),), tuple(gates), ranges)


def _ports(here: Here, service: Service) -> Iterator[_Port]:
    families = sorted({6 if ":" in one else 4 for one in (*service.cluster_ips, *service.external_ips, *service.ingress_ips)})
    for port in service.ports:
        if port.protocol in PROTOCOLS:
            for family in families:
                found = _endpoints(service, port, family)
                yield _Port(service, port, family, _everywhere(here, found), _local(here, found))


def _endpoints(service: Service, port: ServicePort, family: int) -> Found:
    """Those of every slice, none twice: one that two slices tell of is what the better of them says."""
    found: dict[tuple[str, int], Backend] = {}
    for piece in service.slices:
        number = next((number for name, protocol, number in piece.ports if name == port.name and protocol == port.protocol), 0)
        if not number or not piece.backends or (":" in piece.backends[0].address) is not (family == 6):
            continue
        for one in piece.backends:
            known = found.setdefault((one.address, number), one)
            if known is not one and (one.ready, one.serving) > (known.ready, known.serving):
                found[one.address, number] = one
    return [(one, number) for (_, number), one in found.items()]


def _everywhere(here: Here, found: Found) -> Found:
    """Ready ones, near ones of them where the cluster says so; without any, those that still serve while they end."""
    ready = [one for one in found if one[0].ready]
    return _near(here, ready) if ready else [one for one in found if one[0].serving and one[0].terminating]


def _local(here: Here, found: Found) -> Found:
    mine = [one for one in found if one[0].node == here.node]
    return [one for one in mine if one[0].ready] or [one for one in mine if one[0].serving and one[0].terminating]


def _near(here: Here, ready: Found) -> Found:
    """By the hints of the slices (trafficDistribution, topology mode), which count only where all endpoints have them."""
    if all(one.nodes for one, _ in ready):
        near = [one for one in ready if here.node in one[0].nodes]
        if near:
            return near
    if all(one.zones for one, _ in ready):
        return [one for one in ready if here.zone in one[0].zones] or ready
    return ready


def _ranges(service: Service, family: int) -> tuple[str, tuple[str, ...] | None]:
    """What the ranges of a service are called, and the networks of one family in them; None: they let everybody in.

    Without a word of one family, it is everybody's only where all of the other one are let in.
    """
    if not service.source_ranges or EVERYBODY[family] in service.source_ranges:
        return "", None
    found = tuple(_of(family, service.source_ranges))
    if not found and EVERYBODY[10 - family] in service.source_ranges:
        return "", None
    return f"{service.key} IPv{family} from {','.join(found)}", found


def _fronts(here: Here, port: _Port) -> Iterator[tuple[Front | Gate, bool]]:
    """Where a port is reached, each with whether its backends are those of this node alone."""
    service, said = port.service, port.port
    for ip in _of(port.family, service.cluster_ips):
        yield _front(port, ip, said.port, INSIDE, local=service.internal_local)
    if not here.outside:
        return
    ranges, networks = _ranges(service, port.family)
    guarded = {(ip, said.port) for ip in service.ingress_ips} if networks is not None else ()
    reached = [(ip, said.port) for ip in dict.fromkeys(_of(port.family, (*service.external_ips, *service.ingress_ips)))]
    if said.node_port and any(_of(port.family, service.cluster_ips)):
        reached += [(ip, said.node_port) for ip in _of(port.family, here.addresses)]
        if here.netns_cookie:
            yield _front(port, LOCALHOST[port.family], said.node_port, LOOPBACK, cookie=here.netns_cookie)
    for ip, number in dict.fromkeys(reached):
        yield _front(port, ip, number, INSIDE)  # who is in the cluster already need not be kept from other nodes' endpoints
        front, local = _front(port, ip, number, OUTSIDE, local=service.external_local)
        yield (Gate(front.key, ranges, *front[1:]) if (ip, number) in guarded else front), local


def _of(family: int, addresses: Iterable[str]) -> list[str]:
    return [one for one in addresses if (":" in one) is (family == 6)]


def _front(port: _Port, ip: str, number: int, scope: int, *, local: bool = False, cookie: int = 0) -> tuple[Front, bool]:
    flags = KEEP_CLIENT if local and scope == OUTSIDE else 0
    if local and not port.here and port.everywhere:
        flags |= DROP_EMPTY
    raw = loopback(ip, cookie) if scope == LOOPBACK else address(ip)
    key = front_key(raw, number, PROTOCOLS[port.port.protocol], scope)
    return Front(key, port.name("local" if local else "all"), port.service.affinity, flags), local


def _packed(here: Here, found: Found) -> Iterator[bytes]:
    node = here.node
    for one, number in found:
        yield backend_value(address(one.address), number, HERE if one.node == node else 0)


def local_ready(here: str, service: Service) -> int:
    """How many of a service's endpoints on a node are ready: what its health check answers."""
    ready = {one.address for piece in service.slices for one in piece.backends if one.ready and one.node == here}
    return len(ready)


def left_out(services: Sequence[Service]) -> Iterator[tuple[Service, str]]:
    """What of the services is not served, and why, for people."""
    for service in services:
        for family in (4, 6):
            if _ranges(service, family)[1] == () and (closed := _of(family, service.ingress_ips)):
                text = f"loadBalancerSourceRanges names no network of IPv{family}, so nobody from outside is let in at {', '.join(closed)}"
                yield service, f"{text}; add some, or {EVERYBODY[family]} for everybody"
        for port in service.ports:
            if port.protocol not in PROTOCOLS:
                yield (
                    service,
                    f"port {port.port}/{port.protocol} is left alone: {port.protocol} is not translated; use the pods' own addresses",
                )
