"""VRF devices (ip-link(8), Documentation/networking/vrf.rst)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from reconciler.kinds.link.codec import Slot, read
from reconciler.kinds.spelling import Number
from reconciler.wire import netlink as wire


class Vrf(NamedTuple):
    """The routing table of whatever has this device as its master."""

    table: Annotated[int, Number(1, 0xFFFFFFFF)] = 0


TABLE = {"table": Slot(1, wire.u32)}


def decode(found: Mapping[int, bytes]) -> Vrf:
    """From the attributes of IFLA_INFO_DATA."""
    return Vrf(**read(TABLE, found))


def fixed(old: Vrf, new: Vrf) -> str | None:
    """Why one cannot become the other in place."""
    return "the table of a VRF cannot change in place" if new.table not in (None, old.table) else None
