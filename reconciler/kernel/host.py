"""What only the node itself can tell: uplink, MTU, default routes and who made them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from reconciler.engine.reader import Dump, ObservationFailed, Place, Reader
from reconciler.facts.model import Host, HostRoute, Node
from reconciler.wire import netlink as wire

_LINKS = Dump(wire.RTM_GETLINK, bytes(16) + struct.pack("=HHI", 8, 29, 8))  # IFLA_EXT_MASK: RTEXT_FILTER_SKIP_STATS
_ADDRESSES = Dump(wire.RTM_GETADDR, bytes(8))
_ROUTES = Dump(wire.RTM_GETROUTE, bytes(12))
IFLA_MTU = 4
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_OIF, RTA_GATEWAY, RTA_TABLE = 4, 5, 15
AF_INET, AF_INET6 = 2, 10
MAIN, UNICAST = 254, 1
# include/uapi/linux/rtnetlink.h, and the names of /etc/iproute2/rt_protos
PROTOCOLS = {2: "kernel", 3: "boot", 4: "static", 9: "ra", 16: "dhcp"}


def observe_host(io: Reader, node: Node, root: str = "") -> Host:
    """The host's facts. Its uplink is the device that holds the node's address, else the one of the default route.

    Raises ObservationFailed when the kernel does not answer, or when no device can be told to be the uplink.
    """
    mtus = io.decoded("", _LINKS, _mtus)
    routes = io.decoded("", _ROUTES, _default_routes)
    holders = io.decoded("", _ADDRESSES, _holders)
    uplink = node.interface or _holder(holders, node) or next((route.dev for route in routes), "")
    if uplink not in mtus:
        ours = ", ".join(address.address for address in node.addresses) or "no address known"
        raise ObservationFailed(
            f"no interface holds the address of node {node.name} ({ours})"
            + (f", and there is no interface {uplink}" if uplink else " and there is no default route")
            + f"; correct nodes.{node.name}.address, or name the uplink with nodes.{node.name}.interface"
        )
    astray = tuple(one.address for one in node.addresses if one.address not in holders)
    return Host(uplink, mtus[uplink], routes, io.read("", "/proc/net/if_inet6") is not None, root, astray=astray)


def _holder(holders: dict[str, str], node: Node) -> str:
    return next((holders[one.address] for one in node.addresses if one.address in holders), "")


def _mtus(place: Place, buffers: tuple[bytes, ...]) -> dict[str, int]:
    return {
        place.interfaces.get(wire.s32(buffer[start + 4 : start + 8]), ""): wire.u32(found[IFLA_MTU])
        for buffer, start, end in wire.messages(buffers, wire.RTM_NEWLINK, 16)
        if IFLA_MTU in (found := wire.attributes(buffer, start + 16, end))
    }


def _holders(place: Place, buffers: tuple[bytes, ...]) -> dict[str, str]:
    """Address → device."""
    holders: dict[str, str] = {}
    for buffer, start, end in wire.messages(buffers, wire.RTM_NEWADDR, 8):
        found = wire.attributes(buffer, start + 8, end)
        raw = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS)
        if raw:
            holders[wire.address(raw)] = place.interfaces.get(wire.u32(buffer[start + 4 : start + 8]), "")
    return holders


def _default_routes(place: Place, buffers: tuple[bytes, ...]) -> tuple[HostRoute, ...]:
    return tuple(_defaults(place, buffers))


def _defaults(place: Place, buffers: tuple[bytes, ...]) -> Iterable[Any]:
    for buffer, start, end in wire.messages(buffers, wire.RTM_NEWROUTE, 12):
        family, length, _, _, table, protocol, _, kind = buffer[start : start + 8]
        if length or kind != UNICAST or family not in (AF_INET, AF_INET6) or table != MAIN:
            continue
        found = wire.attributes(buffer, start + 12, end)
        dev = place.interfaces.get(wire.u32(found[RTA_OIF]), "") if RTA_OIF in found else ""
        if dev:
            via = wire.address(found[RTA_GATEWAY]) if RTA_GATEWAY in found else ""
            yield HostRoute(4 if family == AF_INET else 6, via, dev, PROTOCOLS.get(protocol, str(protocol)))


def addresses_here(io: Reader) -> frozenset[str]:
    """Every address of this host. Raises ObservationFailed."""
    return frozenset(io.decoded("", _ADDRESSES, _holders))
