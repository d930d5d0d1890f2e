"""The types of links, each in one line: what it is made of, how it is read, and what cannot change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from reconciler.kinds.link import bridge, gre, ipip, ipvlan, macvlan, tunnel, vlan, vrf, vxlan

Fixed = Callable[[Any, Any], str | None]


class Type(NamedTuple):
    """What plumbline knows of one type, beyond what every link has."""

    info: type[Any] | None = None  # attributes of its own
    decode: Callable[[Mapping[int, bytes]], Any] | None = None
    fixed: Fixed | None = None  # why one cannot become the other in place
    needs: str = ""  # the attribute of its own without which there is no such device
    below: bool = False  # hangs on a `parent`, for good
    dev: bool = False  # a tunnel, whose packets may be told to leave by a `parent`
    mac: bool = True  # has a MAC that can be set
    module: str = ""  # of the kernel; "": as the type
    endpoints: str = ""  # what only one device of these types may have: the two ends, with `parent` and key


def _tunnel(type_: str) -> Fixed:
    return lambda old, new: tunnel.fixed(type_, old, new)


TYPES: dict[str, Type] = {
    "physical": Type(),
    "bridge": Type(bridge.Bridge, bridge.decode),
    "dummy": Type(),
    "ifb": Type(),
    "gre": Type(gre.Gre, gre.decode_gre, _tunnel("gre"), dev=True, mac=False, module="ip_gre", endpoints="GRE"),
    "gretap": Type(gre.Gre, gre.decode_gre, _tunnel("gretap"), dev=True, module="ip_gre", endpoints="Ethernet over GRE"),
    "ip6gre": Type(gre.Ip6gre, gre.decode_ip6gre, _tunnel("ip6gre"), dev=True, mac=False, module="ip6_gre", endpoints="GRE over IPv6"),
    "ip6gretap": Type(
        gre.Ip6gre, gre.decode_ip6gre, _tunnel("ip6gretap"), dev=True, module="ip6_gre", endpoints="Ethernet over GRE over IPv6"
    ),
    "ip6tnl": Type(ipip.Ip6tnl, ipip.decode_ip6tnl, _tunnel("ip6tnl"), dev=True, mac=False, module="ip6_tunnel", endpoints="IPv6 tunnel"),
    "ipip": Type(ipip.Ipip, ipip.decode_ipip, _tunnel("ipip"), dev=True, mac=False, endpoints="IPIP"),
    "ipvlan": Type(ipvlan.Ipvlan, ipvlan.decode, below=True, mac=False),
    "macvlan": Type(macvlan.Macvlan, macvlan.decode, macvlan.fixed, below=True),
    "sit": Type(ipip.Sit, ipip.decode_sit, _tunnel("sit"), dev=True, mac=False, endpoints="SIT"),
    "veth": Type(),
    "vlan": Type(vlan.Vlan, vlan.decode, vlan.fixed, needs="id", below=True, module="8021q"),
    "vrf": Type(vrf.Vrf, vrf.decode, vrf.fixed, needs="table"),
    "vxlan": Type(vxlan.Vxlan, vxlan.decode, vxlan.fixed, dev=True),
    "wireguard": Type(mac=False),
}
