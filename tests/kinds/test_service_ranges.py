"""Ranges come and go: wherever a plan is broken off, nobody is let in who was not and is not to be, and nobody is kept out who was and is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from unittest import mock
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.model import Verb, Wanted
from reconciler.kinds.bpf_map_entry import KIND, BpfMapEntry, BpfMapEntryKey, entering, ranging
from reconciler.kinds.bpf_map_entry.layout import (
    FRONTS,
    OUTSIDE,
    RANGED,
    RANGES,
    TCP,
    Service,
    address,
    front_key,
    front_value,
    in_ranges,
    network,
    range_key,
    range_of,
    service_of,
)
from reconciler.kinds.bpf_map_entry.services import Entries, Front, Gate
from tests.effort import examples
from tests.kinds.test_service_table import FRONT_MAP, RANGE_MAP, Maps, assigned, backend, planned, reached, run

CLIENTS = tuple(f"192.0.2.{number}" for number in range(4))
NETWORKS = ("192.0.2.0/32", "192.0.2.0/31", "192.0.2.2/31", "192.0.2.3/32", "0.0.0.0/0")


def place(number: int) -> bytes:
    return front_key(address(f"203.0.113.{number}"), 80, TCP, OUTSIDE)


class Stated(NamedTuple):
    """One service: where it is reached, for whom (None: for everybody), and by which backends."""

    places: tuple[int, ...]
    networks: tuple[str, ...] | None
    backends: tuple[int, ...]

    def entries(self, name: str) -> Entries:
        held = (f"{name} all", tuple(map(backend, self.backends)))
        if self.networks is None:
            return Entries(tuple(Front(place(one), held[0], 0, 0) for one in self.places), (held,))
        ranges = (f"{name} from {','.join(self.networks)}", tuple(map(network, self.networks)))
        return Entries((), (held,), (), tuple(Gate(place(one), ranges[0], held[0], 0, 0) for one in self.places), (ranges,))


class State(NamedTuple):
    """What is wanted next, and how it goes."""

    services: dict[str, Stated]
    restarted: bool  # the daemon knows nothing of before
    done: float  # how much of the plan is run before the next state comes

    def entries(self) -> dict[str, Entries]:
        return {name: one.entries(name) for name, one in sorted(self.services.items())}


STATED = st.builds(
    Stated,
    st.sets(st.integers(1, 3), min_size=1).map(lambda found: tuple(sorted(found))),
    st.none() | st.sets(st.sampled_from(NETWORKS), max_size=3).map(lambda found: tuple(sorted(found))),
    st.lists(st.integers(1, 4), unique=True, max_size=3).map(tuple),
)
STATES = st.builds(State, st.dictionaries(st.sampled_from("ab"), STATED), st.booleans(), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0, 1.0]))


def holds(networks: set[bytes], client: str) -> bool:
    who = int.from_bytes(address(client), "big")
    return any(who >> 128 - one[0] == int.from_bytes(one[1:], "big") >> 128 - one[0] for one in networks)


def door(maps: Maps, key: bytes, client: str) -> bytes | None:
    """The front whose backends a client gets, as bpf/begin.h finds it; None: it gets none."""
    value = maps.get(BpfMapEntryKey(FRONT_MAP, key))
    if value is None:
        return None
    service = service_of(value)
    if not service.flags & RANGED:
        return key
    assert service.backends == 0, "programs that know of no ranges let nobody in"
    inside = {one[1] for row in maps if row.map == RANGE_MAP and (one := range_of(row.key))[0] == service.id}
    behind = in_ranges(key, service.id)
    return behind if holds(inside, client) and BpfMapEntryKey(FRONT_MAP, behind) in maps else None


def wanted_at(services: Mapping[str, Stated], number: int, client: str) -> set[bytes] | None:
    for _, one in sorted(services.items()):
        if number in one.places:
            let_in = one.networks is None or holds({network(text) for text in one.networks}, client)
            return {backend(it) for it in one.backends} if let_in else None
    return None


def found_at(maps: Maps, number: int, client: str) -> set[bytes] | None:
    key = door(maps, place(number), client)
    return None if key is None else reached(maps, key)


def go_through(history: list[State]) -> None:
    maps: Maps = {}
    before: Wanted | None = None
    written: dict[Any, str] = {}  # front → the list that it was last written for
    questions = [(number, client) for number in (1, 2, 3) for client in CLIENTS]
    for state in history:
        wanted = assigned(state.entries(), maps, None if state.restarted else before)
        before = wanted
        names = {listed.id: name for name, listed in wanted.of(KIND.name).lists.items()}  # type: ignore[attr-defined]
        lists = {f"{name} all": {backend(it) for it in one.backends} for name, one in state.services.items()}
        first = {one: found_at(maps, *one) for one in questions}
        last = {one: wanted_at(state.services, *one) for one in questions}
        doors = {(number, client): door(maps, place(number), client) for number, client in questions}
        allowed = {}
        for one in questions:
            there = first[one]
            known = set() if there is None else there | lists.get(written.get(doors[one], ""), set())
            allowed[one] = known | (last[one] or set())
        actions = planned(wanted, maps)
        for action in actions[: round(len(actions) * state.done)]:
            run(action, maps)
            row: Any = action.change.row
            if row.key.map == FRONT_MAP and action.verb is not Verb.DELETE and not service_of(row.value).flags & RANGED:
                written[row.key.key] = names[service_of(row.value).id]
            for one in questions:
                now = found_at(maps, *one)
                assert now is None or first[one] is not None or last[one] is not None, f"{one} is let in by {action.change}"
                assert now is not None or first[one] is None or last[one] is None, f"{one} is kept out by {action.change}"
                assert (now or set()) <= allowed[one], f"{one} gets to others by {action.change}"
        if state.done == 1.0:
            assert {one: found_at(maps, *one) for one in questions} == last
            places = [one for it in state.services.values() for one in it.places]
            if len(places) == len(set(places)):  # a front tells whose it is
                assert not planned(assigned(state.entries(), maps, None), maps), "who knows nothing of before finds all in order"
            if not state.services:
                assert not maps


@examples(150)
@given(st.lists(STATES, min_size=1, max_size=5))
def test_at_no_moment_is_somebody_let_in_or_kept_out_by_mistake(history: list[State]) -> None:
    go_through(history)


@examples(150)
@given(st.lists(STATES, min_size=1, max_size=5))
def test_also_where_ids_clash(history: list[State]) -> None:
    with (
        mock.patch.object(entering, "preferred", lambda name: crc32(name.encode()) % 3 + 1),
        mock.patch.object(ranging, "preferred", lambda name: crc32(name.encode()) % 2 + 1),
    ):
        go_through(history)


def test_other_ranges_are_there_before_the_front_names_them_and_the_old_ones_go_last() -> None:
    maps: Maps = {}
    first = assigned({"a": Stated((1,), ("192.0.2.0/31",), (1,)).entries("a")}, maps, None)
    for action in planned(first, maps):
        run(action, maps)
    second = assigned({"a": Stated((1,), ("192.0.2.0/31", "192.0.2.3/32"), (1,)).entries("a")}, maps, first)
    done = [(action.verb.value, action.change.row.key.map.rpartition("/")[2]) for action in planned(second, maps)]
    assert done == [("+", RANGES), ("+", RANGES), ("+", FRONTS), ("~", FRONTS), ("-", FRONTS), ("-", RANGES)]
    assert [action.change.row.key.key == place(1) for action in planned(second, maps) if action.verb.value == "~"] == [True]


def test_ranges_that_a_stranger_wrote_are_nobodys() -> None:
    """Under the id that a service would have, and there is no front yet that names it: they never let anybody in."""
    one = Stated((1,), ("192.0.2.0/32",), (1,)).entries("a")
    number = ranging.preferred(one.ranges[0][0])
    maps: Maps = {BpfMapEntryKey(RANGE_MAP, range_key(number, network("0.0.0.0/0"))): bytes(4)}
    for action in planned(assigned({"a": one}, maps, None), maps):
        run(action, maps)
        assert found_at(maps, 1, CLIENTS[3]) is None
    assert found_at(maps, 1, CLIENTS[0]) == {backend(1)}
    assert all(range_of(key.key)[0] != number for key in maps if key.map == RANGE_MAP)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((RANGE_MAP, range_key(7, network("192.0.2.0/24")), bytes(4)), "ranges 7: from 192.0.2.0/24"),
        ((RANGE_MAP, range_key(7, network("2001:db8::/32")), bytes(4)), "ranges 7: from 2001:db8::/32"),
        ((RANGE_MAP, range_key(7, network("0.0.0.0/0")), bytes(4)), "ranges 7: from 0.0.0.0/0"),
        ((RANGE_MAP, range_key(7, network("::/0")), bytes(4)), "ranges 7: from ::/0"),
        ((FRONT_MAP, place(1), front_value(Service(7, 0, 0, RANGED))), "203.0.113.1:80/tcp from outside → only in ranges 7"),
        ((FRONT_MAP, in_ranges(place(1), 7), front_value(Service(9, 2, 0, 0))), "in ranges 7, 80/tcp → 2 backends"),
    ],
)
def test_in_words(row: tuple[str, bytes, bytes], words: str) -> None:
    assert BpfMapEntry(BpfMapEntryKey(*row[:2]), row[2]).about == words
