"""Nodes and hosts as plumbline knows them: our own small types, made from plain dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class NodeAddress(NamedTuple):
    """An address of a node, with the length of its subnet's prefix where that is known."""

    address: str  # shortest form, "10.0.1.11" or "fd00:1::11"
    prefix: int | None  # bits; None: unknown, so nobody is known to share the subnet

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4


class Endpoint(NamedTuple):
    """Where a VXLAN packet for a node is sent from another site: a NAT's outside, perhaps another port."""

    address: str
    port: int | None = None


class Node(NamedTuple):
    """One node of the cluster. Absent values are empty; `None` is "nobody said"."""

    name: str
    addresses: tuple[NodeAddress, ...] = ()  # at most one of each family is used, the first
    pod_cidrs: tuple[str, ...] = ()  # normalised, "10.244.1.0/24"
    labels: Mapping[str, str] = {}  # never changed by anybody
    site: str = ""  # nodes of one site reach each other at `addresses`
    public_addresses: tuple[Endpoint, ...] = ()  # at most one of each family
    direct_routing: bool | None = None
    interface: str | None = None  # the uplink's name; None: only the node knows
    mtu: int | None = None  # of the uplink, bytes; None: only the node knows
    where: str = ""  # who says so, for people: "network.yaml:7" or "nodes.json (Node n2)"

    def address(self, family: int) -> NodeAddress | None:
        """Its address of family 4 or 6."""
        six = family == 6
        for one in self.addresses:
            if (":" in one.address) is six:
                return one
        return None

    def pod_cidr(self, family: int) -> str | None:
        """Its first pod CIDR of family 4 or 6."""
        six = family == 6
        for one in self.pod_cidrs:
            if (":" in one) is six:
                return one
        return None


class Pod(NamedTuple):
    """One pod, as far as networking goes."""

    namespace: str
    name: str
    uid: str = ""  # as the runtime knows it
    node: str = ""  # "": not scheduled yet
    addresses: tuple[str, ...] = ()  # shortest form; at most one of each family
    labels: Mapping[str, str] = {}  # never changed by anybody
    annotations: Mapping[str, str] = {}
    host_network: bool = False
    phase: str = ""  # Pending, Running, Succeeded, Failed, Unknown
    where: str = ""  # who says so, for people: "pods.yaml (Pod default/a)"

    @property
    def key(self) -> str:
        """ "default/a": what people call it."""
        return f"{self.namespace}/{self.name}"

    def address(self, family: int) -> str:
        """Its address of family 4 or 6; "" where it has none."""
        return next((one for one in self.addresses if (":" in one) is (family == 6)), "")


class ServicePort(NamedTuple):
    """One port of a service."""

    name: str  # "" where it has only one
    protocol: str  # "TCP", "UDP", "SCTP"
    port: int
    node_port: int = 0  # 0: none


class Backend(NamedTuple):
    """One endpoint of a slice, with its conditions as kube-proxy reads them: what is not said follows from the others."""

    address: str  # shortest form; of those that it lists, the first
    node: str = ""  # "": nobody said
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zones: tuple[str, ...] = ()  # hints: for whose clients it is meant
    nodes: tuple[str, ...] = ()


class EndpointSlice(NamedTuple):
    """Some endpoints of a service, all of one family and with the same ports."""

    name: str  # "default/web-x7k2p"
    service: str  # "default/web"
    ports: tuple[tuple[str, str, int], ...]  # name, protocol, number
    backends: tuple[Backend, ...]
    where: str = ""  # who says so, for people: "services.yaml (EndpointSlice default/web-x7k2p)"


