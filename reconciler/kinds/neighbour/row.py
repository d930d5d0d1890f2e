"""One neighbour entry: the MAC behind an address (ip-neighbour(8))."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.spelling import Device, Ip, Mac, one_of


class NeighbourKey(NamedTuple):
    netns: str
    dev: Device
    address: Ip


class Neighbour(NamedTuple):
    """A permanent entry, with the words of `ip neigh`; a proxy entry has no MAC."""

    key: NeighbourKey
    lladdr: Mac = ""
    nud: Annotated[str, one_of("permanent")] = "permanent"
    router: bool = False
    proxy: bool = False
    protocol: int = PROTOCOL
    adopt: bool = False  # manage what is stated of one that somebody else made
    origin: tuple[Origin, ...] = ()
