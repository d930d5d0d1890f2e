"""network.yaml as types: one class per section, the default written once with its reason.

Only the shape lives here, with checks of single values. What concerns several
values (overlaps, duplicates across nodes) is in `lint.py`; where a mistake stands
in the file is `document.py`'s business.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """camelCase in the file, unknown keys are errors, values are immutable and strictly typed."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True)


class Metadata(Section):
    """Names this network; the name is in logs and metrics, never in the kernel."""

    name: str = "cluster"


class NodeSpec(Section):
    """What git decides of one node. Whatever is not said here comes from the API or from the node."""

    address: str | list[str] | None = None  # 10.0.1.11/24; a list for dual stack
    pod_cidrs: list[str] | None = Field(default=None, alias="podCIDRs")
    labels: dict[str, str] | None = None
    site: str | None = None
    public_address: str | list[str] | None = None  # 198.51.100.13, 198.51.100.13:14789, [2001:db8::1]:4789
    direct_routing: bool | None = None
    interface: str | None = None
    mtu: int | None = None


class Overlay(Section):
    """The tunnel between nodes that share no subnet."""

    type: Literal["vxlan"] = "vxlan"
    device: str = "plumb0"
    vni: int = 4096  # above the range that people pick by hand
    port: int = 4789  # IANA's for VXLAN; the kernel's own default, 8472, predates it
    mtu: int | Literal["auto"] = "auto"  # auto: the uplink's, less the outer headers
    underlay: Literal["auto", "ipv4", "ipv6"] = "auto"  # family of the outer packets; auto: IPv4 where every node has it
    ttl: int | Literal["inherit"] = 64


class Fabric(Section):
    """Pods of every node reach pods of every other node."""

    pod_network: list[str] = Field(default_factory=list)
    mode: Literal["overlay", "direct", "auto", "none"] = "auto"
    overlay: Overlay = Overlay()
    masquerade: bool = True
    forward_accept: bool = False


class Cni(Section):
    """The file that tells the container runtime how to connect pods."""

    file: str = "10-plumbline.conflist"
    conf_dir: str = "/etc/cni/net.d"
    bin_dir: str = "/opt/cni/bin"
    bridge: str = "cni0"
    name: str = "plumbline"


class Limits(Section):
    """What a single plan may take away without a person's word."""

    max_deletes: str = "30%"
    floor: int = 20


class ClusterNetwork(Section):
    """The whole of network.yaml."""

    api_version: Literal["plumbline.dev/v1alpha1"]
    kind: Literal["ClusterNetwork"]
    metadata: Metadata = Metadata()
    nodes: dict[str, NodeSpec] = Field(default_factory=dict)
    fabric: Fabric | None = None
    cni: Cni | None = None
    sysctls: dict[str, Any] = Field(default_factory=dict)
    resources: dict[str, Any] = Field(default_factory=dict)
    limits: Limits = Limits()
