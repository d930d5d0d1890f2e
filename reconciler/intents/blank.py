"""A node of which nothing is known: what an offline plan is made against."""

from __future__ import annotations

from typing import Any

from reconciler.engine.assign import assign
from reconciler.engine.model import Observed, Seen, Unknown, Wanted
from reconciler.intents import Context
from reconciler.intents.segments import underlay_devices
from reconciler.intents.takeover import bridged
from reconciler.kinds import all_kinds
from reconciler.kinds.link import Link, LinkKey


def blank_node(context: Context, wanted: Wanted) -> Seen:
    """An empty node, except for the uplink that every node must have, the devices that pods bring along, and what is adopted there."""
    node = context.facts.nodes.get(context.node)
    uplink = (node.interface if node else None) or Unknown(f"uplink of {context.node}")
    nics = dict.fromkeys(("lo", uplink, *(one.spec.uplink for one in bridged(context))))
    links = [Link(LinkKey("", name), type="physical", master="") for name in nics]
    links += [Link(key, type="physical") for key in dict.fromkeys(underlay_devices(context))]
    there = {link.key for link in links}
    links += [_of_somebody(row) for row in wanted.rows("link") if row.key not in there and not all_kinds()["link"].makes(row)]
    adopted = {name: [row for row in wanted.rows(name) if not kind.makes(row)] for name, kind in all_kinds().items() if name != "link"}
    return Seen({name: Observed(list(links) if name == "link" else adopted[name]) for name in all_kinds()})


def _of_somebody(link: Link) -> Link:
    """A link that is adopted, of which nothing else is known: a plan shows all that is stated of it."""

    def bare(part: Any) -> Any:
        return None if part is None else type(part)(*(None for _ in part))

    return Link(link.key, type=link.type, info=bare(link.info), port=bare(link.port))


def made_by(context: Context, wanted: Wanted) -> Seen:
    """A node that holds exactly what was wanted of it, besides what a blank one has."""
    blank = blank_node(context, wanted)
    assigned = assign(all_kinds(), wanted, blank)
    return Seen({name: Observed([*blank.rows(name), *assigned.rows(name)]) for name in all_kinds()})
