"""What the programs of services count, and what their maps hold now: for people and for metrics. Nothing is decided by it."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from reconciler.engine.reader import ObservationFailed
from reconciler.kernel.bpf import dump, look_up, opened_map, why
from reconciler.kinds.bpf_map_entry.layout import (
    COUNT,
    COUNTS,
    DROPPED,
    DROPS,
    FRONTS,
    RANGED,
    RANGES,
    Service,
    in_ranges,
    range_of,
    service_of,
)
from reconciler.kinds.bpf_map_entry.services import Entries, Front, Gate

_POSSIBLE = "/sys/devices/system/cpu/possible"


class Count(NamedTuple):
    """Of one list of backends, since the map was made; summed over all CPUs."""

    connections: int = 0
    packets: int = 0  # of flows from outside
    bytes: int = 0


class Held(NamedTuple):
    """What a node's maps hold."""

    fronts: dict[bytes, Service]
    counts: dict[int, Count]  # by the list's id; those of which nothing was counted yet are missing
    drops: dict[str, int]  # by reason
    ranges: Mapping[int, frozenset[bytes]] = {}  # by their id: networks

    def lists(self, services: Mapping[str, Entries]) -> dict[str, Count]:
        """What was counted of each list, by its name: its fronts say under which id it is."""
        found = {}
        for entries in services.values():
            for front in entries.doors:
                there = lead(front, self.fronts.get)
                if there is not None and front.list not in found and there.id in self.counts:
                    found[front.list] = self.counts[there.id]
        return found

    def holds(self, front: Front | Gate, entries: Entries) -> bool:
        """Whether a front leads to as many backends as it should, and lets in whom it should."""
        there = lead(front, self.fronts.get)
        if there is None or there.backends != len(dict(entries.lists)[front.list]):
            return False
        if isinstance(front, Front):
            return True
        return self.ranges.get(self.fronts[front.key].id, frozenset()) == set(dict(entries.ranges)[front.ranges])


def lead(front: Front | Gate, get: Callable[[bytes], Service | None]) -> Service | None:
    """What a front leads those to whom it lets in; None where it is missing, or is not such a one."""
    there = get(front.key)
    if there is None or bool(there.flags & RANGED) is not (type(front) is Gate):
        return None
    return get(in_ranges(front.key, there.id)) if there.flags & RANGED else there


def held(maps: str) -> Held:
    """All of it, from the folder where the maps are pinned. Raises ObservationFailed."""
    try:
        with opened_map(f"{maps}/{FRONTS}") as (descriptor, info):
            keys, values = dump(descriptor, info)
            size = info.value_size
            fronts = {
                keys[start : start + info.key_size]: service_of(values[at : at + size])
                for start, at in zip(range(0, len(keys), info.key_size), range(0, len(values), size), strict=True)
            }
        return Held(fronts, _counts(maps), _drops(maps), _ranges(maps))
    except OSError as error:
        raise ObservationFailed(f"{maps}: {why(error)}") from error


def some(maps: str, services: Iterable[Entries]) -> dict[str, Count]:
    """What was counted of the lists of some services alone, by name: a page of them is no reason to read all. Raises ObservationFailed."""
    found: dict[str, Count] = {}
    try:
        with opened_map(f"{maps}/{FRONTS}") as (fronts, front_info), opened_map(f"{maps}/{COUNTS}") as (counts, count_info):
            each = count_info._replace(value_size=_aligned(count_info.value_size) * cpus())

            def get(key: bytes) -> Service | None:
                raw = look_up(fronts, front_info, key)
                return service_of(raw) if raw is not None else None

            for front in (front for entries in services for front in entries.doors):
                there = lead(front, get) if front.list not in found else None
                value = look_up(counts, each, struct.pack("=I", there.id)) if there is not None else None
                if value is not None:
                    found[front.list] = _summed(value)
    except OSError as error:
        raise ObservationFailed(f"{maps}: {why(error)}") from error
    return found


def _ranges(maps: str) -> dict[int, frozenset[bytes]]:
    """None where nothing is reached from outside: then there is no such map."""
    found: dict[int, set[bytes]] = defaultdict(set)
    try:
        with opened_map(f"{maps}/{RANGES}") as (descriptor, info):
            keys, _ = dump(descriptor, info)
    except FileNotFoundError:
        return {}
    for start in range(0, len(keys), info.key_size):
        number, network = range_of(keys[start : start + info.key_size])
        found[number].add(network)
    return {number: frozenset(networks) for number, networks in found.items()}


def drops(maps: str) -> dict[str, int]:
    """Packets and calls that went nowhere, by reason. Raises ObservationFailed."""
    try:
        return _drops(maps)
    except OSError as error:
        raise ObservationFailed(f"{maps}: {why(error)}") from error


def _summed(of_cpus: bytes) -> Count:
    return Count(*map(sum, zip(*COUNT.iter_unpack(of_cpus), strict=True)))


def _counts(maps: str) -> dict[int, Count]:
    with opened_map(f"{maps}/{COUNTS}") as (descriptor, info):
        each = _aligned(info.value_size) * cpus()
        keys, values = dump(descriptor, info._replace(type="hash", value_size=each))
    found = {}
    for number, (key,) in enumerate(struct.iter_unpack("=I", keys)):
        found[key] = _summed(values[number * each : (number + 1) * each])
    return found


def _drops(maps: str) -> dict[str, int]:
    with opened_map(f"{maps}/{DROPPED}") as (descriptor, info):
        per_cpu = info._replace(value_size=_aligned(info.value_size) * cpus())
        found = {}
        for number, reason in enumerate(DROPS[: info.max_entries]):
            value = look_up(descriptor, per_cpu, struct.pack("=I", number)) or b""
            found[reason] = sum(count for (count,) in struct.iter_unpack("=Q", value))
        return found


def _aligned(size: int) -> int:
    """Values of each CPU begin at a multiple of eight bytes."""
    return (size + 7) & ~7


@cache
def cpus() -> int:
    """How many values an entry of a map by CPU has: those of CPUs that are not there yet are among them."""
    last = Path(_POSSIBLE).read_text().strip().rpartition(",")[2].rpartition("-")[2]
    return int(last) + 1
