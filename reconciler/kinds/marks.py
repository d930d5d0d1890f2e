"""The marks by which a daemon with no memory recognises what is its own."""

from __future__ import annotations

from typing import Any

from reconciler.engine.model import Owner, Seen

GROUP = 94  # link group: `ip link add` sets it in the same call that makes the link, so no link of ours is ever without
TAKES_OVER = "plumbline:underlay:"  # alias of a bridge of ours that carries what a NIC carried, with the NIC's name behind it
PROTOCOL = 94  # of routes, rules, nexthops, neighbours, addresses; not in /etc/iproute2/rt_protos, not used by a known daemon


def exclusive(netns: str, dev: str, seen: Seen) -> Owner:
    """OURS for whatever hangs on a VXLAN device of ours in the node's namespace: what is there and not wanted is drift.

    Anywhere else (bridges of ours too, and a pod's namespace) entries without a mark of their own are somebody's.
    """
    return Owner.OURS if not netns and on_vxlan_of_ours(netns, dev, seen) else Owner.FOREIGN


def on_vxlan_of_ours(netns: str, dev: str, seen: Seen) -> bool:
    """Whether a device is a VXLAN device that we made."""
    return any(link.group == GROUP and link.type == "vxlan" for link in seen.at("link", (netns, dev)))


def taken_over(link: Any) -> str:
    """The device whose addresses and routes moved to a bridge of ours; "" for any other link."""
    ours = link.group == GROUP and link.type == "bridge" and link.alias.startswith(TAKES_OVER)
    return str(link.alias.removeprefix(TAKES_OVER)) if ours else ""
