"""What one device carries goes to another: addresses, routes and permanent neighbours, each as it is.

Where a row can become the new one in place (a route, whose key names no device), it does;
else the new one is made first, and the old one goes after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from reconciler.engine.model import Absent, Origin, Ref
from reconciler.facts.model import Device
from reconciler.kinds.address import Address
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.neighbour import Neighbour
from reconciler.kinds.route import Route

IFNAMSIZ = 16  # bytes, with the one that ends it (include/uapi/linux/if.h)


class Move(NamedTuple):
    """From a device to another, in an order: nothing leaves the old one before `after` is in place."""

    source: Device
    target: str
    there: Device | None  # the target as it is; None: not made yet
    after: tuple[Ref, ...]
    origin: Origin

    def away(self, row: Any, what: str, *after: Ref) -> Absent:
        return Absent(row, f"{what} moves to {self.target}", (*after, *self.after), (self.origin,))


def moved(move: Move) -> Iterator[Any]:
    """The rows on the target, and those that are to go from the source. What the target has already is not asked for again."""
    name = move.source.link.key.name
    addresses = {row.key for row in move.there.addresses} if move.there else set()
    for row in move.source.addresses:
        new = _address(row, name, move.target)._replace(origin=(move.origin,))
        if new.key not in addresses:
            yield new
        yield move.away(row, row.key.prefix, Ref("address", new.key))
    neighbours = {one.key for one in move.there.neighbours} if move.there else set()
    for one in move.source.neighbours:
        if one.protocol != PROTOCOL:
            beside = _neighbour(one, move.target)._replace(origin=(move.origin,))
            if beside.key not in neighbours:
                yield beside
            yield move.away(one, f"neighbour {one.key.address}", Ref("neighbour", beside.key))
    routes = {over.key for over in move.there.routes} if move.there else set()
    for over in sorted(move.source.routes, key=lambda route: bool(route.via)):  # a gateway may be reached by one of the others
        if over.protocol != PROTOCOL:
            if over.key not in routes:
                yield _route(over, name, move.target)._replace(origin=(move.origin,))
            yield move.away(over, over.key.dst)


def _address(row: Address, old: str, new: str) -> Address:
    """It was unique on the wire before, so IPv6 need not ask again (nodad): packets would wait a second for the answer."""
    label = row.label.replace(old, new, 1) if row.label.startswith(old) else row.label
    six = ":" in row.key.prefix
    return row._replace(
        key=row.key._replace(dev=new),
        label=label if len(label) < IFNAMSIZ and label.startswith(new) else "",
        flags=tuple(sorted({*row.flags, "nodad"})) if six else row.flags,
        proto=0,
    )


def _neighbour(row: Neighbour, new: str) -> Neighbour:
    return row._replace(key=row.key._replace(dev=new))


def _route(row: Route, old: str, new: str) -> Route:
    hops = tuple(hop._replace(dev=new) if hop.dev == old else hop for hop in row.hops)
    return row._replace(dev=new if row.dev == old else row.dev, hops=hops)
