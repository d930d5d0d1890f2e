"""What the nodes' kernels hold, in the words of the tools; and what somebody might break there by hand."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from reconciler.kernel.tools import run_tool
from reconciler.lab.nodes import Network, on_all
from reconciler.lab.state import Lab

_ASKED = (
    "ip link show",
    "ip -4 addr show",
    "ip -6 addr show scope global",
    "ip -4 route show",
    "ip -6 route show",
    "ip nexthop show",
    "ip -4 rule show",
    "ip -6 rule show",
    "nft list ruleset",
)


def held(lab: Lab) -> dict[str, str]:
    """Each node's links, global addresses, routes, nexthops, rules and nft tables."""

    def dump(node: str) -> str:
        netns = lab.topology.machine(node).netns
        return "\n".join(run_tool(netns, words.split()).stdout for words in _ASKED)

    return on_all([machine.name for machine in lab.topology.machines], dump)


def changes(before: str, after: str) -> list[str]:
    """The lines that differ, with + or - in front."""
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


def sabotage(lab: Lab, network: Network, node: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """An FDB entry, a route, and the VXLAN device itself: what it is, and the command that breaks it."""
    fabric = network.loaded.spec.fabric
    device = fabric.overlay.device if fabric else ""
    netns = lab.topology.machine(node).netns
    entries = run_tool(netns, ("bridge", "fdb", "show", "dev", device)).stdout.splitlines()
    routes = [
        line for family in ("-4", "-6") for line in run_tool(netns, ("ip", family, "route", "show", "proto", "94")).stdout.splitlines()
    ]
    if entries:
        yield "a forwarding entry (FDB)", ("bridge", "fdb", "del", entries[-1].split()[0], "dev", device)
    if routes:
        yield "a route", ("ip", "route", "del", routes[0].split()[0])
    if entries:
        yield "the whole VXLAN device", ("ip", "link", "del", device)
