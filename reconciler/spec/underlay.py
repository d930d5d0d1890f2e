"""`underlay:` physical NICs under Linux bridges, with whatever else hangs on these."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from reconciler.kinds.spelling import mac
from reconciler.spec.section import Section
from reconciler.spec.values import Cidr, InterfaceName, NodeName

_DURATION = re.compile(r"(\d+)(s|m|h)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
LONGEST = 86400  # seconds


def duration(value: str) -> str:
    """A time in whole seconds, minutes or hours."""
    match = _DURATION.fullmatch(value)
    if not match or int(match[1]) * _SECONDS[match[2]] > LONGEST:
        raise ValueError(f"{value!r} is no duration; allowed: 0s to 24h, as 0s, 300s, 5m")
    return value


def gateway_address(value: str) -> str:
    """An address without prefix length."""
    try:
        found = ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is no address; allowed: 192.168.1.1 or fd00:1::1, without a prefix length") from None
    if found.is_multicast or found.is_loopback or found.is_unspecified or "%" in value:
        raise ValueError(f"{value!r} cannot be a gateway")
    return str(found)


Duration = Annotated[str, AfterValidator(duration)]
GatewayAddress = Annotated[str, AfterValidator(gateway_address)]
GatewayMac = Annotated[str, AfterValidator(mac)]


class Port(Section):
    """One port of the bridge. With `peer` it is made, as one end of a veth pair; else it is there, the uplink or another one."""

    peer: InterfaceName | None = None  # the other end, for another bridge
    hairpin: bool = False  # kubelets used to switch it on; it sends frames back where they came from
    learning: bool = True
    flood: bool = True
    mcast_flood: bool = True
    bcast_flood: bool = True
    isolated: bool = False
    guard: bool = False
    root_block: bool = False
    fastleave: bool = False
    neigh_suppress: bool = False


class Gateway(Section):
    """The router of one node's subnet: an on-link host route and a permanent neighbour lead to it."""

    mac: GatewayMac
    address: GatewayAddress | None = None  # None: the first one of the first subnet, as routers usually have it
    subnets: list[Cidr] | None = None  # on the bridge's own wire; None: the node's pod CIDRs


class Underlay(Section):
    """One bridge, named by its key. The uplink's addresses and routes move to it, and back when the section goes."""

    uplink: InterfaceName
    adopt: bool = False  # somebody else makes the bridge; only what is stated of it is managed, and nothing moves back
    ageing: Duration = "300s"  # the kernel's own; 0s: nothing is learnt for longer than a packet takes
    vlan_filtering: bool = False
    mcast_snooping: bool = True
    ports: dict[InterfaceName, Port] = Field(default_factory=dict)
    gateways: dict[NodeName, Gateway] = Field(default_factory=dict)
    cluster_subnets: list[Cidr] = Field(default_factory=list)  # by the node's gateway
    filter_vlan_tagged: bool | None = None  # net.bridge.bridge-nf-filter-vlan-tagged; None: not managed
    node_selector: dict[str, str] = Field(default_factory=dict)  # labels that a node must have, all of them

    @property
    def ageing_time(self) -> int:
        """In centiseconds, as the kernel counts."""
        return int(self.ageing[:-1]) * _SECONDS[self.ageing[-1]] * 100

    @model_validator(mode="after")
    def _needs_gateways(self) -> Self:
        if self.cluster_subnets and not self.gateways:
            raise ValueError("clusterSubnets lead by a gateway; say gateways: {NODE: {mac: …}}")
        said = self.ports.get(self.uplink)
        if said is not None and said.peer is not None:
            raise ValueError(f"ports.{self.uplink}.peer: the uplink is there already and has no peer")
        return self
