"""One network device (ip-link(8))."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.engine.model import Origin, Unknown
from reconciler.kinds.link.bridge import Bridge, BridgePort
from reconciler.kinds.link.macvlan import Macvlan
from reconciler.kinds.link.vxlan import Vxlan

Info = Vxlan | Bridge | Macvlan


class LinkKey(NamedTuple):
    netns: str
    name: str


class Link(NamedTuple):
    """A device. In a wanted row `None` is "not managed"; types without attributes of their own have no `info`."""

    key: LinkKey
    type: str | None = None  # vxlan, bridge, veth, macvlan, …; "physical": a NIC, or anything else that is only adopted
    group: int | None = None
    alias: str | None = None
    mac: str | None = None
    mtu: int | Unknown | None = None  # bytes
    up: bool | None = None
    master: str | None = None  # "" for none
    parent: str | None = None  # the device below a macvlan, or by which a VXLAN's packets leave; "" for none
    peer: str | None = None  # the other end of a veth
    info: Info | None = None
    port: BridgePort | None = None  # as a port of its master
    adopt: bool = False  # manage what is stated of a device that somebody else made
    ifindex: int = 0  # handle
    origin: tuple[Origin, ...] = ()
