"""Services come and go: whatever is changed, and wherever a plan is broken off, every front leads to backends of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from unittest import mock
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.assign import assign
from reconciler.engine.diff import diff
from reconciler.engine.kind import Kinds
from reconciler.engine.model import Action, Observed, Seen, Verb, Wanted
from reconciler.engine.order import order
from reconciler.kinds.bpf_map_entry import KIND, BpfMapEntry, BpfMapEntryKey, entering
from reconciler.kinds.bpf_map_entry.entered import Entered
from reconciler.kinds.bpf_map_entry.layout import (
    BACKENDS,
    FRONTS,
    INSIDE,
    RANGES,
    TCP,
    Service,
    address,
    array_key,
    backend_value,
    front_key,
    front_value,
    service_of,
    slot_key,
    slot_of,
)
from reconciler.kinds.bpf_map_entry.services import Entries, Front, ServiceTable, settle

FRONT_MAP, BACKEND_MAP, RANGE_MAP = (f"/sys/fs/bpf/plumbline/maps/{name}" for name in (FRONTS, BACKENDS, RANGES))
KINDS = Kinds([KIND])
Maps = dict[Any, bytes]  # by BpfMapEntryKey


def front(number: int) -> bytes:
    return front_key(address(f"10.96.0.{number}"), 80, TCP, INSIDE)


def backend(number: int) -> bytes:
    return backend_value(address(f"10.244.0.{number}"), 8080, number % 2)


def table(stated: Mapping[str, Entries]) -> ServiceTable:
    return ServiceTable(BpfMapEntryKey(FRONT_MAP, b""), BACKEND_MAP, RANGE_MAP, stated)


def entries(name: str, fronts: Mapping[int, int], lists: Mapping[int, tuple[int, ...]]) -> Entries:
    """fronts: number → list; lists: number → numbers of backends."""
    named = {number: f"{name} {number}" for number in lists}
    return Entries(
        tuple(Front(front(number), named[chosen], 0, 0) for number, chosen in fronts.items() if chosen in lists),
        tuple((named[number], tuple(backend(one) for one in them)) for number, them in lists.items()),
    )


class State(NamedTuple):
    """What is wanted next, and how it goes."""

    services: dict[str, Entries]
    restarted: bool  # the daemon knows nothing of before
    done: float  # how much of the plan is run before the next state comes


@st.composite
def states(draw: st.DrawFn) -> State:
    stated = {}
    for name in sorted(draw(st.sets(st.sampled_from("abcd")))):
        lists = draw(st.dictionaries(st.integers(0, 1), st.lists(st.integers(1, 6), unique=True).map(tuple), min_size=1))
        stated[name] = entries(name, draw(st.dictionaries(st.integers(1, 6), st.integers(0, 1), max_size=3)), lists)
    return State(stated, draw(st.booleans()), draw(st.sampled_from([0.0, 0.3, 0.6, 1.0, 1.0, 1.0])))


def reached(maps: Maps, key: bytes) -> set[bytes]:
    """The backends that a front leads to; every one of its slots must be there."""
    service = service_of(maps[BpfMapEntryKey(FRONT_MAP, key)])
    return {maps[BpfMapEntryKey(BACKEND_MAP, slot_key(service.id, slot))] for slot in range(service.backends)}


def wanted_of(stated: Mapping[str, Entries]) -> dict[bytes, tuple[str, set[bytes]]]:
    """Of each front the list that it should lead to, and its backends: of two services that want it, the first one's."""
    found: dict[bytes, tuple[str, set[bytes]]] = {}
    for name in sorted(stated):
        lists = dict(stated[name].lists)
        mine = {one.key: (one.list, set(lists[one.list])) for one in stated[name].fronts}
        found = {**mine, **found}
    return found


def planned(wanted: Wanted, maps: Maps) -> list[Action]:
    seen = Seen({KIND.name: Observed([BpfMapEntry(key, value) for key, value in maps.items()])})
    return order(KINDS, wanted, seen, diff(KINDS, wanted, seen).changes)


def run(action: Action, maps: Maps) -> None:
    row: Any = action.change.row
    if action.verb is Verb.DELETE:
        del maps[row.key]
    else:
        assert (action.verb is Verb.CREATE) is (row.key not in maps)
        maps[row.key] = row.value


