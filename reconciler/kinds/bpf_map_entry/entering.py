"""How the row that stands for all services becomes the entries: ids of lists and slots are handles, kept from what is seen.

While a plan runs every state is one that programs can work with. Backends are written before the fronts
that count them and go after these; a list that gets shorter has its last backends move into the holes; and the id
of a list that is gone is no other list's as long as a front may name it. Ranges are never changed: others have
another id, and are there with all that is behind them before the front names that id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import compress
from operator import is_, is_not
from typing import Any
from zlib import crc32

from reconciler.engine.model import Origin
from reconciler.kinds.bpf_map_entry.entered import Entered, Listed
from reconciler.kinds.bpf_map_entry.layout import RANGED, Service, front_value, service_of, slot_key, slot_of
from reconciler.kinds.bpf_map_entry.ranging import behind, let_in, number_all
from reconciler.kinds.bpf_map_entry.row import BpfMapEntry, BpfMapEntryKey
from reconciler.kinds.bpf_map_entry.services import Entries, Front, Gate, ServiceTable, settle

_new = tuple.__new__  # what a NamedTuple's own constructor calls: there are a hundred thousand of them


def entered(stated: Mapping[Any, Any], seen: Sequence[BpfMapEntry], before: Mapping[Any, Any] | None) -> Mapping[Any, Any]:
    """The stated rows with every table as its entries. `before`: what this gave last time; from there a small change is a small step."""
    table = next((row for row in stated.values() if type(row) is ServiceTable), None)
    if table is None:
        return stated
    rest = {key: row for key, row in stated.items() if row is not table}
    if not table.known:
        return {**rest, **{row.key: row for row in seen if row.key.map in table.maps}}
    if type(before) is not Entered or before.table.maps != table.maps:
        return _from_seen(table, rest, seen)
    changed = _apart(before.table.services, table.services)
    if not changed and rest == before.rest:
        return before
    now = Entered(table, before)
    _rest(now, rest)
    _change(now, before.table.services, changed, {}, {})
    return now.made()


def _apart(before: Mapping[str, Entries], now: Mapping[str, Entries]) -> list[str]:
    """The names of services that are not what they were, those that are gone first."""
    if before is now:
        return []
    gone: list[str] = []
    if len(before) == len(now) and all(map(is_, before, now)):  # the very same names
        changed = list(compress(now, map(is_not, before.values(), now.values())))
    else:
        changed = [name for name, entries in now.items() if before.get(name) is not entries]
        gone = [name for name in before if name not in now]
    return gone + [name for name in changed if before.get(name) != now[name]]


def _rest(now: Entered, rest: dict[BpfMapEntryKey, BpfMapEntry]) -> None:
    if now.rest != rest:
        for key in now.rest.keys() - rest.keys():
            now.take(key)
        for key, row in rest.items():
            if now.rest.get(key) is not row:
                now.put(row)
        now.rest = rest


def _from_seen(table: ServiceTable, rest: dict[BpfMapEntryKey, BpfMapEntry], seen: Sequence[BpfMapEntry]) -> Entered:
    fronts, slots = _read(table, seen)
    now = Entered(table)
    now.numbers.update(fronts.values())
    _rest(now, rest)
    number_all(now, seen)
    _change(now, {}, list(table.services), _kept(now, fronts), slots)
    return now.made()


def _read(table: ServiceTable, seen: Iterable[BpfMapEntry]) -> tuple[dict[bytes, int], dict[int, dict[int, bytes]]]:
    """Of what is seen: each front's list, and each list's slots."""
    fronts: dict[bytes, int] = {}
    slots: dict[int, dict[int, bytes]] = defaultdict(dict)
    front_map, backend_map, _ = table.maps
    for row in seen:
        name, key = row.key
        if not isinstance(row.value, bytes) or not isinstance(key, bytes):
            continue
        if name == front_map:
            service = service_of(row.value)
            if not service.flags & RANGED:
                fronts[key] = service.id
        elif name == backend_map:
            number, slot = slot_of(key)
            slots[number][slot] = row.value
    return fronts, slots


def _kept(now: Entered, fronts: Mapping[bytes, int]) -> dict[str, int]:
    """The lists that keep the id which their fronts name.

    An id is a list's only where all fronts that name it are the list's own, or where it is the one that the list has by
    its name: else a front that is about to go would lead to another service's backends for a while.
    """
    if not fronts:
        return {}
    wanted: dict[bytes, str] = {}
    for service in sorted(now.table.services):
        for front in (entries := now.table.services[service]).fronts:
            wanted.setdefault(front.key, front.list)
        for gate in entries.gates:
            wanted[behind(now, gate)] = gate.list
    named: dict[int, set[str]] = defaultdict(set)
    for key, number in fronts.items():
        named[number].add(wanted.get(key, ""))
    kept: dict[str, int] = {}
    for number, lists in named.items():
        mine = lists if len(lists) == 1 else {name for name in lists if name and preferred(name) == number}
        for name in sorted(mine - {""})[:1]:
            if name not in kept or preferred(name) == number:
                kept[name] = number
    return kept


def preferred(name: str) -> int:
    """The id that a list has unless another one has it: the same on every start."""
    return crc32(name.encode()) or 1


def _change(
    now: Entered,
    before: Mapping[str, Entries],
    changed: Collection[str],
    kept: Mapping[str, int],
    slots: Mapping[int, Mapping[int, bytes]],
) -> None:
    """Replace what these services had by what they want; lists and ranges first, for fronts name their numbers."""
    nothing = Entries()
    for name in changed:
        old, new = before.get(name, nothing), now.table.services.get(name, nothing)
        _lists(now, old, new, kept, slots)
        _ranged(now, old, new)
    freed: set[bytes] = set()
    if before:
        for name in changed:
            keys = {front.key for front in now.table.services.get(name, nothing).doors}
            freed |= {front.key for front in before.get(name, nothing).doors if front.key not in keys and _leave(now, name, front.key)}
    for name in changed:
        entries = now.table.services.get(name, nothing)
        for front in entries.doors:
            _front(now, name, entries, front)
    for key in freed:
        if key not in now.holders and key in now.waiting:
            _hand_over(now, key)


def _lists(now: Entered, old: Entries, new: Entries, kept: Mapping[str, int], slots: Mapping[int, Mapping[int, bytes]]) -> None:
    wanted = dict(new.lists)
    for name, _ in old.lists:
        if name not in wanted:
            number, gone = now.lists.pop(name)
            _take_out(now, number, range(len(gone)))
    for name, want in new.lists:
        known = now.lists.get(name)
        if known is not None:
            number, had = known
            placed = settle(want, had)
            _write(now, number, placed, had, new.origin)
            _take_out(now, number, range(len(placed), len(had)))
        else:
            number = kept.get(name) or _number(now.numbers, name)
            now.numbers.add(number)
            placed = settle(want, _listed(slots.get(number, {})))
            _write(now, number, placed, (), new.origin)
        now.lists[name] = _new(Listed, (number, placed))


def _ranged(now: Entered, old: Entries, new: Entries) -> None:
    """The ranges of a service, and what stands behind them."""
    if not old.gates and not new.gates:
        return
    gone = {behind(now, gate) for gate in old.gates}
    let_in(now, old, new)
    for gate in new.gates:
        key = behind(now, gate)
        gone.discard(key)
        _put_front(now, key, _value(now, gate), new.origin)
    for key in gone:
        now.take(_new(BpfMapEntryKey, (now.table.key.map, key)))


def _write(now: Entered, number: int, placed: tuple[bytes, ...], had: tuple[bytes, ...], origin: tuple[Origin, ...]) -> None:
    path = now.table.backends
    for slot, value in enumerate(placed):
        if slot >= len(had) or had[slot] != value:
            key = _new(BpfMapEntryKey, (path, slot_key(number, slot)))
            now.put(_new(BpfMapEntry, (key, value, "", origin)))


def _take_out(now: Entered, number: int, slots: Iterable[int]) -> None:
    for slot in slots:
        now.take(_new(BpfMapEntryKey, (now.table.backends, slot_key(number, slot))))


def _listed(slots: Mapping[int, bytes]) -> list[bytes | None]:
    """What is seen of a list, by slot; None where there is a hole."""
    return [slots.get(slot) for slot in range(min(max(slots) + 1, _MOST))] if slots else []


_MOST = 1 << 20  # slots of one list that are looked at; whoever wrote one beyond was not us


def _number(taken: Collection[int], name: str) -> int:
    """An id that no front names."""
    number = preferred(name)
    while number in taken:
        number = number % 0xFFFFFFFF + 1
    return number


def _front(now: Entered, name: str, entries: Entries, front: Front | Gate) -> None:
    """Put a front in place; of two services that want the same one, it is the first's by name."""
    holder = now.holders.get(front.key)
    if holder is not None and holder != name:
        first, other = sorted((holder, name))
        now.waiting[front.key] = tuple(sorted({*now.waiting.get(front.key, ()), other} - {first}))
        if holder == first:
            return
    now.holders[front.key] = name
    value = front_value(Service(now.ranges[front.ranges], 0, 0, RANGED)) if isinstance(front, Gate) else _value(now, front)
    _put_front(now, front.key, value, entries.origin)


