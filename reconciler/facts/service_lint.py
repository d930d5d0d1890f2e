"""What only shows across services, nodes and networks. Services are made by people who cannot change network.yaml: warnings they get."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from reconciler.facts.model import Facts, Service
from reconciler.facts.problem import problem_at
from reconciler.kinds.bpf_map_entry.layout import SOURCE_PORTS
from reconciler.spec.load import Loaded
from reconciler.spec.model import SysctlSpec
from reconciler.spec.problems import Path, Problem
from reconciler.spec.services import NodePorts, Services
from reconciler.wire.ip import overlap

TOLD = 10  # of a sort; after them one knows
LOCAL_PORTS = "net.ipv4.ip_local_port_range"


class _Told(NamedTuple):
    """What is wrong with one service, and what to do."""

    service: Service
    message: str
    remedy: str


def services(loaded: Loaded, facts: Facts) -> Iterator[Problem]:
    """Errors of network.yaml, warnings of services."""
    said = loaded.spec.services
    if said is None:
        return
    yield from _networks(loaded, facts, said)
    yield from _ports(loaded, said)
    known = facts.services or ()
    yield from _api_servers(loaded, said, known)
    yield from _sizes(loaded, facts, said, known)
    for found in (_twice(known, said), _at_nodes(known, facts), _outside(known, said)):
        for one, _ in zip(found, range(TOLD), strict=False):
            text = f"{one.service.where or one.service.key}: {one.message}"
            yield problem_at(loaded, ("services",), text, one.remedy, warning=True)


def _networks(loaded: Loaded, facts: Facts, said: Services) -> Iterator[Problem]:
    """ClusterIPs are nobody's addresses: whoever has one would not be reached by those that services are for."""
    inside = loaded.spec.fabric.pod_network if loaded.spec.fabric else []
    path: Path = ("services", "networks")
    for network in said.networks:
        for other in inside:
            if overlap(network, other):
                yield problem_at(loaded, path, f"{network} overlaps the pod network {other}", "one of them is not what the cluster has")
        for node in facts.nodes.values():
            for text in (*(() if inside else node.pod_cidrs), *(one.address for one in node.addresses)):
                if overlap(network, text):
                    yield problem_at(loaded, path, f"{text} of node {node.name} lies in {network}", "they must not overlap")


def _ports(loaded: Loaded, said: Services) -> Iterator[Problem]:
    """The device level takes source ports of its own, which nobody else may use."""
    if not isinstance(said.node_port, NodePorts):
        return
    taken = f"{SOURCE_PORTS[0]}-{SOURCE_PORTS[1]}, which flows from outside take as their source ports"
    if said.node_port.ports[1] >= SOURCE_PORTS[0]:
        yield problem_at(loaded, ("services", "nodePort", "range"), f"reaches into {taken}", f"end it before {SOURCE_PORTS[0]}")
    local = loaded.spec.sysctls.get(LOCAL_PORTS)
    value = local.value if isinstance(local, SysctlSpec) else local
    words = value if isinstance(value, list) else str(value or "").split()
    last = int(words[-1]) if words and str(words[-1]).isdigit() else 0
    if last >= SOURCE_PORTS[0]:
        text = f"ends at {last}, inside {taken}"
        yield problem_at(loaded, ("sysctls", LOCAL_PORTS), text, f"end it before {SOURCE_PORTS[0]}", warning=True)


def _api_servers(loaded: Loaded, said: Services, known: Iterable[Service]) -> Iterator[Problem]:
    """A node that reaches the API only by what it is told there would never be told it again."""
    hosts = {urlsplit(one).hostname or "" for one in loaded.spec.cluster.api_servers}
    if not hosts:
        return
    of = {ip: service.key for service in known for ip in service.cluster_ips}
    for host in sorted(hosts):
        whose = of.get(host) or next((f"one of {network}" for network in said.networks if _is_in(host, network)), "")
        if whose:
            yield problem_at(
                loaded, ("cluster", "apiServers"), f"{host} is the ClusterIP of {whose}, which plumbline itself serves",
                "name the API servers' own addresses",
            )  # fmt: skip


