"""A node of which nothing is known: what an offline plan is made against."""

from __future__ import annotations

from reconciler.engine.assign import assign
from reconciler.engine.model import Observed, Seen, Unknown, Wanted
from reconciler.intents import Context
from reconciler.intents.segments import underlay_devices
from reconciler.kinds import all_kinds
from reconciler.kinds.link import Link, LinkKey


def blank_node(context: Context) -> Seen:
    """An empty node, except for the uplink that every node must have, and for the devices that pods bring along."""
    node = context.facts.nodes.get(context.node)
    uplink = (node.interface if node else None) or Unknown(f"uplink of {context.node}")
    links = [Link(LinkKey("", name), type="physical") for name in ("lo", uplink)]
    links += [Link(key, type="physical") for key in dict.fromkeys(underlay_devices(context))]
    return Seen({name: Observed(list(links) if name == "link" else []) for name in all_kinds()})


def made_by(context: Context, wanted: Wanted) -> Seen:
    """A node that holds exactly what was wanted of it, besides what a blank one has."""
    blank = blank_node(context)
    assigned = assign(all_kinds(), wanted, blank)
    return Seen({name: Observed([*blank.rows(name), *assigned.rows(name)]) for name in all_kinds()})
