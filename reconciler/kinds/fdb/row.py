"""One forwarding entry: which destination a MAC is behind (bridge(8), FDB)."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.engine.model import Origin


class FdbKey(NamedTuple):
    """A unicast MAC has one destination; all-zero and multicast ones have many, so theirs is in the key."""

    netns: str
    dev: str
    mac: str
    vlan: int = 0  # 0: none
    to: str = ""  # the destination, for all-zero and multicast MACs only


class Fdb(NamedTuple):
    """An entry with the words of `bridge fdb`."""

    key: FdbKey
    dst: str = ""  # underlay address of a VXLAN peer; "" on a bridge
    port: int = 0  # UDP port of the peer; 0: the device's own
    vni: int = 0  # 0: the device's own
    via: str = "self"  # "self": the device's own table; "master": its bridge's
    origin: tuple[Origin, ...] = ()
