"""How the attributes of one link type stand in a netlink message: a table, and one function that reads by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from reconciler.wire import netlink as wire


class Slot(NamedTuple):
    """Number of the attribute in include/uapi/linux/if_link.h, and what makes a value of its payload."""

    number: int
    read: Callable[[bytes], Any]


def flag(payload: bytes) -> bool:
    """A switch, as u8."""
    return payload[0] != 0


def flag32(payload: bytes) -> bool:
    """A switch, as u32."""
    return wire.u32(payload) != 0


def present(payload: bytes) -> bool:
    """A switch that is on by being there (NLA_FLAG)."""
    return True


def named(names: Mapping[int, str], width: Callable[[bytes], int] = wire.u8) -> Callable[[bytes], str]:
    """A number that iproute2 knows by a word."""
    return lambda payload: names.get(width(payload), str(width(payload)))


def read(table: Mapping[str, Slot], found: Mapping[int, bytes]) -> dict[str, Any]:
    """The values that are there, by name; what is absent keeps the kernel's default."""
    return {name: slot.read(found[slot.number]) for name, slot in table.items() if slot.number in found}
