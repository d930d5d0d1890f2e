"""Which devices change places on a node: a NIC goes under its bridge, and what it carries to that; or all of it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from reconciler.facts.model import Device
from reconciler.intents import Context
from reconciler.intents.selector import selected
from reconciler.kinds.marks import taken_over
from reconciler.spec.underlay import Underlay


class Bridged(NamedTuple):
    """One bridge that the spec wants on this node, and what is there of it."""

    name: str
    spec: Underlay
    uplink: Device | None
    bridge: Device | None
    refused: str = ""  # why nothing moves; empty where it may


def bridged(context: Context) -> Iterator[Bridged]:
    """The bridges of this node."""
    host = context.facts.host
    for name, said in context.spec.underlay.items():
        if not selected(context, said.node_selector):
            continue
        if host is None:  # offline: who keeps its addresses is known only on the node
            yield Bridged(name, said, None, None)
            continue
        one = Bridged(name, said, host.devices.get(said.uplink), host.devices.get(name))
        yield one._replace(refused=_refused(one, host.devices))


def _refused(one: Bridged, devices: Mapping[str, Device]) -> str:
    uplink, nic = one.uplink, one.spec.uplink
    if uplink is None:
        return f"there is no device {nic} here"
    if one.spec.adopt and one.bridge is None:
        return f"there is no bridge {one.name} here: adopt is for one that somebody else has made"
    master = uplink.link.master
    if master == one.name and not (uplink.addresses or uplink.routes):
        return ""
    stays = f"{nic} stays as it is: "
    if uplink.managers:
        return stays + "; ".join(f"{by.who} keeps its addresses ({by.evidence}); hand it over: {by.remedy}" for by in uplink.managers)
    if master not in ("", one.name) and not (master in devices and taken_over(devices[master].link)):
        return f"{stays}it is in {master}; take it out first: ip link set dev {nic} nomaster"
    if uplink.nexthops:
        return (
            f"{stays}nexthop objects lead over it, which a routing daemon keeps (ip nexthop show dev {nic}); "
            f"have it use {one.name}, or routes without them"
        )
    return ""


def targets(context: Context) -> Mapping[str, str]:
    """Device → the one that is to carry its addresses and routes. What stays where it is is not named."""
    wanted = {one.name: one for one in bridged(context)}
    moves = {one.spec.uplink: one.name for one in wanted.values() if not one.refused}
    devices = context.facts.host.devices if context.facts.host else {}
    for name, device in devices.items():
        nic = taken_over(device.link)
        stays = name in wanted and (wanted[name].spec.uplink == nic or bool(wanted[name].refused))
        if nic and nic in devices and not stays:
            moves[name] = moves.get(nic, nic)
    return moves


def carrying(context: Context, device: str) -> str:
    """The device that carries a device's addresses once the plan is done."""
    if not context.spec.underlay and not (context.facts.host and context.facts.host.devices):
        return device
    return targets(context).get(device, device)
