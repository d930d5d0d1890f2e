"""Entries written by bpf(2) against `bpftool` itself: the same lines, the same maps afterwards, the same words where it refuses."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.kernel import bpf, bpf_lines
from reconciler.kernel.bpf_maps import PinnedMaps
from tests.kinds.bpf.ground import Ground, ground
from tests.namespaces import sh

pytestmark = pytest.mark.kernel


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Ground]:
    with ground(tmp_path) as found:
        sh(f"mkdir {found.pins} {found.pins}/maps")
        yield found


def key(number: int) -> str:
    return number.to_bytes(4, "little").hex(" ")


def update(number: int, value: int = 1) -> str:
    return f"map update pinned M/pl_h_1 key hex {key(number)} value hex {value.to_bytes(2, 'little').hex(' ')}"


def delete(number: int) -> str:
    return f"map delete pinned M/pl_h_1 key hex {key(number)}"


def prefix(length: int, address: int) -> str:
    return (length.to_bytes(4, "little") + address.to_bytes(4, "big")).hex(" ")


def let_in(length: int, address: int, value: int = 1) -> str:
    return f"map update pinned M/pl_t_1 key hex {prefix(length, address)} value hex {value.to_bytes(2, 'little').hex(' ')}"


def let_out(length: int, address: int) -> str:
    return f"map delete pinned M/pl_t_1 key hex {prefix(length, address)}"


MADE = [update(number, number + 3) for number in range(90)]
LINES = {
    "made": MADE,
    "changed and removed": [*MADE, *(update(number, 7) for number in range(0, 90, 2)), *(delete(number) for number in range(0, 90, 3))],
    "more than there is room for": [update(number) for number in range(110)],
    "what is not there": [*MADE[:9], delete(3), delete(3), delete(77), delete(4), update(3), delete(78)],
    "in and out": [line for number in range(40) for line in (update(number), delete(number - number % 3), update(number, 9))],
    "networks": [
        *(let_in(length, 10 << 24, length) for length in (0, 8, 32, 16, 31)),
        *(let_in(24, number << 8, number) for number in range(60)),
        let_out(24, 10 << 24),  # only longer and shorter ones are there
        let_out(16, 10 << 24),
        let_out(16, 10 << 24),
        let_out(0, 0),
        let_in(8, 10 << 24, 9),
        let_in(33, 0),
        let_out(33, 0),
        *(let_in(32, number) for number in range(60)),
    ],
    "no such map": ["map update pinned M/none key hex 00 value hex 00", "map delete pinned M/none key hex 00"],
    "programs": [
        f"map update pinned M/pl_j_1 key hex {key(0)} value pinned P/connect4",
        f"map update pinned M/pl_j_1 key hex {key(1)} value pinned P/connect4",
        f"map update pinned M/pl_j_1 key hex {key(0)} value pinned P/none",
        f"map delete pinned M/pl_j_1 key hex {key(0)}",
        f"map update pinned M/pl_j_1 key hex {key(0)} value pinned P/connect4",
    ],
}


def lay(place: Ground, folder: str) -> list[str]:
    """Fresh maps in a folder; what its lines call M and P."""
    sh(f"mkdir {place.pins}/{folder}")
    maps = f"{place.pins}/{folder}"
    sh(f"bpftool map create {maps}/pl_h_1 type hash key 4 value 2 entries 100 name pl_h_1")
    sh(f"bpftool map create {maps}/pl_j_1 type prog_array key 4 value 4 entries 1 name pl_j_1")
    sh(f"bpftool map create {maps}/pl_t_1 type lpm_trie key 8 value 2 entries 100 name pl_t_1 flags 1")
    sh(f"bpftool map create {maps}/pl_a_1 type hash key 8 value 8 entries 8 name pl_a_1")
    sh(f"bpftool prog loadall {place.program().object} {maps}-p map name pl_j_1 pinned {maps}/pl_j_1 map name pl_a_1 pinned {maps}/pl_a_1")
    return [maps, f"{maps}-p"]


def tools(lines: list[str]) -> list[str]:
    """What the tool says of each line; empty where it did it."""
    done = [subprocess.run(["bpftool", *line.split()], capture_output=True, text=True, check=False) for line in lines]
    return [" ".join(one.stderr.split()) if one.returncode else "" for one in done]


def ours(lines: list[str]) -> list[str]:
    def never(words: object, *, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        raise AssertionError(f"the tool was called: {words}")

    run = bpf_lines.runners(PinnedMaps(), "/none")["bpftool"]
    return [failure.message if failure else "" for failure in run(never, [bpf_lines.Command(0, "bpftool", line) for line in lines])]


def held(place: Ground, folder: str) -> list[tuple[bytes, bytes]]:
    found = []
    for name in ("pl_h_1", "pl_t_1", "pl_j_1"):
        with bpf.opened_map(f"{place.pins}/{folder}/{name}") as (descriptor, info):
            keys, values = bpf.dump(descriptor, info)
        size, wide = info.key_size, info.value_size
        pairs = [(keys[n * size : (n + 1) * size], values[n * wide : (n + 1) * wide]) for n in range(len(keys) // size)]
        found += sorted((one, b"program" if name == "pl_j_1" else value) for one, value in pairs)
    return found


@pytest.mark.parametrize("name", LINES)
def test_a_line_does_what_its_tool_does(place: Ground, name: str) -> None:
    said = {}
    for folder, how in (("tool", tools), ("ours", ours)):
        maps, programs = lay(place, folder)
        lines = [line.replace("M/", f"{maps}/").replace("P/", f"{programs}/") for line in LINES[name]]
        said[folder] = [one.replace(f"/{folder}", "/") for one in how(lines)]
    assert said["ours"] == said["tool"]
    assert held(place, "ours") == held(place, "tool")


@pytest.mark.parametrize(
    "line",
    [
        "map update pinned M/pl_h_1 key 0 0 0 0 value hex 00 00",
        "map update pinned M/pl_h_1 key hex 00 00 00 00 value 1 0",
        "map update pinned M/pl_h_1 key hex 00000000 value hex 0000",
        "map update pinned M/pl_h_1 key hex 00 00 00 00 value hex 00 00 noexist",
        "map update pinned M/pl_h_1 key hex 0 0 0 0 value hex 00 00",
        "map update pinned M/pl_h_1 key hex 00 00  00 00 value hex 00 00",
        "map delete pinned M/pl_h_1 key hex 00 00 00 00 value hex 00 00",
        "map update pinned M/pl_h_1 key hex 00 00 00 00",
        "map update name pl_h_1 key hex 00 00 00 00 value hex 00 00",
        "map update pinned M/pl_j_1 key hex 00 00 00 00 value pinned P/x any",
        "map lookup pinned M/pl_h_1 key hex 00 00 00 00",
    ],
)
def test_whatever_is_not_exactly_of_a_shape_is_not_written_here(line: str) -> None:
    assert bpf_lines.entries([line]) is None
    assert bpf_lines.refused(line, "/none"), "and no plan has it"


def test_lines_of_one_map_that_differ_in_shape_are_taken_one_by_one(place: Ground) -> None:
    maps, _ = lay(place, "ours")
    odd = update(2).replace("M/", f"{maps}/")
    mixed = [odd, f"map update pinned {maps}/pl_h_1 key hex 00 00 value hex 00 00", odd.replace("02 00", "05 00", 1)]
    said = ours(mixed)
    assert (said[0], said[2]) == ("", "")
    assert "has keys of 4 bytes" in said[1], "the tool says so in other words"
    assert len([one for one in held(place, "ours") if one[1] != b"program"]) == 2


def test_nothing_is_written_outside_of_our_folders(place: Ground) -> None:
    outside = f"{place.root}/sys/fs/bpf/theirs"
    sh(f"bpftool map create {outside} type hash key 4 value 2 entries 100 name theirs")
    assert "is not below a folder of ours" in ours([f"map update pinned {outside} key hex {key(1)} value hex 00 00"])[0]
    assert "Found 0 elements" in sh(f"bpftool map dump pinned {outside}")
