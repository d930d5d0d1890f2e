"""VLAN devices (ip-link(8), IEEE 802.1Q)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from reconciler.kinds.link.codec import Slot, named, read
from reconciler.kinds.spelling import Number, one_of
from reconciler.kinds.spelling import Vlan as VlanId
from reconciler.wire import netlink as wire


class Qos(NamedTuple):
    """One pair of a map between the priority of packets in the node (skb priority) and the one in the tag (PCP)."""

    priority: int
    pcp: Annotated[int, Number(0, 7)]


class Vlan(NamedTuple):
    """Attributes with the kernel's defaults, in the words of `ip link`. `parent` is the device that the tagged packets leave by."""

    id: VlanId = 0
    protocol: Annotated[str, one_of("802.1Q", "802.1ad")] = "802.1Q"
    reorder_hdr: bool = True
    gvrp: bool = False
    mvrp: bool = False
    loose_binding: bool = False
    bridge_binding: bool = False
    ingress_qos_map: tuple[Qos, ...] = ()  # by PCP; what goes to priority 0 is the default, and not said
    egress_qos_map: tuple[Qos, ...] = ()  # by priority; what goes to PCP 0 is the default, and not said


_MAPPING = struct.Struct("=HHII")  # nlattr, then struct ifla_vlan_qos_mapping: from, to
_FLAGS = {"reorder_hdr": 0x1, "gvrp": 0x2, "loose_binding": 0x4, "mvrp": 0x8, "bridge_binding": 0x10}  # include/uapi/linux/if_vlan.h
_FLAGS_ATTRIBUTE = 2  # IFLA_VLAN_FLAGS: struct ifla_vlan_flags: flags, mask


def _pairs(payload: bytes) -> list[tuple[int, int]]:
    return [(source, target) for _, _, source, target in _MAPPING.iter_unpack(payload)]


TABLE = {
    "id": Slot(1, wire.u16),
    "egress_qos_map": Slot(3, lambda payload: _by_priority(Qos(priority, pcp) for priority, pcp in _pairs(payload))),
    "ingress_qos_map": Slot(4, lambda payload: _by_pcp(Qos(priority, pcp) for pcp, priority in _pairs(payload))),
    "protocol": Slot(5, named({0x8100: "802.1Q", 0x88A8: "802.1ad"}, wire.be16)),
}


def _by_priority(found: Any) -> tuple[Qos, ...]:
    return tuple(sorted(one for one in found if one.pcp))


def _by_pcp(found: Any) -> tuple[Qos, ...]:
    return tuple(sorted((one for one in found if one.priority), key=lambda one: one.pcp))


def decode(found: Mapping[int, bytes]) -> Vlan:
    """From the attributes of IFLA_INFO_DATA."""
    flags = wire.u32(found[_FLAGS_ATTRIBUTE]) if _FLAGS_ATTRIBUTE in found else 0  # not told when there are none
    return Vlan(**(read(TABLE, found) | {name: bool(flags & bit) for name, bit in _FLAGS.items()}))


def normal(info: Vlan) -> Vlan:
    """The maps in the order that the kernel tells them in, without what is the default."""
    changes: dict[str, Any] = {}
    if info.egress_qos_map is not None:
        changes["egress_qos_map"] = _by_priority(info.egress_qos_map)
    if info.ingress_qos_map is not None:
        changes["ingress_qos_map"] = _by_pcp(info.ingress_qos_map)
    return info._replace(**changes)


def fixed(old: Vlan, new: Vlan) -> str | None:
    """Why one cannot become the other in place: `ip link set … type vlan id N` exits 0 and does nothing."""
    if new.id not in (None, old.id):
        return "the id of a VLAN device cannot change in place"
    if new.protocol not in (None, old.protocol):
        return "the protocol of a VLAN device cannot change in place"
    return None
