"""Bridges and their ports (ip-link(8), bridge(8), IEEE 802.1D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from reconciler.kinds.link.codec import Slot, flag, flag32, named, read
from reconciler.kinds.spelling import U8, U16, Number, one_of
from reconciler.wire import netlink as wire


class Bridge(NamedTuple):
    """Attributes with the kernel's defaults, in the words and units of `ip link` (times in centiseconds)."""

    ageing_time: int = 30000
    forward_delay: int = 1500
    hello_time: int = 200
    max_age: int = 2000
    stp_state: bool = False
    priority: U16 = 32768
    vlan_filtering: bool = False
    vlan_protocol: Annotated[str, one_of("802.1Q", "802.1ad")] = "802.1Q"
    vlan_default_pvid: Annotated[int, Number(0, 4094)] = 1
    vlan_stats_enabled: bool = False
    group_fwd_mask: U16 = 0
    mcast_snooping: bool = True
    mcast_router: U8 = 1
    mcast_query_use_ifaddr: bool = False
    mcast_querier: bool = False
    mcast_hash_max: int = 4096
    mcast_last_member_count: int = 2
    mcast_startup_query_count: int = 2
    mcast_last_member_interval: int = 100
    mcast_membership_interval: int = 26000
    mcast_querier_interval: int = 25500
    mcast_query_interval: int = 12500
    mcast_query_response_interval: int = 1000
    mcast_startup_query_interval: int | None = None  # the kernel's default depends on HZ; None: not managed
    mcast_stats_enabled: bool = False
    mcast_igmp_version: Annotated[int, Number(2, 3)] = 2
    mcast_mld_version: Annotated[int, Number(1, 2)] = 1
    nf_call_iptables: bool = False
    nf_call_ip6tables: bool = False
    nf_call_arptables: bool = False


TABLE = {
    "forward_delay": Slot(1, wire.u32),
    "hello_time": Slot(2, wire.u32),
    "max_age": Slot(3, wire.u32),
    "ageing_time": Slot(4, wire.u32),
    "stp_state": Slot(5, flag32),
    "priority": Slot(6, wire.u16),
    "vlan_filtering": Slot(7, flag),
    "vlan_protocol": Slot(8, named({0x8100: "802.1Q", 0x88A8: "802.1ad"}, wire.be16)),
    "group_fwd_mask": Slot(9, wire.u16),
    "mcast_router": Slot(22, wire.u8),
    "mcast_snooping": Slot(23, flag),
    "mcast_query_use_ifaddr": Slot(24, flag),
    "mcast_querier": Slot(25, flag),
    "mcast_hash_max": Slot(27, wire.u32),
    "mcast_last_member_count": Slot(28, wire.u32),
    "mcast_startup_query_count": Slot(29, wire.u32),
    "mcast_last_member_interval": Slot(30, wire.u64),
    "mcast_membership_interval": Slot(31, wire.u64),
    "mcast_querier_interval": Slot(32, wire.u64),
    "mcast_query_interval": Slot(33, wire.u64),
    "mcast_query_response_interval": Slot(34, wire.u64),
    "mcast_startup_query_interval": Slot(35, wire.u64),
    "nf_call_iptables": Slot(36, flag),
    "nf_call_ip6tables": Slot(37, flag),
    "nf_call_arptables": Slot(38, flag),
    "vlan_default_pvid": Slot(39, wire.u16),
    "vlan_stats_enabled": Slot(41, flag),
    "mcast_stats_enabled": Slot(42, flag),
    "mcast_igmp_version": Slot(43, wire.u8),
    "mcast_mld_version": Slot(44, wire.u8),
}


class BridgePort(NamedTuple):
    """Attributes of a port with the kernel's defaults, in the words of `ip link … type bridge_slave`.

    `priority`, `cost` and `state` follow from speed and STP unless they are stated.
    """

    hairpin: bool = False
    guard: bool = False
    root_block: bool = False
    fastleave: bool = False
    learning: bool = True
    flood: bool = True
    mcast_flood: bool = True
    bcast_flood: bool = True
    mcast_to_unicast: bool = False
    mcast_router: U8 = 1
    neigh_suppress: bool = False
    isolated: bool = False
    locked: bool = False
    proxy_arp: bool = False
    proxy_arp_wifi: bool = False
    vlan_tunnel: bool = False
    group_fwd_mask: U16 = 0
    priority: Annotated[int, Number(0, 63)] | None = None
    cost: Annotated[int, Number(1, 0xFFFF)] | None = None
    state: Annotated[int, Number(0, 4)] | None = None  # 0 disabled, 1 listening, 2 learning, 3 forwarding, 4 blocking


PORT_TABLE = {
    "state": Slot(1, wire.u8),
    "priority": Slot(2, wire.u16),
    "cost": Slot(3, wire.u32),
    "hairpin": Slot(4, flag),
    "guard": Slot(5, flag),
    "root_block": Slot(6, flag),
    "fastleave": Slot(7, flag),
    "learning": Slot(8, flag),
    "flood": Slot(9, flag),
    "proxy_arp": Slot(10, flag),
    "proxy_arp_wifi": Slot(12, flag),
    "mcast_router": Slot(25, wire.u8),
    "mcast_flood": Slot(27, flag),
    "mcast_to_unicast": Slot(28, flag),
    "vlan_tunnel": Slot(29, flag),
    "bcast_flood": Slot(30, flag),
    "group_fwd_mask": Slot(31, wire.u16),
    "neigh_suppress": Slot(32, flag),
    "isolated": Slot(33, flag),
    "locked": Slot(39, flag),
}


def decode(found: Mapping[int, bytes]) -> Bridge:
    """From the attributes of IFLA_INFO_DATA."""
    return Bridge(**read(TABLE, found))


def decode_port(found: Mapping[int, bytes]) -> BridgePort:
    """From the attributes of IFLA_INFO_SLAVE_DATA."""
    return BridgePort(**read(PORT_TABLE, found))
