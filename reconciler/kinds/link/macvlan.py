"""macvlan devices (ip-link(8))."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from reconciler.kinds.link.codec import Slot, named, read
from reconciler.kinds.spelling import one_of
from reconciler.wire import netlink as wire


class Macvlan(NamedTuple):
    """Attributes with the kernel's defaults."""

    mode: Annotated[str, one_of("private", "vepa", "bridge", "passthru", "source")] = "vepa"
    bcqueuelen: int = 1000


TABLE = {
    "mode": Slot(1, named({1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"}, wire.u32)),
    "bcqueuelen": Slot(7, wire.u32),
}


def decode(found: Mapping[int, bytes]) -> Macvlan:
    """From the attributes of IFLA_INFO_DATA."""
    return Macvlan(**read(TABLE, found))


def fixed(old: Macvlan, new: Macvlan) -> str | None:
    """Why one cannot become the other in place."""
    if "passthru" in (old.mode, new.mode) and old.mode != new.mode:
        return "passthru of a macvlan cannot change in place"
    return None
