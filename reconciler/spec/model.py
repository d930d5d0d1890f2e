"""network.yaml as types: one class per section, the default written once with its reason.

Only the shape lives here, with checks of single values. What concerns several
values (overlaps, duplicates across nodes) is in `lint.py`; where a mistake stands
in the file is `document.py`'s business.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from reconciler.spec.cluster import Cluster, Rollout
from reconciler.spec.cni import Cni
from reconciler.spec.confirm import Confirm
from reconciler.spec.section import Mtu, Section, one_or_many
from reconciler.spec.segments import Membership, Segment, SegmentName
from reconciler.spec.services import Services
from reconciler.spec.underlay import Underlay
from reconciler.spec.values import (
    AddressWithPrefix,
    Cidr,
    InterfaceName,
    NodeName,
    PublicAddress,
    Share,
    Site,
    SysctlName,
)

Addresses = Annotated[list[AddressWithPrefix], BeforeValidator(one_or_many, json_schema_input_type=str | list[str])]
PublicAddresses = Annotated[list[PublicAddress], BeforeValidator(one_or_many, json_schema_input_type=str | list[str])]


class Metadata(Section):
    """Names this network; the name is in logs and metrics, never in the kernel."""

    name: str = "cluster"
    cluster_id: str | None = Field(default=None, alias="clusterID")  # UID of the namespace kube-system: of this cluster and no other


class NodeSpec(Section):
    """What git decides of one node. Whatever is not said here comes from the API or from the node."""

    address: Addresses | None = None  # 10.0.1.11/24; a list for dual stack
    pod_cidrs: list[Cidr] | None = Field(default=None, alias="podCIDRs")
    labels: dict[str, str] | None = None
    site: Site | None = None
    public_address: PublicAddresses | None = None  # 198.51.100.13, 198.51.100.13:14789, [2001:db8::1]:4789
    direct_routing: bool | None = None
    interface: InterfaceName | None = None
    mtu: Mtu | None = None


class Overlay(Section):
    """The tunnel between nodes that share no subnet."""

    type: Literal["vxlan"] = "vxlan"
    device: InterfaceName = "plumb0"
    vni: Annotated[int, Field(ge=1, le=16777215)] = 4096  # above the range that people pick by hand
    port: Annotated[int, Field(ge=1, le=65535)] = 4789  # IANA's for VXLAN; the kernel's own default, 8472, predates it
    mtu: Mtu | Literal["auto"] = "auto"  # auto: the uplink's, less the outer headers
    underlay: Literal["auto", "ipv4", "ipv6"] = "auto"  # family of the outer packets; auto: IPv4 where every node has it
    ttl: Annotated[int, Field(ge=0, le=255)] | Literal["inherit"] = 64
    only_from_nodes: bool = True  # VXLAN knows no senders: the port takes packets of the inventory's nodes only, and none of pods


class Fabric(Section):
    """Pods of every node reach pods of every other node."""

    pod_network: list[Cidr] = Field(default_factory=list)
    mode: Literal["overlay", "direct", "auto", "none"] = "auto"
    overlay: Overlay = Overlay()
    masquerade: bool = True
    forward_accept: bool = False


class SysctlSpec(Section):
    """A kernel parameter for some nodes only."""

    value: int | str | list[int | str]
    node_selector: dict[str, str] = Field(default_factory=dict)  # labels that a node must have, all of them


class Limits(Section):
    """What a single plan may take away without a person's word."""

    max_deletes: Share = "30%"
    floor: Annotated[int, Field(ge=0)] = 20

    @property
    def share(self) -> float:
        """maxDeletes as a number from 0 to 1."""
        return float(self.max_deletes.rstrip("%")) / 100


class ClusterNetwork(Section):
    """The whole of network.yaml."""

    api_version: Literal["plumbline.dev/v1alpha1"]
    kind: Literal["ClusterNetwork"]
    metadata: Metadata = Metadata()
    nodes: dict[NodeName, NodeSpec] = Field(default_factory=dict)
    fabric: Fabric | None = None
    cni: Cni | None = None
    segments: dict[SegmentName, Segment] = Field(default_factory=dict)
    membership: Membership = Membership()
    services: Services | None = None
    underlay: dict[InterfaceName, Underlay] = Field(default_factory=dict)  # by the name of the bridge
    sysctls: dict[SysctlName, int | str | list[int | str] | SysctlSpec] = Field(default_factory=dict)
    resources: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)  # kind → a name for people → the row
    limits: Limits = Limits()
    confirm: Confirm = Confirm()
    cluster: Cluster = Cluster()
    rollout: Rollout = Rollout()
    policy: Literal["none", "external"] = "none"  # who enforces NetworkPolicies: plumbline does not, so nobody unless this says so

    @property
    def devices(self) -> frozenset[str]:
        """The devices of a host that it has to tell of before rows can be made: uplinks and their bridges."""
        return frozenset((*self.underlay, *(one.uplink for one in self.underlay.values())))