def _value(now: Entered, front: Front | Gate) -> bytes:
    number, slots = now.lists[front.list]
    return front_value(Service(number, len(slots), front.affinity, front.flags))


def _put_front(now: Entered, at: bytes, value: bytes, origin: tuple[Origin, ...]) -> None:
    key = _new(BpfMapEntryKey, (now.table.key.map, at))
    row = now.get(key)
    if row is None or row.value != value or row.origin != origin:
        now.put(_new(BpfMapEntry, (key, value, "", origin)))


def _leave(now: Entered, name: str, key: bytes) -> bool:
    """A service gives up a front; True where it had it."""
    if now.holders.get(key) != name:
        others = tuple(one for one in now.waiting.get(key, ()) if one != name)
        _wait(now, key, others)
        return False
    del now.holders[key]
    now.take(_new(BpfMapEntryKey, (now.table.key.map, key)))
    return True


def _hand_over(now: Entered, key: bytes) -> None:
    """A front that was given up goes to the next service that wants it."""
    others = now.waiting[key]
    for name in others:
        entries = now.table.services.get(name)
        front = next((one for one in entries.doors if one.key == key), None) if entries else None
        if entries is not None and front is not None:
            _wait(now, key, tuple(one for one in others if one != name))
            _front(now, name, entries, front)
            return


def _wait(now: Entered, key: bytes, names: tuple[str, ...]) -> None:
    if names:
        now.waiting[key] = names
    else:
        now.waiting.pop(key, None)
