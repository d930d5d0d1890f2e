"""`services:` ClusterIP, NodePort and the like, in eBPF."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from reconciler.spec.section import Section, one_or_many
from reconciler.spec.values import Cidr, Folder, interface_name

_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})")
_WILD = re.compile(r"[A-Za-z0-9_.@*?-]{1,15}")


def device_pattern(value: str) -> str:
    """The name of a device, or a pattern of names as shells have it."""
    if "*" not in value and "?" not in value:
        return interface_name(value)
    if not _WILD.fullmatch(value) or value[0] in "-.":
        raise ValueError(f"{value!r} is no pattern of device names; allowed: eth*, bond?, ens*; {{role: uplink}} for the node's uplink")
    return value


def port_range(value: str) -> str:
    """Ports from one to another, both included."""
    match = _RANGE.fullmatch(value)
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= 65535:
        raise ValueError(
            f"{value!r} is no range of ports; allowed: 30000-32767, what the API server is told with --service-node-port-range"
        )
    return value


DevicePattern = Annotated[str, AfterValidator(device_pattern)]
PortRange = Annotated[str, AfterValidator(port_range)]
Cidrs = Annotated[list[Cidr], BeforeValidator(one_or_many, json_schema_input_type=str | list[str])]


class DeviceRole(Section):
    """A device by what it is on every node, whatever it is called there."""

    role: Literal["uplink"]


_UPLINK: tuple[DevicePattern | DeviceRole, ...] = (DeviceRole(role="uplink"),)


class NodePorts(Section):
    """How services are reached from outside: by node ports, external IPs and addresses of load balancers."""

    devices: list[DevicePattern | DeviceRole] = Field(default_factory=lambda: [*_UPLINK])  # by which clients come
    range: PortRange = "30000-32767"  # the API server's own default
    addresses: Cidrs | None = None  # those of the node's addresses that lie in these networks; None: those that the cluster knows it by
    loopback: bool = True  # processes of the node itself reach node ports at 127.0.0.1 and ::1

    @property
    def ports(self) -> tuple[int, int]:
        """The first and the last port of the range."""
        first, _, last = self.range.partition("-")
        return int(first), int(last)


class Services(Section):
    """Kubernetes services without kube-proxy. Beside it, its rules simply find nothing left to do."""

    cluster_ip: Literal["socket"] = Field(default="socket", alias="clusterIP")  # translated once, when a socket connects
    node_port: NodePorts | Literal["none"] = NodePorts()
    networks: Cidrs = Field(default_factory=list)  # of ClusterIPs, as the API server is told; only to be checked against others
    bpffs: Folder = "/sys/fs/bpf"
    cgroup: Folder = "/sys/fs/cgroup"  # whose processes see services: cgroup2's root has all of them
    max_backends: Annotated[int, Field(ge=1, le=1 << 24)] = 1 << 18  # over all services; memory is taken for those that are there
    max_fronts: Annotated[int, Field(ge=1, le=1 << 22)] = 1 << 16  # address, protocol and port each
    max_flows: Annotated[int, Field(ge=1024, le=1 << 24)] = 1 << 17  # entries of flows from outside, three for each; 200 bytes each
    max_sockets: Annotated[int, Field(ge=1024, le=1 << 24)] = 1 << 16  # UDP sockets, and TCP ones whose peer's name is remembered
    node_selector: dict[str, str] = Field(default_factory=dict)  # labels that a node must have, all of them

    @property
    def patterns(self) -> tuple[str, ...]:
        """What devices are called like, where they are not named."""
        devices = self.node_port.devices if isinstance(self.node_port, NodePorts) else []
        return tuple(one for one in devices if isinstance(one, str) and ("*" in one or "?" in one))
