"""Intent `fabric`: pods of every node reach pods of every other node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from reconciler.engine.model import Origin, Unknown
from reconciler.facts.model import Node
from reconciler.intents import Context, IntentError, Memo, Remark
from reconciler.intents.forward_accept import forward_accept
from reconciler.intents.forwarding import forwarding
from reconciler.intents.masquerade import masquerade
from reconciler.intents.only_from_nodes import only_from_nodes
from reconciler.intents.takeover import carrying
from reconciler.intents.transport import Transport, gateway_family, transport
from reconciler.intents.vtep import link_local, vtep_address, vtep_mac
from reconciler.kinds.address import Address, AddressKey
from reconciler.kinds.fdb import Fdb, FdbKey
from reconciler.kinds.link import Link, LinkKey, Vxlan
from reconciler.kinds.marks import GROUP
from reconciler.kinds.neighbour import Neighbour, NeighbourKey
from reconciler.kinds.nexthop import Nexthop, NexthopKey, nexthop
from reconciler.kinds.route import MAIN, Route, RouteKey
from reconciler.kinds.route.row import IPV6_METRIC
from reconciler.spec.model import Fabric

OVERHEAD = {4: 50, 6: 70}  # bytes: outer IP, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348)
Family = int  # 4 or 6


class _Local(NamedTuple):
    """What of this node goes into the rows of every peer."""

    node: Node
    fabric: Fabric
    underlay: Family
    uplink: str
    uplink_mtu: int | Unknown
    mtu: int | Unknown  # of the VXLAN device


def rows(context: Context) -> Iterable[Any]:
    """The VXLAN device, forwarding, masquerading, and for each peer what its transport needs."""
    fabric = context.spec.fabric
    if fabric is None or fabric.mode == "none":
        return
    local = _local(context, fabric)
    where = context.where(("fabric",))
    families = pod_families(context)
    yield from forwarding(context, families, Origin("fabric", "forwarding", where))
    if fabric.mode != "direct":
        yield from _device(local, Origin("fabric", "overlay device", context.where(("fabric", "overlay")) or where))
        if fabric.overlay.only_from_nodes:
            told = context.where(("fabric", "overlay", "onlyFromNodes")) or context.where(("fabric", "overlay")) or where
            yield from only_from_nodes(context, local.node, local.underlay, fabric.overlay.port, Origin("fabric", "only from nodes", told))
    others = (node for node in context.facts.nodes.values() if node.name != context.node)
    yield from (context.memo or Memo()).each("fabric", local, others, peer_rows)
    if fabric.forward_accept:
        yield from forward_accept(
            fabric.pod_network, Origin("fabric", "forward accept", context.where(("fabric", "forwardAccept")) or where)
        )
    if fabric.masquerade:
        yield from masquerade(fabric.pod_network, Origin("fabric", "masquerade", context.where(("fabric", "masquerade")) or where))


def pod_families(context: Context) -> tuple[Family, ...]:
    """The families that pods have, by the pod network, else by the nodes' pod CIDRs."""
    fabric = context.spec.fabric
    networks: Iterable[str] = fabric.pod_network if fabric else ()
    if not networks:
        networks = (cidr for node in context.facts.nodes.values() for cidr in node.pod_cidrs)
    return tuple(sorted({6 if ":" in network else 4 for network in networks}))


def device_mtu(context: Context) -> int | Unknown:
    """What fits into one packet between pods: the VXLAN device's MTU, or without overlay the uplink's."""
    fabric = context.spec.fabric
    if fabric is None or fabric.mode in ("none", "direct"):
        return _uplink_mtu(context, _me(context))
    return _local(context, fabric).mtu


def _me(context: Context) -> Node:
    node = context.facts.nodes.get(context.node)
    if node is None:
        known = ", ".join(sorted(context.facts.nodes)[:10]) or "none"
        raise IntentError(f"node {context.node} is neither in network.yaml nor among the Node manifests; known: {known}")
    return node


def _uplink_mtu(context: Context, me: Node) -> int | Unknown:
    if me.mtu is not None:
        return me.mtu
    return context.facts.host.mtu if context.facts.host else Unknown(f"uplink MTU of {me.name}")


def _local(context: Context, fabric: Fabric) -> _Local:
    me = _me(context)
    host = context.facts.host
    underlay = underlay_family(context, fabric)
    uplink_mtu = _uplink_mtu(context, me)
    mtu: int | Unknown
    if fabric.overlay.mtu != "auto":
        mtu = fabric.overlay.mtu
    elif isinstance(uplink_mtu, int):
        mtu = uplink_mtu - OVERHEAD[underlay]
    else:
        mtu = Unknown(f"uplink MTU of {me.name}, less {OVERHEAD[underlay]}")
    uplink = carrying(context, me.interface or (host.uplink if host else Unknown(f"uplink of {me.name}")))
    return _Local(me, fabric, underlay, uplink, uplink_mtu, mtu)


def underlay_family(context: Context, fabric: Fabric) -> Family:
    """The one family of the outer packets, the same on every node: a VXLAN device carries only one."""
    if fabric.overlay.underlay != "auto":
        return 4 if fabric.overlay.underlay == "ipv4" else 6
    nodes = context.facts.nodes.values()
    for family in (4, 6):
        if all(node.address(family) is not None for node in nodes if node.addresses):
            return family
    raise IntentError(
        "some nodes have only an IPv4 and some only an IPv6 address, and one VXLAN device carries one family; "
        "give every node an address of one family, or say fabric.overlay.underlay"
    )


