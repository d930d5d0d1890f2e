"""One network device (ip-link(8))."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin, Unknown
from reconciler.kinds.link.bridge import Bridge, BridgePort
from reconciler.kinds.link.gre import Gre, Ip6gre
from reconciler.kinds.link.ipip import Ip6tnl, Ipip, Sit
from reconciler.kinds.link.ipvlan import Ipvlan
from reconciler.kinds.link.macvlan import Macvlan
from reconciler.kinds.link.vlan import Vlan
from reconciler.kinds.link.vrf import Vrf
from reconciler.kinds.link.vxlan import Vxlan
from reconciler.kinds.spelling import Device, Mac, Number

Info = Vxlan | Bridge | Macvlan | Vlan | Ipvlan | Vrf | Ipip | Sit | Ip6tnl | Gre | Ip6gre


class LinkKey(NamedTuple):
    netns: str
    name: Device


class Link(NamedTuple):
    """A device. In a wanted row `None` is "not managed"; types without attributes of their own have no `info`."""

    key: LinkKey
    type: str | None = None  # see `types`; "physical": a NIC, or anything else that is only adopted
    group: int | None = None
    alias: str | None = None
    mac: Mac | None = None
    mtu: Annotated[int, Number(68, 65535)] | Unknown | None = None  # bytes
    up: bool | None = None
    master: Device | None = None  # "" for none
    parent: Device | None = None  # the device below a VLAN, macvlan or ipvlan, or by which a tunnel's packets leave (`dev`); "" for none
    peer: Device | None = None  # the other end of a veth
    info: Info | None = None
    port: BridgePort | None = None  # as a port of its master
    adopt: bool = False  # manage what is stated of a device that somebody else made
    ifindex: int = 0  # handle
    origin: tuple[Origin, ...] = ()