def assigned(stated: Mapping[str, Entries], maps: Maps, before: Wanted | None) -> Wanted:
    one = table(stated)
    seen = Seen({KIND.name: Observed([BpfMapEntry(key, value) for key, value in maps.items()])})
    return assign(KINDS, Wanted({KIND.name: {one.key: one}}), seen, before)


def go_through(history: list[State]) -> None:
    maps: Maps = {}
    before: Wanted | None = None
    named: dict[bytes, str] = {}  # the list that a front was last written for
    for state in history:
        wanted = assigned(state.services, maps, None if state.restarted else before)
        before = wanted
        targets = wanted_of(state.services)
        lists = {name: set(them) for one in state.services.values() for name, them in one.lists}
        allowed = {}
        for key in {key.key for key in maps if key.map == FRONT_MAP} | targets.keys():
            assert isinstance(key, bytes)
            there = reached(maps, key) if BpfMapEntryKey(FRONT_MAP, key) in maps else set()
            allowed[key] = there | targets.get(key, ("", set()))[1] | lists.get(named.get(key, ""), set())
        actions = planned(wanted, maps)
        for action in actions[: round(len(actions) * state.done)]:
            run(action, maps)
            written = action.change.row.key
            if written.map == FRONT_MAP and written in maps:
                named[written.key] = targets[written.key][0]
            for key in [key.key for key in maps if key.map == FRONT_MAP]:
                assert isinstance(key, bytes)
                assert reached(maps, key) <= allowed[key]
        if state.done == 1.0:
            converged(maps, targets)
            if lists.keys() == {name for name, _ in targets.values()}:
                again = assigned(state.services, maps, None)
                assert not planned(again, maps), "who knows nothing of before finds all in order"


def converged(maps: Maps, targets: Mapping[bytes, tuple[str, set[bytes]]]) -> None:
    assert {key.key for key in maps if key.map == FRONT_MAP} == targets.keys()
    ids: dict[int, set[str]] = {}
    slots: dict[int, list[int]] = {}
    for key, (name, them) in targets.items():
        assert reached(maps, key) == them
        ids.setdefault(service_of(maps[BpfMapEntryKey(FRONT_MAP, key)]).id, set()).add(name)
    assert all(len(names) == 1 for names in ids.values()), "an id is one list's"
    for key in maps:
        if key.map == BACKEND_MAP:
            assert isinstance(key.key, bytes)
            number, slot = slot_of(key.key)
            slots.setdefault(number, []).append(slot)
    assert all(sorted(mine) == list(range(len(mine))) for mine in slots.values()), "slots are dense"


@given(st.lists(states(), min_size=1, max_size=6))
def test_every_state_on_the_way_leads_where_it_should(history: list[State]) -> None:
    go_through(history)


@given(st.lists(states(), min_size=1, max_size=6))
def test_also_where_names_have_the_same_number(history: list[State]) -> None:
    with mock.patch.object(entering, "preferred", lambda name: crc32(name.encode()) % 3 + 1):
        go_through(history)


@given(st.lists(states(), min_size=2, max_size=4))
def test_a_small_step_ends_where_a_whole_one_does(history: list[State]) -> None:
    """Ids and slots may differ by what was there before; who is reached where may not."""
    before: Wanted | None = None
    steps: list[tuple[Mapping[Any, Any], dict[Any, Any]]] = []
    for state in history:
        before = assigned(state.services, {}, before)
        maps = {key: row.value for key, row in before.of(KIND.name).items()}
        converged(maps, wanted_of(state.services))
        told_apart(steps, before.of(KIND.name))
        steps.append((before.of(KIND.name), dict(before.of(KIND.name))))


def told_apart(steps: list[tuple[Mapping[Any, Any], dict[Any, Any]]], now: Mapping[Any, Any]) -> None:
    """What differs from an earlier one is told without a walk over all of it."""
    assert type(now) is Entered
    for earlier, then in steps:
        keys = now.since(earlier)
        assert keys is not None
        assert {key for key in {*now, *then} if now.get(key) is not then.get(key)} <= set(keys)
        assert all(earlier.get(key) is row for key, row in then.items()), "the earlier one stays as it was"