class Service(NamedTuple):
    """One service with its endpoints, as far as a node's data path goes."""

    namespace: str
    name: str
    type: str = "ClusterIP"  # ClusterIP, NodePort, LoadBalancer, ExternalName
    cluster_ips: tuple[str, ...] = ()  # shortest form; none where it is headless
    ports: tuple[ServicePort, ...] = ()
    external_ips: tuple[str, ...] = ()
    ingress_ips: tuple[str, ...] = ()  # of its load balancer, those of ipMode VIP
    external_local: bool = False  # externalTrafficPolicy: Local
    internal_local: bool = False  # internalTrafficPolicy: Local
    affinity: int = 0  # seconds that a client stays with its backend; 0: it need not
    health_check_port: int = 0  # 0: none
    source_ranges: tuple[str, ...] = ()  # who may come to its load balancer; none: everybody
    proxy: str = ""  # label service.kubernetes.io/service-proxy-name: somebody else serves it
    slices: tuple[EndpointSlice, ...] = ()
    where: str = ""  # who says so, for people: "services.yaml (Service default/web)"

    @property
    def key(self) -> str:
        """ "default/web": what people call it."""
        return f"{self.namespace}/{self.name}"


class HostRoute(NamedTuple):
    """A default route of the host and who made it."""

    family: int  # 4 or 6
    via: str
    dev: str
    protocol: str  # as iproute2 names it: "static", "dhcp", "ra", "kernel", ...


class Manager(NamedTuple):
    """Somebody on the host who keeps a device's addresses, and how he lets go of it."""

    who: str  # "systemd-networkd", "a DHCP client"
    evidence: str  # how it shows: file and line, process, address
    remedy: str  # the very drop-in or command


class Device(NamedTuple):
    """What a device of the host carries: rows of the kinds as they were observed, which is what makes them this and no other."""

    link: Any
    addresses: tuple[Any, ...] = ()  # stated ones; not those of router advertisements and leases
    routes: tuple[Any, ...] = ()  # over it, of every table, but the kernel's own
    neighbours: tuple[Any, ...] = ()  # permanent ones
    nexthops: tuple[str, ...] = ()  # numbers of nexthop objects that lead over it
    settings: Mapping[str, str] = {}  # its sysctls that are otherwise than a new device has them: "ipv4.rp_filter" to "2"
    accept_ra: str = ""  # "" where it has no IPv6
    managers: tuple[Manager, ...] = ()


class Host(NamedTuple):
    """What only the node itself can tell."""

    uplink: str  # device that carries the node's address
    mtu: int  # of the uplink, bytes
    default_routes: tuple[HostRoute, ...] = ()
    ipv6: bool = True  # False where IPv6 is switched off (net.ipv6.conf.all.disable_ipv6)
    root: str = ""  # folder that stands for / in `file` rows (a lab's node); empty on a real one
    devices: Mapping[str, Device] = {}  # those that the spec names as uplinks and their bridges, and those that once were
    namespaces: Mapping[str, str] = {}  # of pods here, "default/a" to the namespace's name or path
    objects: Mapping[str, str] = {}  # of eBPF that came with this plumbline, "stub" to the sha256 of the file; none: it came without
    links: tuple[str, ...] = ()  # devices that match what the spec names by a pattern
    addresses: tuple[str, ...] = ()  # of its devices that others reach; only where services need them
    attached: Mapping[str, tuple[str, ...]] = {}  # pods here that the runtime just connected, "default/a" to the addresses they got
    settled: bool = True  # a round has converged since it booted: its pods may start
    astray: tuple[str, ...] = ()  # addresses of this node that none of its devices holds
    netns_cookie: int = 0  # SO_NETNS_COOKIE of its network namespace (socket(7)); 0: not asked
    tells_sources: bool = True  # False: its eBPF programs cannot ask which source address it would choose (before Linux 6.7)
    passing_bpffs: bool = False  # the BPF file system of services is this container's own, and goes with it


class Facts(NamedTuple):
    """Everything that intents may know besides the spec."""

    nodes: Mapping[str, Node]
    host: Host | None = None  # None: offline, or not asked
    pods: tuple[Pod, ...] | None = None  # None: nobody said which there are, which is not the same as none
    services: tuple[Service, ...] | None = None  # likewise
    cluster_id: str = ""  # UID of the namespace kube-system; "": nobody said
