"""What is read of pinned maps: the whole when it has to be, the touched entries else; never something old for new."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.reader import ObservationFailed
from reconciler.kernel import bpf
from reconciler.kernel.bpf_maps import SMALL, Looks, PinnedMaps
from reconciler.kinds.bpf_map_entry import BpfMapEntry, BpfMapEntryKey
from tests.kinds.bpf.ground import Ground, ground
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
MANY, PATIENCE = 3 * SMALL, 15.0


def rows(path: str, keys: Sequence[bytes], values: Sequence[Any]) -> list[BpfMapEntry]:
    return [BpfMapEntry(BpfMapEntryKey(path, key), value) for key, value in zip(keys, values, strict=True)]


def key(number: int) -> bytes:
    return struct.pack("=I", number)


class Node:
    """One map, and whoever looks at it by a clock of the test's own."""

    def __init__(self, place: Ground) -> None:
        self.path, self.now = f"{place.pins}/maps/pl_h_1", 0.0
        self.maps = PinnedMaps(clock=lambda: self.now)
        sh(f"mkdir {place.pins} {place.pins}/maps")
        self.make()

    def make(self) -> None:
        sh(f"bpftool map create {self.path} type hash key 4 value 4 entries {2 * MANY} name pl_h_1")

    def write(self, numbers: Sequence[int], value: int | None = 1, *, told: bool = True) -> None:
        keys = b"".join(map(key, numbers))
        with bpf.opened_map(self.path) as (descriptor, info):
            assert not bpf.write(descriptor, info, bpf.Written(len(numbers), keys, b"" if value is None else key(value) * len(numbers)))
        if told:
            self.maps.touched(self.path, len(numbers), keys)

    def look(self) -> Any:
        return self.maps.rows([self.path], rows, PATIENCE, {})

    def fresh(self) -> dict[Any, Any]:
        """What a start with no memory sees."""
        return {row.key: row for row in PinnedMaps().rows([self.path], rows, PATIENCE, {})}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with ground(tmp_path) as place:
        yield Node(place)


def test_of_many_entries_those_that_were_written_to_are_read_and_the_rest_stays_as_it_is(node: Node) -> None:
    node.write(range(MANY))
    first = node.look()
    assert node.maps.looks == Looks(1, 0)
    assert node.look() is first
    assert node.maps.looks == Looks(1, 0), "nothing was written, nothing is read"
    node.write([5, 7], 9)
    node.write([11], None)
    second = node.look()
    assert node.maps.looks == Looks(1, 3)
    assert {row.key: row for row in second} == node.fresh()
    assert set(second.since(first)) == {BpfMapEntryKey(node.path, key(number)) for number in (5, 7, 11)}
    untouched = BpfMapEntryKey(node.path, key(8))
    assert second.get(untouched) is first.get(untouched), "the very same row"


def test_what_others_wrote_is_seen_when_the_whole_is_looked_at_again(node: Node) -> None:
    node.write(range(MANY))
    node.look()
    node.write([5], 9, told=False)
    node.now = PATIENCE - 1
    stale = node.look()
    assert stale.get(BpfMapEntryKey(node.path, key(5))).value == key(1), "not yet"
    node.now = PATIENCE
    now = node.look()
    assert {row.key: row for row in now} == node.fresh()
    assert set(now.since(stale)) == {BpfMapEntryKey(node.path, key(5))}
    node.now += PATIENCE
    assert node.look() is now, "equal bytes are nothing new"


def test_a_small_map_is_always_read_whole(node: Node) -> None:
    node.write(range(SMALL))
    node.look()
    node.write([3], 9, told=False)
    assert {row.key: row for row in node.look()} == node.fresh()


def test_a_network_that_has_gone_is_not_taken_for_a_shorter_one(tmp_path: Path) -> None:
    """A trie answers for any key with the longest prefix of it."""

    def network(length: int, number: int) -> bytes:
        return struct.pack("=I", length) + number.to_bytes(4, "big")

    with ground(tmp_path) as place:
        node = Node(place)
        path = f"{place.pins}/maps/pl_t_1"
        sh(f"bpftool map create {path} type lpm_trie key 8 value 4 entries {2 * MANY} name pl_t_1 flags 1")
        keys = [network(8, 0), *(network(32, number) for number in range(MANY))]
        with bpf.opened_map(path) as (descriptor, info):
            assert not bpf.write(descriptor, info, bpf.Written(len(keys), b"".join(keys), bytes(4 * len(keys))))
            assert {row.key.key for row in node.maps.rows([path], rows, PATIENCE, {})} == set(keys)
            assert not bpf.write(descriptor, info, bpf.Written(1, keys[5], b""))
        node.maps.touched(path, 1, keys[5])
        looks = node.maps.looks
        assert {row.key.key for row in node.maps.rows([path], rows, PATIENCE, {})} == {*keys} - {keys[5]}
        assert node.maps.looks == Looks(looks.whole + 1, looks.single)
        node.maps.rows([path], rows, PATIENCE, {})
        assert node.maps.looks == Looks(looks.whole + 1, looks.single), "nothing was written, nothing is read"


def test_many_writes_are_read_in_one_go(node: Node) -> None:
    node.write(range(MANY))
    node.look()
    node.write(range(MANY // 2), 4)
    assert {row.key: row for row in node.look()} == node.fresh()
    assert node.maps.looks == Looks(2, 0)


def test_another_map_under_the_same_path_is_another_one(node: Node) -> None:
    node.write(range(MANY))
    node.look()
    sh(f"rm {node.path}")
    node.make()
    node.write([3], 2, told=False)
    assert [row.key.key for row in node.look()] == [key(3)]


def test_a_map_that_is_asked_for_no_more_has_no_rows(node: Node) -> None:
    node.write(range(MANY))
    before = node.look()
    after = node.maps.rows([], rows, PATIENCE, {})
    assert len(after) == 0
    assert len(before) == MANY, "what was seen stays as it was seen"


def test_a_map_that_cannot_be_read_is_told_and_what_is_known_of_others_is_kept(node: Node) -> None:
    node.write(range(MANY))
    node.look()
    with pytest.raises(ObservationFailed, match="No such file"):
        node.maps.rows([node.path, f"{node.path}-none"], rows, PATIENCE, {})
    assert {row.key: row for row in node.look()} == node.fresh()