def _is_in(host: str, network: str) -> bool:
    """False for a name."""
    try:
        return overlap(host, network)
    except ValueError:
        return False


def _sizes(loaded: Loaded, facts: Facts, said: Services, known: Iterable[Service]) -> Iterator[Problem]:
    """At most so many entries as a node can have: each with the addresses of the node that has most."""
    addresses = max((len(node.addresses) for node in facts.nodes.values()), default=0)
    fronts = backends = 0
    for service in known:
        if service.proxy or not service.cluster_ips:
            continue
        endpoints = sum(len(piece.backends) * len(piece.ports) for piece in service.slices)
        backends += endpoints * (2 if service.external_local or service.internal_local else 1)
        for port in service.ports:
            outside = 2 * (len(service.external_ips) + len(service.ingress_ips)) + (2 * addresses + 2 if port.node_port else 0)
            outside += 2 if service.source_ranges and service.ingress_ips else 0  # behind the ranges of each family
            fronts += len(service.cluster_ips) + outside
    for field, count, most in (("maxFronts", fronts, said.max_fronts), ("maxBackends", backends, said.max_backends)):
        if count > most:
            yield problem_at(
                loaded, ("services", field), f"is {most}, and the services have up to {count} entries: some may find no room",
                f"say {count * 2} or so", warning=True,
            )  # fmt: skip


def _twice(known: Iterable[Service], said: Services) -> Iterator[_Told]:
    """The first by name has it, whatever came first."""
    holders: dict[tuple[str, int, str], str] = {}
    outside = isinstance(said.node_port, NodePorts)
    for service in sorted(known, key=lambda one: one.key) if outside else known:
        if service.proxy:
            continue
        reached = service.cluster_ips
        if outside and (service.external_ips or service.ingress_ips):
            reached = tuple(dict.fromkeys((*service.cluster_ips, *service.external_ips, *service.ingress_ips)))
        for port in service.ports:
            places = [(ip, port.port) for ip in reached]
            if outside and port.node_port:
                places.append(("node port", port.node_port))
            for ip, number in places:
                first = holders.setdefault((ip, number, port.protocol), service.key)
                if first != service.key:
                    place = f"{ip} {number}" if ip == "node port" else f"[{ip}]:{number}" if ":" in ip else f"{ip}:{number}"
                    yield _Told(
                        service, f"{place}/{port.protocol} is that of {first} too, which has it here", "take it out of one of the two"
                    )


def _at_nodes(known: Iterable[Service], facts: Facts) -> Iterator[_Told]:
    """Legal, and rarely meant: whatever else listens at the port is out of reach then."""
    of = {one.address: node.name for node in facts.nodes.values() for one in node.addresses}
    for service in known:
        for ip in (*service.external_ips, *service.ingress_ips):
            if ip in of:
                ports = ", ".join(f"{port.port}/{port.protocol}" for port in service.ports)
                text = f"{ip} is the address of node {of[ip]}: whatever listens there at {ports} is reached by nobody"
                yield _Told(service, text, "use a node port, or an address that no node has")


def _outside(known: Iterable[Service], said: Services) -> Iterator[_Told]:
    """What the API server was told is not what network.yaml says."""
    first, last = said.node_port.ports if isinstance(said.node_port, NodePorts) else (0, 65535)
    for service in known:
        for port in service.ports:
            if port.node_port and not first <= port.node_port <= last:
                text = f"its node port {port.node_port} is outside services.nodePort.range, {first}-{last}"
                yield _Told(service, text, "say what the API server is told: --service-node-port-range")
        for ip in service.cluster_ips if said.networks else ():
            if not any(overlap(ip, network) for network in said.networks):
                names = ", ".join(said.networks)
                yield _Told(service, f"its ClusterIP {ip} is outside services.networks, {names}", "say what the API server is told")
