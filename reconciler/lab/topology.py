"""network.yaml's cluster as network namespaces: which there are, and how they are wired. Pure; `build.py` makes it so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import NamedTuple

from reconciler.facts.model import Facts, Host, Node, NodeAddress
from reconciler.facts.model import Pod as PodFact
from reconciler.intents import Context
from reconciler.intents.fabric import device_mtu
from reconciler.spec.model import ClusterNetwork

UPLINK, MTU = "eth0", 1500  # where nobody says otherwise
PREFIX = {4: 24, 6: 64}  # bits, of an address whose prefix length nobody says
OUTSIDE = {4: "192.0.2.1/24", 6: "2001:db8:ffff::1/64"}  # RFC 5737, RFC 3849: the world beyond the cluster
MAX_NAME = 255  # bytes; a namespace's name is a file's (NAME_MAX)


class LabError(Exception):
    """The lab cannot be built, found or used; says why and what to do."""


class Segment(NamedTuple):
    """One underlay network: a bridge in the router's namespace that holds the gateway of each of its subnets."""

    bridge: str
    gateways: tuple[str, ...]  # with prefix length


class Pod(NamedTuple):
    """One pod, wired as the CNI plugins `bridge` and `host-local` would."""

    netns: str
    name: str  # "n1-p1"; "default/a" of one that the facts name
    node: str
    bridge: str  # on the node
    gateways: tuple[str, ...]  # of the bridge, with prefix length; the first address of each pod CIDR
    addresses: tuple[str, ...]  # with prefix length; the second
    mtu: int  # bytes
    outside: tuple[int, ...]  # families in which its node, and so it, reaches the world

    def address(self, family: int) -> str | None:
        """Its address of family 4 or 6, without prefix length."""
        return next((one.partition("/")[0] for one in self.addresses if (":" in one) is (family == 6)), None)


class Machine(NamedTuple):
    """One node: a namespace with an uplink, and its pods: those that the facts name, else one."""

    name: str
    netns: str
    uplink: str
    mtu: int  # of the uplink, bytes
    bridge: str  # in the router's namespace
    addresses: tuple[str, ...]  # with prefix length
    gateways: tuple[str, ...]  # one of each family
    pods: tuple[Pod, ...]


class Nat(NamedTuple):
    """A node whose address is good at its own site only: the router translates from and to a public one."""

    address: str
    port: int  # UDP, of VXLAN
    public: str
    public_port: int
    site: tuple[str, ...]  # addresses of its family that reach it untranslated


class Topology(NamedTuple):
    """The whole lab."""

    name: str
    router: str
    outside: str
    segments: tuple[Segment, ...]
    machines: tuple[Machine, ...]
    nats: tuple[Nat, ...]

    @property
    def pods(self) -> tuple[Pod, ...]:
        return tuple(pod for machine in self.machines for pod in machine.pods)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """All of them, pods first: in this order they can be deleted."""
        return (*(pod.netns for pod in self.pods), *(machine.netns for machine in self.machines), self.outside, self.router)

    def machine(self, node: str) -> Machine:
        """Raises LabError."""
        found = next((machine for machine in self.machines if machine.name == node), None)
        if found is None:
            known = ", ".join(machine.name for machine in self.machines)
            raise LabError(f"lab {self.name} has no node {node}; it has {known}")
        return found


class Cluster(NamedTuple):
    """What one network.yaml says, as far as the lab needs it."""

    spec: ClusterNetwork
    facts: Facts


