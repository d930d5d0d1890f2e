"""A node of which nothing is known: what an offline plan is made against."""

from __future__ import annotations

from reconciler.engine.model import Observed, Seen, Unknown
from reconciler.intents import Context
from reconciler.kinds import all_kinds
from reconciler.kinds.link import Link, LinkKey


def blank_node(context: Context) -> Seen:
    """An empty node, except for the uplink that every node must have."""
    node = context.facts.nodes.get(context.node)
    uplink = (node.interface if node else None) or Unknown(f"uplink of {context.node}")
    links = [Link(LinkKey("", name), type="physical") for name in ("lo", uplink)]
    return Seen({name: Observed(list(links) if name == "link" else []) for name in all_kinds()})
