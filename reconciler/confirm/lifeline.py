"""What carries the node's own traffic, and which actions of a plan touch it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from reconciler.engine.model import Action, Ref, Seen, Verb
from reconciler.facts.model import Host

DEFAULTS = ("0.0.0.0/0", "::/0")
MAIN = 254  # RT_TABLE_MAIN, include/uapi/linux/rtnetlink.h
# IPv6 forwarding takes away what router advertisements gave, a switched-off family all of it, a strict rp_filter answers by
# another way. IPv4 forwarding by itself takes nothing from the node.
_SYSCTL = re.compile(r"net\.(?:ipv6\.conf\.([^.]+)\.(?:forwarding|accept_ra|disable_ipv6)|ipv4\.conf\.([^.]+)\.rp_filter)")


def carriers(host: Host, seen: Seen) -> frozenset[str]:
    """The uplink, the devices of the default routes, what these hang on, and the ports of the bridges among them."""
    found = {host.uplink, *(route.dev for route in host.default_routes)} - {""}
    links = [row for row in seen.rows("link") if not row.key.netns]
    while True:
        more = {row.key.name for row in links if row.master in found} | {
            row.parent for row in links if row.key.name in found and row.parent
        }
        if more <= found:
            return frozenset(found)
        found |= more


def touching(actions: Iterable[Action], on: frozenset[str]) -> list[Action]:
    """The actions that can cut the node off."""
    return [action for action in actions if _touches(action, on)]


def _touches(action: Action, on: frozenset[str]) -> bool:
    kind, row = action.change.kind, action.change.row
    if getattr(row.key, "netns", ""):
        return False
    if kind == "link":
        return row.key.name in on
    if kind == "address":
        return row.key.dev in on
    if kind == "route":
        return row.key.table == MAIN and (row.key.dst in DEFAULTS or _takes(action.change.old, on))
    if kind == "sysctl":
        match = _SYSCTL.fullmatch(row.key.name)
        return match is not None and (match[1] or match[2]) in {"all", "default", *on}
    return action.verb is Verb.DELETE and kind == "rule"


def _takes(old: Any, on: frozenset[str]) -> bool:
    """A route that was there and leads over the uplink, and is changed or goes."""
    return old is not None and old.dev in on


def ground(on: frozenset[str]) -> frozenset[Ref]:
    """The devices themselves, as other rows need them."""
    return frozenset(Ref("link", ("", name)) for name in on)