def test_one_backend_less_is_three_lines() -> None:
    """The last one moves into the hole."""
    maps: Maps = {}
    first = assigned({"a": entries("a", {1: 0}, {0: (1, 2, 3)})}, maps, None)
    for action in planned(first, maps):
        run(action, maps)
    second = assigned({"a": entries("a", {1: 0}, {0: (2, 3)})}, maps, first)
    done = [(action.verb.value, action.change.row.key.map.rpartition("/")[2]) for action in planned(second, maps)]
    assert done == [("~", BACKENDS), ("~", FRONTS), ("-", BACKENDS)]


def test_the_same_is_the_very_same() -> None:
    stated = {"a": entries("a", {1: 0}, {0: (1, 2)}), "b": entries("b", {2: 0}, {0: (3,)})}
    first = assigned(stated, {}, None)
    assert assigned(dict(stated), {}, first).of(KIND.name) is first.of(KIND.name)
    changed = assigned({**stated, "b": entries("b", {2: 0}, {0: (3, 4)})}, {}, first).of(KIND.name)
    known = first.of(KIND.name)
    assert len(changed) == len(known) + 1
    assert all(changed[key] is row for key, row in known.items() if key != BpfMapEntryKey(FRONT_MAP, front(2)))


def test_other_entries_are_taken_along() -> None:
    one = table({"a": entries("a", {1: 0}, {0: (1,)})})
    slot = BpfMapEntry(BpfMapEntryKey("/sys/fs/bpf/plumbline/maps/pl_j_con4_1", array_key(0)), "/sys/fs/bpf/plumbline/sock-1/connect4")
    with_slot = assign(KINDS, Wanted({KIND.name: {one.key: one, slot.key: slot}}), Seen({}))
    found = with_slot.of(KIND.name)
    assert type(found) is Entered
    assert found[slot.key] is slot
    assert len(found) == 3
    without = assign(KINDS, Wanted({KIND.name: {one.key: one}}), Seen({}), with_slot).of(KIND.name)
    assert slot.key not in without
    assert len(without) == 2
    alone = Wanted({KIND.name: {slot.key: slot}})
    assert assign(KINDS, alone, Seen({}), with_slot).of(KIND.name) == {slot.key: slot}


@pytest.mark.parametrize(
    ("wanted", "had", "settled"),
    [
        ("abc", "", "abc"),
        ("bc", "abc", "cb"),
        ("ab", "abc", "ab"),
        ("abcd", "abc", "abcd"),
        ("dbc", "abc", "dbc"),
        ("", "abc", ""),
        ("ca", "aa-c", "ac"),
        ("cd", "a-c", "cd"),
    ],
)
def test_who_stays_and_who_moves(wanted: str, had: str, settled: str) -> None:
    def of(letter: str) -> bytes:
        return backend("abcd".index(letter) + 1)

    assert settle(tuple(map(of, wanted)), [None if one == "-" else of(one) for one in had]) == tuple(map(of, settled))


def test_what_a_stranger_wrote_is_survived() -> None:
    """A slot that no list can have, a value of a program array, a front without a list."""
    rows = [
        BpfMapEntry(BpfMapEntryKey(BACKEND_MAP, slot_key(entering.preferred("a 0"), 0xFFFFFFFF)), backend(1)),
        BpfMapEntry(BpfMapEntryKey(BACKEND_MAP, slot_key(7, 1)), backend(1)),
        BpfMapEntry(BpfMapEntryKey("/sys/fs/bpf/plumbline/maps/pl_j_con4_1", array_key(0)), "/sys/fs/bpf/plumbline/x/y"),
        BpfMapEntry(BpfMapEntryKey(FRONT_MAP, front(1)), front_value(Service(7, 9, 0, 0))),
    ]
    one = table({"a": entries("a", {1: 0}, {0: (1, 2)})})
    found = assign(KINDS, Wanted({KIND.name: {one.key: one}}), Seen({KIND.name: Observed(rows)})).of(KIND.name)
    maps = {key: row.value for key, row in found.items()}
    assert reached(maps, front(1)) == {backend(1), backend(2)}
