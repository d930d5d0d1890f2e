"""A client outside, two nodes and their pods: what packets need to get lost in.

    client ── wire (router) ── a ── poda          a and b: by VXLAN, or directly
                        └───── b ── podb

The programs are on every device of both nodes, each with maps of its own; services are those of node a. Each machine is
a namespace; a socket made in one stays there.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import itertools
import os
import shutil
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple

from reconciler.kernel.netns import entered
from tests.bpf.node import OUTSIDE, TCP, Endpoint, address, backend
from tests.bpf.objects import MAPS, create_maps, load
from tests.bpf.pinned import Map, opened, possible_cpus
from tests.namespaces import sh

MACHINES = ("wire", "client", "a", "b", "poda", "podb")
ALL, NONE, ALL_BUT_THE_NODE = MACHINES, (), tuple(one for one in MACHINES if one != "a")
DEVICES = ("eth0", "plumb0", "cni0")
SECONDS = 10.0
HERE, KEEP_CLIENT, DROP_EMPTY = 1, 1, 2  # enum pl_backend_flags, pl_service_flags
COMES_IN, IN_BETWEEN, GOES_OUT = range(3)  # enum pl_where
NO_BACKEND, NO_FIRST_FRAGMENT, MALFORMED, NO_PORT, NO_SOURCE, MAP_FULL, NO_FLOW, NO_RANGE = REASONS = range(8)  # enum pl_drop
IN_RANGES, RANGED = 3, 4  # enum pl_scope, pl_service_flags
SOURCE_PORTS = range(61000, 65536)  # PL_SOURCE_PORTS and its end
OVERLAY_MTU = 1450
FLOWS = 8192  # entries of pl_flow_1
SIOCETHTOOL = 0x8946  # include/uapi/linux/sockios.h
OFFLOADS = (0x15, 0x17, 0x1F, 0x24, 0x2C)  # rx and tx checksums, TSO, GSO, GRO: include/uapi/linux/ethtool.h
DEVICE_MAPS = ("pl_front_1", "pl_back_1", "pl_range_1", "pl_count_1", "pl_drop_1", "pl_affin_1", "pl_flow_1", "pl_frag_1", "pl_j_tc_1")

_numbers = itertools.count()


def within(number: int, network: str) -> bytes:
    """struct pl_range."""
    one = ip_network(network)
    return struct.pack("=II", 32 + one.prefixlen + (96 if one.version == 4 else 0), number) + address(str(one.network_address))


class Family(NamedTuple):
    """Who has which address, in one of both families."""

    name: str
    domain: socket.AddressFamily
    client: str
    second_client: str  # of the same machine
    client_net: str
    router: str  # of the nodes' network
    node: str  # a's address at its NIC, where its NodePorts are
    other: str  # b's address at its NIC
    vtep: str  # what a speaks from on the overlay
    near: str  # a's pod
    near_gateway: str  # a itself, on the bridge
    far: tuple[str, str]  # b's pods, both in one namespace
    far_net: str
    near_net: str
    header: int  # bytes of an IP header


IPV4 = Family(
    "ipv4",
    socket.AF_INET,
    "198.51.100.10",
    "198.51.100.11",
    "198.51.100.0/24",
    "10.0.1.1",
    "10.0.1.11",
    "10.0.1.12",
    "10.244.1.0",
    "10.244.1.2",
    "10.244.1.1",
    ("10.244.2.2", "10.244.2.3"),
    "10.244.2.0/24",
    "10.244.1.0/24",
    20,
)
IPV6 = Family(
    "ipv6",
    socket.AF_INET6,
    "2001:db8:100::10",
    "2001:db8:100::11",
    "2001:db8:100::/64",
    "fd00:1::1",
    "fd00:1::11",
    "fd00:1::12",
    "fd02:1::1",
    "fd02:1::2",
    "fd02:1::1",
    ("fd02:2::2", "fd02:2::3"),
    "fd02:2::/64",
    "fd02:1::/64",
    40,
)

_WIRE = """
link add eth-c type veth peer name eth0 netns {client}
link add br0 address 02:00:00:00:01:01 type bridge forward_delay 0
link add eth-a type veth peer name eth0 netns {a}
link add eth-b type veth peer name eth0 netns {b}
link set eth-a master br0
link set eth-b master br0
link set eth-a up
link set eth-b up
link set eth-c up
link set br0 up
addr add 198.51.100.1/24 dev eth-c
addr add 2001:db8:100::1/64 dev eth-c nodad
addr add 10.0.1.1/24 dev br0
addr add fd00:1::1/64 dev br0 nodad
"""
_CLIENT = """
link set eth0 up
addr add 198.51.100.10/24 dev eth0
addr add 198.51.100.11/24 dev eth0
addr add 2001:db8:100::10/64 dev eth0 nodad
addr add 2001:db8:100::11/64 dev eth0 nodad
route add default via 198.51.100.1
route add default via 2001:db8:100::1
"""
_NODE = """
link set eth0 address 02:00:00:00:01:1{own} up
addr add 10.0.1.1{own}/24 dev eth0
addr add fd00:1::1{own}/64 dev eth0 nodad
route add default via 10.0.1.1
route add default via fd00:1::1
link add plumb0 address 0a:00:00:00:00:0{own} type vxlan id 4096 local 10.0.1.1{own} dstport 4789 nolearning
link set plumb0 mtu 1450 up
addr add 10.244.{own}.0/32 dev plumb0
link add cni0 type bridge forward_delay 0
addr add 10.244.{own}.1/24 dev cni0
addr add fd02:{own}::1/64 dev cni0 nodad
link add pod type veth peer name eth0 netns {pod}
link set pod master cni0 up
link set cni0 up
neigh add 10.244.{peer}.0 lladdr 0a:00:00:00:00:0{peer} dev plumb0 nud permanent
neigh add fe80::{peer} lladdr 0a:00:00:00:00:0{peer} dev plumb0 nud permanent
"""
_POD = """
link set eth0 up
addr add 10.244.{own}.2/24 dev eth0
addr add 10.244.{own}.3/24 dev eth0
addr add fd02:{own}::2/64 dev eth0 nodad
addr add fd02:{own}::3/64 dev eth0 nodad
route add default via 10.244.{own}.1
route add default via fd02:{own}::1
"""
_OVERLAY = """
route replace 10.244.{peer}.0/24 via 10.244.{peer}.0 dev plumb0 onlink mtu 1450
route replace fd02:{peer}::/64 via fe80::{peer} dev plumb0 mtu 1450
"""
_DIRECT = """
route replace 10.244.{peer}.0/24 via 10.0.1.1{peer} dev eth0
route replace fd02:{peer}::/64 via fd00:1::1{peer} dev eth0
"""


def _ethtool(asking: socket.socket, device: str, command: int, value: int) -> None:
    words = ctypes.create_string_buffer(struct.pack("=II", command, value))
    try:
        fcntl.ioctl(asking, SIOCETHTOOL, struct.pack("=16sQ", device.encode(), ctypes.addressof(words)))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:  # this sort of device has no such thing
            raise


class Site:
    """The machines, the loaded programs, and rows of services as a plan would write them."""

    def __init__(self, names: dict[str, str], root: Path, objects: Path) -> None:
        self.names = names
        self.root = root
        maps = {name: one for name, one in MAPS.items() if name in DEVICE_MAPS or name.startswith("pl_j_")}
        create_maps(root, maps | {"pl_flow_1": maps["pl_flow_1"]._replace(entries=FLOWS)})
        self.stub, self.device = load(root, objects / "stub.o"), load(root, objects / "device.o")
        wide = possible_cpus()
        self.maps = {
            name: Map(root / "maps" / name, MAPS[name].key, MAPS[name].value * (wide if MAPS[name].type.startswith("percpu") else 1))
            for name in DEVICE_MAPS
        }
        self._ids = itertools.count(1)
        self._dropped: dict[int, int] = {}
        self._stands: dict[str, object] = {}

    # Machines

    def sh(self, machine: str, script: str) -> str:
        with entered(self.names[machine]):
            return sh(script)

    def ip(self, machine: str, lines: str) -> None:
        self.sh(machine, f"ip -batch - <<'E'\n{lines.format(**self.names)}\nE\n")

    def sysctl(self, machine: str, name: str, value: int) -> None:
        with entered(self.names[machine]):
            Path("/proc/sys/net", name).write_text(str(value))

    def new_socket(self, machine: str, family: Family, proto: int) -> socket.socket:
        with entered(self.names[machine]):
            made = socket.socket(family.domain, socket.SOCK_STREAM if proto == TCP else socket.SOCK_DGRAM)
        made.settimeout(SECONDS)
        return made

    def listener(self, machine: str, family: Family, proto: int, at: Endpoint) -> socket.socket:
        made = self.new_socket(machine, family, proto)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(at)
        if proto == TCP:
            made.listen(512)
        return made

    def raw(self, machine: str, device: str) -> socket.socket:
        """Whole frames, both ways."""
        with entered(self.names[machine]):
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            made.bind((device, 0))
        made.settimeout(SECONDS)
        return made

    def _changes(self, what: str, value: object) -> bool:
        """Whether it is not so already."""
        before, self._stands[what] = self._stands.get(what), value
        return before != value

    def route(self, transport: str) -> None:
        """How the nodes reach each other's pods: overlay or direct."""
        if not self._changes("route", transport):
            return
        for machine, peer in (("a", 2), ("b", 1)):
            self.ip(machine, (_OVERLAY if transport == "overlay" else _DIRECT).format(peer=peer))

    def offloads(self, on: Sequence[str]) -> None:
        """Checksums and segments by these machines' devices, as far as these have any, else by whoever sends (ethtool -K)."""
        if not self._changes("offloads", on):
            return
        for machine in MACHINES:
            with entered(self.names[machine]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                for index, name in socket.if_nameindex():
                    for command in OFFLOADS if index > 1 else ():
                        _ethtool(asking, name, command, int(machine in on))

    def reverse_path_filter(self, value: int) -> None:
        if not self._changes("rp_filter", value):
            return
        for machine in ("a", "b", "wire"):
            with entered(self.names[machine]):
                for one in Path("/proc/sys/net/ipv4/conf").iterdir():
                    (one / "rp_filter").write_text(str(value))

    # Rows

    def service(
        self,
        at: Endpoint,
        proto: int,
        backends: Sequence[Endpoint],
        *,
        here: bool = False,
        affinity: int = 0,
        flags: int = 0,
        number: int = 0,
    ) -> int:
        """A front and its list; the list's id, which is a new one unless `number` gives it."""
        number = number or next(self._ids)
        for slot, one in enumerate(backends):
            self.maps["pl_back_1"][struct.pack("=II", number, slot)] = backend(*one, HERE if here else 0)
        front = address(at.address) + struct.pack("!HBB", at.port, proto, OUTSIDE)
        self.maps["pl_front_1"][front] = struct.pack("=IIII", number, len(backends), affinity, flags)
        return number

    def gate(
        self, at: Endpoint, proto: int, ranges: int, networks: Sequence[str], behind: int, *, backends: int = 1, flags: int = 0
    ) -> None:
        """A front for clients of these networks alone, who get to the list `behind`; in the order of a plan."""
        for one in networks:
            self.maps["pl_range_1"][within(ranges, one)] = bytes(4)
        place = struct.pack("!HB", at.port, proto)
        self.maps["pl_front_1"][struct.pack("=I12x", ranges) + place + bytes((IN_RANGES,))] = struct.pack(
            "=IIII", behind, backends, 0, flags
        )
        self.maps["pl_front_1"][address(at.address) + place + bytes((OUTSIDE,))] = struct.pack("=IIII", ranges, 0, 0, RANGED)

    def forget_ranges(self, number: int) -> None:
        """What a plan does last, after another front took the place of one that named them."""
        for key in [key for key in self.maps["pl_front_1"] if key[:4] + key[19:] == struct.pack("=IB", number, IN_RANGES)]:
            del self.maps["pl_front_1"][key]
        for key in [key for key in self.maps["pl_range_1"] if key[4:8] == struct.pack("=I", number)]:
            del self.maps["pl_range_1"][key]

    def put_programs(self, folder: Path | None = None) -> None:
        for slot, name in enumerate(("ingress", "egress")):
            program = opened((folder or self.device) / name)
            self.maps["pl_j_tc_1"][struct.pack("=I", slot)] = struct.pack("=i", program)
            os.close(program)

    def dropped(self, reason: int) -> int:
        return self._drops(reason) - self._dropped.get(reason, 0)

    def all_dropped(self) -> dict[int, int]:
        return {reason: count for reason in REASONS if (count := self.dropped(reason))}

    def _drops(self, reason: int) -> int:
        return sum(struct.unpack(f"={possible_cpus()}Q", self.maps["pl_drop_1"][struct.pack("=I", reason)]))

    def counted(self, number: int) -> tuple[int, int, int]:
        """Connections, packets and bytes of a list."""
        try:
            cells = struct.unpack(f"={3 * possible_cpus()}Q", self.maps["pl_count_1"][struct.pack("=I", number)])
        except KeyError:
            return 0, 0, 0
        return sum(cells[0::3]), sum(cells[1::3]), sum(cells[2::3])

    def begin(self) -> None:
        """As it is before a test: no service, no flow, the usual routes."""
        for name in ("pl_front_1", "pl_back_1", "pl_range_1", "pl_count_1", "pl_affin_1", "pl_flow_1", "pl_frag_1"):
            self.maps[name].clear()
        self._dropped = {reason: self._drops(reason) for reason in REASONS}
        self.route("overlay")
        self.offloads(ALL)
        self.reverse_path_filter(1)

    def close(self) -> None:
        for one in self.maps.values():
            one.close()


def _forward(site: Site) -> None:
    for machine in ("wire", "a", "b"):
        site.sysctl(machine, "ipv4/ip_forward", 1)
        site.sysctl(machine, "ipv6/conf/all/forwarding", 1)


def _build(site: Site) -> None:
    for machine in MACHINES:  # addresses are there at once
        for name in ("accept_dad", "dad_transmits"):
            site.sysctl(machine, f"ipv6/conf/default/{name}", 0)
    site.ip("wire", _WIRE)
    for machine, pod, own, peer in (("a", "poda", 1, 2), ("b", "podb", 2, 1)):
        site.ip(machine, _NODE.format(own=own, peer=peer, pod=site.names[pod]))
        site.sh(
            machine,
            f"bridge fdb append 0a:00:00:00:00:0{peer} dev plumb0 dst 10.0.1.1{peer} self permanent\nip addr add fe80::{own}/64 dev plumb0 nodad",
        )
        site.ip(pod, _POD.format(own=own))
    site.ip("client", _CLIENT)
    _forward(site)
    site.route("overlay")


def _attach(site: Site, machine: str, stub: Path) -> None:
    lines = []
    for device in DEVICES:
        lines.append(f"tc qdisc add dev {device} clsact")
        for way in ("ingress", "egress"):
            lines.append(f"tc filter add dev {device} {way} protocol all prio 94 handle 0x94 bpf da pinned {stub / way}")
    site.sh(machine, "\n".join(lines))


@contextmanager
def site_of_its_own(root: Path, objects: Path) -> Iterator[Site]:
    prefix = f"plt-{os.getpid()}-d{next(_numbers)}"
    names = {machine: f"{prefix}-{machine}" for machine in MACHINES}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        sh("\n".join(f"ip netns add {name}; ip -n {name} link set lo up" for name in names.values()))
        stack.callback(sh, "\n".join(f"ip netns del {name}" for name in names.values()))
        site, other = (stack.enter_context(closing(Site(names, folder, objects))) for folder in (root, root / "other"))
        _build(site)
        for machine, one in (("a", site), ("b", other)):
            one.put_programs()
            _attach(site, machine, one.stub)
        yield site
