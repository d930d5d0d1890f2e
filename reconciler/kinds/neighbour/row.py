"""One neighbour entry: the MAC behind an address (ip-neighbour(8))."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.marks import PROTOCOL


class NeighbourKey(NamedTuple):
    netns: str
    dev: str
    address: str


class Neighbour(NamedTuple):
    """A permanent entry, with the words of `ip neigh`; a proxy entry has no MAC."""

    key: NeighbourKey
    lladdr: str = ""
    nud: str = "permanent"
    router: bool = False
    proxy: bool = False
    protocol: int = PROTOCOL
    origin: tuple[Origin, ...] = ()