def _device(local: _Local, origin: Origin) -> Iterator[Any]:
    overlay, me = local.fabric.overlay, local.node
    address = me.address(local.underlay)
    if address is None:
        raise IntentError(
            f"node {me.name} has no IPv{local.underlay} address to send VXLAN packets from; give it one under nodes.{me.name}.address"
        )
    origins = (origin,)
    yield Link(
        LinkKey("", overlay.device),
        type="vxlan",
        mac=vtep_mac(me.name, overlay.vni),
        mtu=local.mtu,
        up=True,
        group=GROUP,
        alias="plumbline:fabric",
        info=Vxlan(id=overlay.vni, dstport=overlay.port, local=address.address, learning=False, ttl=overlay.ttl),
        origin=origins,
    )
    for family in (4, 6):
        cidr = me.pod_cidr(family)
        if cidr is not None:
            yield Address(AddressKey("", overlay.device, f"{vtep_address(cidr)}/{32 if family == 4 else 128}"), origin=origins)


def unsendable(context: Context) -> str:
    """Why nothing that this node sends over the overlay would leave it; empty where it does.

    The kernel routes no packet whose source address is not here (ip_route_output_key_hash_rcu(), net/ipv4/route.c).
    """
    fabric, host = context.spec.fabric, context.facts.host
    if fabric is None or fabric.mode in ("none", "direct") or host is None or not host.astray:
        return ""
    me = _me(context)
    address = me.address(underlay_family(context, fabric))
    if address is None or address.address not in host.astray:
        return ""
    return (
        f"no interface holds {address.address}, the address of node {me.name}: the kernel would drop all that is sent from it; "
        f"give it to the uplink, or correct it: nodes.{me.name}.address, else the Node's InternalIP or its annotation plumbline.dev/address"
    )


def peer_rows(local: _Local, peer: Node) -> list[Any]:
    """What one node holds for one other, by their transport. Depends on nothing else, so it can be remembered."""
    how = transport(local.node, peer, local.fabric.mode)
    if how.via == "overlay":
        return _overlay_peer(local, peer, how)
    if how.via == "direct":
        return _direct_peer(local, peer, how)
    return [Remark(f"no path from {local.node.name} to {peer.name}: {how.why}", peer.where)]


def _overlay_peer(local: _Local, peer: Node, how: Transport) -> list[Any]:
    overlay = local.fabric.overlay
    endpoint = _endpoint(local, peer)
    if endpoint is None:
        return [Remark(f"{peer.name} has no IPv{local.underlay} address yet: it is left out", peer.where)]
    address, port = endpoint
    origins = (Origin("fabric", f"node {peer.name}", peer.where, f"overlay: {how.why}"),)
    device = overlay.device
    mac = vtep_mac(peer.name, overlay.vni)
    rows: list[Any] = [Fdb(FdbKey("", device, mac), address, 0 if port == overlay.port else port, origin=origins)]
    mtu = _overlay_route_mtu(local, peer)
    hops: dict[Family, Nexthop] = {}
    for cidr in peer.pod_cidrs:
        six = ":" in cidr
        family = 6 if six else 4
        hop = hops.get(family)
        if hop is None:
            via = link_local(mac) if six else vtep_address(cidr)
            rows.append(Neighbour(NeighbourKey("", device, via), mac, origin=origins))
            hop = hops[family] = nexthop(NexthopKey("", device, via), onlink=not six, origin=origins)
            rows.append(hop)
        rows.append(Route(RouteKey("", MAIN, cidr, IPV6_METRIC if six else 0), nhid=hop.id, nexthop=hop.key, mtu=mtu, origin=origins))
    return rows


def _endpoint(local: _Local, peer: Node) -> tuple[str, int] | None:
    """Underlay address and UDP port of a peer: across sites its public one where it has one."""
    port = local.fabric.overlay.port
    if peer.site != local.node.site:
        for public in peer.public_addresses:
            if (6 if ":" in public.address else 4) == local.underlay:
                return public.address, public.port or port
    address = peer.address(local.underlay)
    return (address.address, port) if address else None


def _overlay_route_mtu(local: _Local, peer: Node) -> int:
    """The peer's MTU where it is the smaller one: nothing sends "packet too big" back inside VXLAN."""
    if local.fabric.overlay.mtu != "auto" or peer.mtu is None or isinstance(local.mtu, Unknown):
        return 0
    theirs = peer.mtu - OVERHEAD[local.underlay]
    return theirs if theirs < local.mtu else 0


def _direct_peer(local: _Local, peer: Node, how: Transport) -> list[Any]:
    """Plain routes: a carrier loss deletes nexthop objects and their routes for good."""
    origins = (Origin("fabric", f"node {peer.name}", peer.where, f"direct: {how.why}"),)
    mtu = peer.mtu if peer.mtu is not None and isinstance(local.uplink_mtu, int) and peer.mtu < local.uplink_mtu else 0
    rows: list[Any] = []
    for cidr in peer.pod_cidrs:
        six = ":" in cidr
        gateway = peer.address(gateway_family(local.node, peer, 6 if six else 4))
        if gateway is None:
            continue  # transport() has made sure that there is one
        key = RouteKey("", MAIN, cidr, IPV6_METRIC if six else 0)
        rows.append(Route(key, via=gateway.address, dev=local.uplink, mtu=mtu, origin=origins))
    return rows
