"""All entries of all services as one stated row: what intents say, before anything has a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.bpf_map_entry.row import BpfMapEntryKey

PLACE = 18  # bytes of a backend that say which one it is: address and port


class Front(NamedTuple):
    """Where a service is reached, and which list of backends serves it there."""

    key: bytes  # struct pl_front
    list: str
    affinity: int  # seconds
    flags: int  # enum pl_service_flags


class Gate(NamedTuple):
    """A front that is for clients of some networks alone, and what those find behind it."""

    key: bytes  # struct pl_front
    ranges: str
    list: str
    affinity: int  # seconds
    flags: int  # enum pl_service_flags


class Entries(NamedTuple):
    """What one service puts into the maps, before anything has a number."""

    fronts: tuple[Front, ...] = ()
    lists: tuple[tuple[str, tuple[bytes, ...]], ...] = ()  # name, backends (struct pl_backend), no place twice
    origin: tuple[Origin, ...] = ()
    gates: tuple[Gate, ...] = ()
    ranges: tuple[tuple[str, tuple[bytes, ...]], ...] = ()  # name, networks (layout.network); another network is another name

    @property
    def doors(self) -> tuple[Front | Gate, ...]:
        """All fronts, by the keys that clients ask for."""
        return (*self.fronts, *self.gates) if self.gates else self.fronts


class ServiceTable(NamedTuple):
    """All services of a node. It stands for thousands of entries, so that thousands need not be made again where one changes."""

    key: BpfMapEntryKey  # of the map of fronts, with no key in it
    backends: str  # the map of backends
    ranges: str  # the map of ranges
    services: Mapping[str, Entries]  # by name, in the order of the names
    known: bool = True  # False: nobody said which services there are, so what is there stays
    words: str = ""
    origin: tuple[Origin, ...] = ()

    @property
    def maps(self) -> tuple[str, str, str]:
        return self.key.map, self.backends, self.ranges

    @property
    def value(self) -> bytes:
        """Nothing of its own: what rows of this kind are asked for."""
        return b""


def settle(wanted: tuple[bytes, ...], had: Sequence[bytes | None]) -> tuple[bytes, ...]:
    """The backends by slot, from 0 without a hole: those that are there stay where they are, the last ones move into holes."""
    if not had or wanted == had:
        return wanted
    missing = {value[:PLACE]: value for value in wanted}
    slots = [missing.pop(value[:PLACE], None) if value is not None else None for value in had[: len(wanted)]]
    slots += [None] * (len(wanted) - len(slots))
    if missing:
        moved = [found for value in had[len(wanted) :] if value is not None and (found := missing.pop(value[:PLACE], None)) is not None]
        others = iter((*moved, *missing.values()))
        slots = [next(others) if value is None else value for value in slots]
    return tuple(value for value in slots if value is not None)
