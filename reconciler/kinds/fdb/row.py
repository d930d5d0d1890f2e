"""One forwarding entry: which destination a MAC is behind (bridge(8), FDB)."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.spelling import U16, U24, Device, Ip, Mac, Vlan, one_of


class FdbKey(NamedTuple):
    """A unicast MAC has one destination; all-zero and multicast ones have many, so theirs is in the key."""

    netns: str
    dev: Device
    mac: Mac
    vlan: Vlan = 0  # 0: none
    to: Ip = ""  # the destination, for all-zero and multicast MACs only


class Fdb(NamedTuple):
    """An entry with the words of `bridge fdb`."""

    key: FdbKey
    dst: Ip = ""  # underlay address of a VXLAN peer; "" on a bridge
    port: U16 = 0  # UDP port of the peer; 0: the device's own
    vni: U24 = 0  # 0: the device's own
    via: Annotated[str, one_of("self", "master")] = "self"  # "self": the device's own table; "master": its bridge's
    adopt: bool = False  # manage what is stated of one that somebody else made
    origin: tuple[Origin, ...] = ()