def make_topology(name: str, clusters: Sequence[Cluster]) -> Topology:
    """The lab in which each of the clusters can live, one after the other: nodes of the same name are one machine.

    Raises LabError.
    """
    nodes = _union(clusters)
    if not nodes:
        raise LabError("there is no node: name some under nodes, or give manifests of Nodes with --facts")
    for node in nodes.values():
        if not node.addresses:
            raise LabError(f"node {node.name} has no address ({node.where or 'nobody says one'}); add nodes.{node.name}.address")
        if len(f"{name}-{node.name}-p1".encode()) > MAX_NAME:
            raise LabError(f"the name {name}-{node.name}-p1 is longer than {MAX_NAME} bytes; give the lab a shorter name")
    groups = _groups(list(nodes.values()))
    machines, segments = [], []
    for number, group in enumerate(groups):
        segment = _segment(f"br{number}", group)
        segments.append(segment)
        machines += [_machine(name, node, segment, clusters) for node in group]
    order = list(nodes)
    machines.sort(key=lambda machine: order.index(machine.name))
    nats = tuple(nat for cluster in clusters for nat in _nats(cluster))
    return Topology(name, f"{name}-router", f"{name}-outside", tuple(segments), tuple(machines), tuple(dict.fromkeys(nats)))


def _union(clusters: Iterable[Cluster]) -> dict[str, Node]:
    """Every node of every cluster; one that changes its address has all of them."""
    nodes: dict[str, Node] = {}
    for cluster in clusters:
        for node in cluster.facts.nodes.values():
            known = nodes.get(node.name)
            if known is not None:
                addresses = dict.fromkeys((*known.addresses, *node.addresses))
                node = node._replace(addresses=tuple(addresses), pod_cidrs=tuple(dict.fromkeys((*known.pod_cidrs, *node.pod_cidrs))))
            nodes[node.name] = node
    return nodes


def _with_prefix(address: NodeAddress) -> str:
    return f"{address.address}/{address.prefix or PREFIX[address.family]}"


def _subnets(node: Node) -> set[str]:
    return {str(ip_interface(_with_prefix(address)).network) for address in node.addresses}


def _groups(nodes: Sequence[Node]) -> list[list[Node]]:
    """Nodes that share a subnet of either family are on one wire."""
    groups: list[tuple[set[str], list[Node]]] = []
    for node in nodes:
        subnets, members = _subnets(node), [node]
        apart = []
        for group in groups:
            if group[0] & subnets:
                subnets, members = subnets | group[0], group[1] + members
            else:
                apart.append(group)
        groups = [*apart, (subnets, members)]
    return sorted((group for _, group in groups), key=lambda group: group[0].name)


def _segment(bridge: str, group: Iterable[Node]) -> Segment:
    nodes = list(group)
    taken = {address.address for node in nodes for address in node.addresses}
    subnets = sorted({subnet for node in nodes for subnet in _subnets(node)})
    for subnet in subnets:
        if any(ip_network(subnet).overlaps(ip_interface(world).network) for world in OUTSIDE.values() if (":" in world) is (":" in subnet)):
            raise LabError(f"subnet {subnet} of node {nodes[0].name} is where the lab's outside world is; choose another")
    return Segment(bridge, tuple(_gateway(subnet, taken) for subnet in subnets))


def _gateway(subnet: str, taken: set[str]) -> str:
    """The last address of a subnet that no node has: .254 of a /24, ::fffe of the last 16 bits for IPv6."""
    network = ip_network(subnet)
    last = network.broadcast_address - 1 if network.version == 4 else network.network_address + min(0xFFFE, network.num_addresses - 1)
    while str(last) in taken:
        last -= 1
    if int(last) <= int(network.network_address):
        raise LabError(f"subnet {subnet} has no room for a gateway; the lab needs one")
    return f"{last}/{network.prefixlen}"


def _machine(lab: str, node: Node, segment: Segment, clusters: Sequence[Cluster]) -> Machine:
    addresses = tuple(_with_prefix(address) for address in node.addresses)
    gateways = {ip_interface(gateway).network: gateway.partition("/")[0] for gateway in segment.gateways}
    ways: dict[int, str] = {}
    for address in addresses:
        ways.setdefault(ip_interface(address).version, gateways[ip_interface(address).network])
    uplink, mtu = node.interface or UPLINK, node.mtu or MTU
    return Machine(
        node.name,
        f"{lab}-{node.name}",
        uplink,
        mtu,
        segment.bridge,
        addresses,
        tuple(ways.values()),
        _pods(lab, node, mtu, tuple(ways), clusters),
    )


