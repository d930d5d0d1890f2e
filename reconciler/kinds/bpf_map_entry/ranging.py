"""The ranges of services: an id for each, which is a handle as those of lists are.

A name of ranges says all that is in them, so whatever has been written under an id is still right when the name
comes back, and what an id means does not change while a front names it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple
from zlib import crc32

from reconciler.kinds.bpf_map_entry.entered import Entered
from reconciler.kinds.bpf_map_entry.layout import IN_RANGE, RANGED, in_ranges, range_key, range_of, service_of
from reconciler.kinds.bpf_map_entry.row import BpfMapEntry, BpfMapEntryKey
from reconciler.kinds.bpf_map_entry.services import Entries, Gate, ServiceTable


class SeenRanges(NamedTuple):
    """The ranges that there are, whoever wrote them."""

    keys: Mapping[int, set[bytes]] = {}  # by id: struct pl_range
    named: Mapping[bytes, int] = {}  # front → the id that it names
    wanted: Mapping[bytes, str] = {}  # front → the name of the ranges that it is to name

    def fit(self, number: int, name: str, keys: set[bytes]) -> bool:
        """Whether ranges may have an id from the start: nobody is let in by it who is not to be, and no front leads anywhere else."""
        if not self.keys.get(number, set()) <= keys:
            return False
        return all(self.wanted.get(front) == name for front, found in self.named.items() if found == number)

    def of(self, name: str) -> Iterator[int]:
        """The ids that these ranges seem to have."""
        return (number for front, number in self.named.items() if self.wanted.get(front) == name)


def number_all(now: Entered, seen: Iterable[BpfMapEntry]) -> None:
    """Give all ranges their ids, those that they have if possible."""
    found = _seen(now.table, seen)
    for entries in now.table.services.values():
        let_in(now, Entries(), entries, found)
    for number in (*found.keys, *found.named.values()):
        now.given.setdefault(number, "")


def _seen(table: ServiceTable, seen: Iterable[BpfMapEntry]) -> SeenRanges:
    keys: dict[int, set[bytes]] = defaultdict(set)
    named: dict[bytes, int] = {}
    for row in seen:
        path, key = row.key
        if not isinstance(row.value, bytes) or not isinstance(key, bytes):
            continue
        if path == table.ranges:
            keys[range_of(key)[0]].add(key)
        elif path == table.key.map and (service := service_of(row.value)).flags & RANGED:
            named[key] = service.id
    wanted: dict[bytes, str] = {}
    for name in sorted(table.services) if named else ():
        for front in table.services[name].doors:
            wanted.setdefault(front.key, front.ranges if isinstance(front, Gate) else "")
    return SeenRanges(keys, named, wanted)


def let_in(now: Entered, old: Entries, new: Entries, seen: SeenRanges | None = None) -> None:
    """Replace the ranges of a service by those that it wants."""
    wanted = {name for name, _ in new.ranges}
    for name, networks in old.ranges:
        if name not in wanted:
            number = now.ranges.pop(name)
            for network in networks:
                now.take(BpfMapEntryKey(now.table.ranges, range_key(number, network)))
    for name, networks in new.ranges:
        if name not in now.ranges:
            number = now.ranges[name] = _number(now, name, networks, seen or SeenRanges())
            now.given[number] = name
            for network in networks:
                now.put(BpfMapEntry(BpfMapEntryKey(now.table.ranges, range_key(number, network)), IN_RANGE, "", new.origin))


def preferred(name: str) -> int:
    """The id that ranges have unless others have it: the same on every start."""
    return crc32(name.encode()) or 1


def _number(now: Entered, name: str, networks: tuple[bytes, ...], seen: SeenRanges) -> int:
    """An id that is no other ranges', and was not."""
    for number in chain(seen.of(name), _from(preferred(name))):
        if number in now.given:
            if now.given[number] == name:
                return number
        elif seen.fit(number, name, {range_key(number, network) for network in networks}):
            return number
    raise AssertionError("there are as many ranges as ids")


def _from(number: int) -> Iterator[int]:
    while True:
        yield number
        number = number % 0xFFFFFFFF + 1


def behind(now: Entered, gate: Gate) -> bytes:
    """Where those find their way who are in a gate's ranges."""
    return in_ranges(gate.key, now.ranges[gate.ranges])
