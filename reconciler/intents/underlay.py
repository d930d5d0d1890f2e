"""Intent `underlay`: a NIC under a Linux bridge that takes over all that the NIC carried.

There is no record of what was moved. While the section is there, whatever the NIC carries
goes to the bridge. A bridge of ours names its NIC (see `marks.taken_over`); once the spec does
not want that pair any more, whatever the bridge carries goes back to the NIC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any

from reconciler.engine.model import Absent, Origin, Ref, Unknown
from reconciler.facts.model import Device, Host
from reconciler.intents import Context, Remark
from reconciler.intents.moves import Move, moved
from reconciler.intents.takeover import Bridged, bridged, targets
from reconciler.kinds.link import Bridge, BridgePort, Link, LinkKey
from reconciler.kinds.marks import GROUP, TAKES_OVER, taken_over
from reconciler.kinds.neighbour import Neighbour, NeighbourKey
from reconciler.kinds.route import route
from reconciler.kinds.sysctl import Sysctl, sysctl
from reconciler.spec.underlay import Port

NAME = "underlay"
ALIAS = "plumbline:underlay"


def rows(context: Context) -> Iterable[Any]:
    """The bridges with their ports and routes, and everything that moves."""
    wanted = list(bridged(context))
    for one in wanted:
        where = context.where((NAME, one.name))
        origin = Origin(NAME, one.name, where)
        if one.refused:
            yield Remark(one.refused, where, error=True, awaited=one.uplink is None)
        if one.refused and one.bridge is None:
            continue  # what is there already stays: it may carry the node
        yield from _bridge(one, origin)
        yield from _ports(one, origin)
        yield from _settings(context, one, origin)
        yield from _routes(context, one, origin)
    if context.facts.host is not None:
        yield from _moves(context, context.facts.host, {one.name for one in wanted})
    elif wanted:
        yield Remark("which addresses and routes move from the uplink to its bridge is known only on the node", context.where((NAME,)))


def _bridge(one: Bridged, origin: Origin) -> Iterator[Link]:
    """Its MAC is the uplink's, for good: else it would be that of the lowest port, and change with them."""
    said, key = one.spec, LinkKey("", one.name)
    if said.adopt:
        stated = {"ageing": said.ageing_time, "vlan_filtering": said.vlan_filtering, "mcast_snooping": said.mcast_snooping}
        spelled = {"ageing": "ageing_time"}
        chosen = {spelled.get(name, name): value for name, value in stated.items() if name in said.model_fields_set}
        info = Bridge(**{**dict.fromkeys(Bridge._fields), **chosen}) if chosen else None  # type: ignore[arg-type]
        yield Link(key, "bridge", up=True, info=info, adopt=True, origin=(origin,))
        return
    like = one.uplink or one.bridge  # where the uplink is gone for now the bridge stays as it is
    yield Link(
        key,
        "bridge",
        GROUP,
        f"{TAKES_OVER}{said.uplink}",
        like.link.mac or None if like else Unknown(f"MAC of {said.uplink}"),
        _mtu(one),
        up=True,
        info=Bridge(ageing_time=said.ageing_time, vlan_filtering=said.vlan_filtering, mcast_snooping=said.mcast_snooping),
        origin=(origin,),
    )


def _mtu(one: Bridged) -> int | Unknown:
    like = one.uplink or one.bridge
    return like.link.mtu if like else Unknown(f"MTU of {one.spec.uplink}")


def _ports(one: Bridged, origin: Origin) -> Iterator[Link]:
    """The uplink joins last, and only where it may."""
    ports = dict(one.spec.ports)
    uplink = ports.pop(one.spec.uplink, Port())
    for name, said in ports.items():
        if said.peer is None:
            yield _joins(name, one.name, said, origin)
            continue
        pair = Link(LinkKey("", name), "veth", GROUP, ALIAS, mtu=_mtu(one), up=True, origin=(origin,))
        yield pair._replace(master=one.name, peer=said.peer, port=BridgePort(**_options(said)))
        yield pair._replace(key=LinkKey("", said.peer), peer=name)
    if not one.refused:
        yield _joins(one.spec.uplink, one.name, uplink, origin)


def _options(said: Port) -> dict[str, bool]:
    """Everything that can be said of a port, by the names of the kind."""
    return {name: getattr(said, name) for name in Port.model_fields if name != "peer"}