def _pods(lab: str, node: Node, mtu: int, outside: tuple[int, ...], clusters: Sequence[Cluster]) -> tuple[Pod, ...]:
    """What the facts name on the node; where they name nothing, one pod at the second address of each pod CIDR."""
    first = _pod(lab, node, mtu, outside, clusters)
    if first is None:
        return ()
    known = {pod.key: pod for cluster in clusters for pod in cluster.facts.pods or () if pod.node == node.name and _is_wired(pod)}
    return tuple(_known_pod(lab, node, pod, first) for pod in known.values()) or (first,)


def _is_wired(pod: PodFact) -> bool:
    return bool(pod.addresses) and not pod.host_network and pod.phase not in ("Succeeded", "Failed")


def pod_netns(lab: str, node: str, namespace: str, name: str) -> str:
    """The name of a pod's namespace: no name of Kubernetes has an underscore, so nothing else on the node is called so."""
    return f"{lab}-{node}_{namespace}_{name}"


def _known_pod(lab: str, node: Node, pod: PodFact, like: Pod) -> Pod:
    netns = pod_netns(lab, node.name, pod.namespace, pod.name)
    if len(netns.encode()) > MAX_NAME:
        raise LabError(f"the name {netns} is longer than {MAX_NAME} bytes; give the lab a shorter name")
    addresses = []
    for address in pod.addresses:
        network = next((one for one in map(ip_network, node.pod_cidrs) if ip_address(address) in one), None)
        if network is None or any(gateway.partition("/")[0] == address for gateway in like.gateways):
            cidrs = ", ".join(node.pod_cidrs)
            raise LabError(
                f"{pod.where or pod.key}: {address} is no address for a pod of node {node.name}; "
                f"allowed: one of {cidrs} that is not the bridge's ({', '.join(like.gateways)})"
            )
        addresses.append(f"{address}/{network.prefixlen}")
    return like._replace(netns=netns, name=pod.key, addresses=tuple(addresses))


def _pod(lab: str, node: Node, mtu: int, outside: tuple[int, ...], clusters: Sequence[Cluster]) -> Pod | None:
    gateways, addresses = [], []
    for cidr in (node.pod_cidr(4), node.pod_cidr(6)):
        if cidr is not None:
            network = ip_network(cidr)
            if network.num_addresses < 4:
                raise LabError(f"pod CIDR {cidr} of node {node.name} has no room for a bridge and a pod")
            gateways.append(f"{network.network_address + 1}/{network.prefixlen}")
            addresses.append(f"{network.network_address + 2}/{network.prefixlen}")
    if not addresses:
        return None
    bridge = next((cluster.spec.cni.bridge for cluster in clusters if cluster.spec.cni), "cni0")
    sizes = [_pod_mtu(cluster, node.name, mtu) for cluster in clusters if node.name in cluster.facts.nodes]
    return Pod(f"{lab}-{node.name}-p1", f"{node.name}-p1", node.name, bridge, tuple(gateways), tuple(addresses), min(sizes), outside)


def _pod_mtu(cluster: Cluster, node: str, mtu: int) -> int:
    """What the CNI file that plumbline writes says."""
    facts = cluster.facts._replace(host=Host(UPLINK, mtu))
    found = device_mtu(Context(cluster.spec, facts, node, lambda path: ""))
    return found if isinstance(found, int) else mtu


def _nats(cluster: Cluster) -> Iterable[Nat]:
    nodes: Mapping[str, Node] = cluster.facts.nodes
    port = cluster.spec.fabric.overlay.port if cluster.spec.fabric else 4789
    for node in nodes.values():
        if not node.site:
            continue  # a public address that everybody may use is an address like any other
        for public in node.public_addresses:
            private = node.address(6 if ":" in public.address else 4)
            if private is None or private.address == public.address:
                continue
            site = tuple(
                there.address for peer in nodes.values() if peer.site == node.site and (there := peer.address(private.family)) is not None
            )
            yield Nat(private.address, port, public.address, public.port or port, site)
