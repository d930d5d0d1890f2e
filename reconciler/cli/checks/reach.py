"""Has every peer a path from this node, and is each gateway on a subnet that the uplink really has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

from reconciler.cli.checks.finding import Finding, Looked
from reconciler.facts.model import Node
from reconciler.facts.problem import named
from reconciler.intents.transport import gateway_family, transport

_FAMILIES = (4, 6)


def reach(look: Looked) -> Iterator[Finding]:
    """All peers, told by the reason that they share."""
    fabric, nodes = look.context.spec.fabric, look.context.facts.nodes
    me = nodes.get(look.context.node)
    if fabric is None or fabric.mode == "none" or me is None:
        return
    none: dict[str, list[Node]] = defaultdict(list)
    direct: list[Node] = []
    overlay = 0
    for peer in nodes.values():
        if peer.name == me.name:
            continue
        how = transport(me, peer, fabric.mode)
        if how.via == "none":
            none[how.why.replace(peer.name, "PEER")].append(peer)
        elif how.via == "direct":
            direct.append(peer)
        else:
            overlay += 1
    for why, peers in none.items():
        yield Finding(
            "problem", "reach", f"no path to {named(peers)}: {why.replace('PEER', 'it' if len(peers) > 1 else peers[0].name)}",
            "say fabric.mode: auto, so that these go by the overlay; or write the addresses with the prefix length of their common subnet",
        )  # fmt: skip
    yield from _on_link(look, me, direct)
    if overlay:
        yield Finding("ok", "reach", f"{overlay} peers by the overlay")


def _on_link(look: Looked, me: Node, direct: list[Node]) -> Iterator[Finding]:
    """The kernel takes a gateway only if a subnet of the device covers it ("Nexthop has invalid gateway")."""
    host = look.context.facts.host
    if host is None or not direct:
        return
    if look.seen.failure("address"):
        yield Finding(
            "unknown", "reach", f"whether {len(direct)} peers are on the uplink's subnet: could not be told: {look.seen.failure('address')}"
        )
        return
    here = [ip_interface(row.key.prefix) for row in look.seen.rows("address") if row.key.dev == host.uplink and not row.key.netns]
    subnets = {one.network for one in here}
    lost = []
    for peer in direct:
        for family in {6 if ":" in cidr else 4 for cidr in peer.pod_cidrs}:
            gateway = peer.address(gateway_family(me, peer, family))
            if gateway is None or not any(ip_address(gateway.address) in network for network in subnets):
                lost.append(peer)
                break
    if lost:
        yield Finding(
            "problem", "reach", f"on no subnet of {host.uplink}, so the kernel refuses direct routes there: {named(lost)}",
            f"give {host.uplink} the prefix length that nodes.{me.name}.address says, or correct it there",
            f"{host.uplink} has {', '.join(sorted(str(one) for one in here)) or 'no address'}",
        )  # fmt: skip
    if len(lost) < len(direct):
        yield Finding("ok", "reach", f"{len(direct) - len(lost)} peers directly, on the subnet of {host.uplink}")