def _joins(name: str, bridge: str, said: Port, origin: Origin) -> Link:
    """A device that somebody else made: only its place in the bridge is ours to say."""
    port = BridgePort(**{**dict.fromkeys(BridgePort._fields), **_options(said)})  # type: ignore[arg-type]
    return Link(LinkKey("", name), "physical", up=True, master=bridge, port=port, adopt=True, origin=(origin,))


def _settings(context: Context, one: Bridged, origin: Origin) -> Iterator[Sysctl]:
    """What was set on the NIC, which no longer hears a packet, holds for the bridge. What `sysctls` says goes before it."""
    said = one.spec
    if said.filter_vlan_tagged is not None:
        yield sysctl("", "net.bridge.bridge-nf-filter-vlan-tagged", said.filter_vlan_tagged)._replace(origin=(origin,))
    if one.uplink is None:
        return
    if one.uplink.accept_ra:  # what is advertised on the wire is for the bridge: no default route by way of the next one
        for peer in (port.peer for port in said.ports.values() if port.peer):
            yield sysctl("", _of_device("ipv6.accept_ra", peer), "0")._replace(origin=(origin._replace(what=f"{one.name}, {peer}"),))
    if said.adopt:
        return
    values = dict(one.uplink.settings)
    if one.uplink.accept_ra:
        values["ipv6.accept_ra"] = "2" if _advertised(context.facts.host, said.uplink, one.name) else one.uplink.accept_ra
        values["ipv6.accept_dad"] = "0"  # the same MAC and addresses as before, in the same place: packets need not wait
    for setting, value in values.items():
        name = _of_device(setting, one.name)
        if name not in context.spec.sysctls:
            yield sysctl("", name, value)._replace(origin=(origin._replace(what=f"{one.name}, as on {said.uplink}"),))


def _of_device(setting: str, device: str) -> str:
    """ "ipv4.rp_filter" of a device, as sysctl(8) has it."""
    family, _, word = setting.partition(".")
    return f"net.{family}.conf.{device.replace('.', '/')}.{word}"


def _advertised(host: Host | None, *devices: str) -> bool:
    return host is not None and any(one.protocol == "ra" and one.dev in devices for one in host.default_routes)


def _routes(context: Context, one: Bridged, origin: Origin) -> Iterator[Any]:
    """The node's gateway by an on-link host route and a permanent neighbour, its subnet, and the others' subnets by the gateway."""
    said, node = one.spec, context.facts.nodes.get(context.node)
    gateway = said.gateways.get(context.node)
    if gateway is None:
        if said.cluster_subnets:
            yield _without(context, one, "")
        return
    subnets = gateway.subnets if gateway.subnets is not None else node.pod_cidrs if node else ()
    address = gateway.address or next((str(next(ip_network(cidr).hosts())) for cidr in subnets), "")
    if not address:
        yield _without(context, one, f".address, or nodes.{context.node}.podCIDRs")
        return
    yield Neighbour(NeighbourKey("", one.name, address), gateway.mac, origin=(origin,))
    yield route("", f"{address}/{128 if ':' in address else 32}", dev=one.name, origin=(origin,))
    for cidr in subnets:
        yield route("", cidr, dev=one.name, origin=(origin,))
    for cidr in said.cluster_subnets:
        if (":" in address) is (":" in cidr):
            yield route("", cidr, via=address, dev=one.name, origin=(origin,))


def _without(context: Context, one: Bridged, part: str) -> Remark:
    return Remark(
        f"no gateway leads from {context.node} to the other nodes' subnets: say {NAME}.{one.name}.gateways.{context.node}{part}",
        context.where((NAME, one.name, "gateways")),
        error=True,
    )


def _moves(context: Context, host: Host, wanted: set[str]) -> Iterator[Any]:
    for name, target in targets(context).items():
        source = host.devices[name]
        nic = taken_over(source.link)
        where = context.where((NAME, target if target in wanted else name))
        origin = Origin(NAME, name if nic else target, where)
        free = bool(nic) and target == nic
        if free:
            yield Link(LinkKey("", nic), "physical", master="", adopt=True, origin=(origin,))
        joined = Ref("link", ("", nic or name))
        found = list(moved(Move(source, target, host.devices.get(target), (joined,), origin)))
        yield from found
        if nic and name not in wanted:
            yield _goes(source, origin, joined, found)


def _goes(bridge: Device, origin: Origin, joined: Ref, moves: Iterable[Any]) -> Absent:
    """A bridge of ours goes once all that it carried is elsewhere."""
    last = dict.fromkeys(ref for one in moves if type(one) is Absent for ref in one.after)
    return Absent(bridge.link, "what it carried is elsewhere", (joined, *last), (origin,))
