"""ipvlan devices (ip-link(8), Documentation/networking/ipvlan.rst)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from reconciler.kinds.link.codec import Slot, named, read
from reconciler.kinds.spelling import one_of
from reconciler.wire import netlink as wire


class Ipvlan(NamedTuple):
    """Attributes with the kernel's defaults. Both belong to the device below: all ipvlan devices on it share them."""

    mode: Annotated[str, one_of("l2", "l3", "l3s")] = "l3"
    flags: Annotated[str, one_of("bridge", "private", "vepa")] = "bridge"


TABLE = {
    "mode": Slot(1, named({0: "l2", 1: "l3", 2: "l3s"}, wire.u16)),
    "flags": Slot(2, named({0: "bridge", 1: "private", 2: "vepa"}, wire.u16)),
}


def decode(found: Mapping[int, bytes]) -> Ipvlan:
    """From the attributes of IFLA_INFO_DATA."""
    return Ipvlan(**read(TABLE, found))
