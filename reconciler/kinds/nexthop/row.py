"""One nexthop object (ip-nexthop(8))."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.spelling import Device, Ip, Number


class NexthopKey(NamedTuple):
    """What a nexthop leads to; its number is only a handle."""

    netns: str
    dev: Device  # "" for a blackhole
    via: Ip  # "" for an on-link destination


class Nexthop(NamedTuple):
    """A nexthop, with the words of `ip nexthop`."""

    key: NexthopKey
    onlink: bool = False
    blackhole: Annotated[int, Number(0, 6)] = 0  # 0, or the family (4 or 6) that it swallows
    protocol: int = PROTOCOL
    id: int = 0  # handle, chosen by `assign`
    origin: tuple[Origin, ...] = ()
