"""bpf/layout.h and its Python are one: by the BTF of the built objects."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.kinds.bpf_map_entry import layout
from reconciler.kinds.bpf_program.objects import read_object
from tests.bpf.objects import build
from tests.bpf.places import Unavailable, require_tools

HEADER = Path(__file__).parents[2] / "bpf" / "layout.h"


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        require_tools()
    except Unavailable as reason:
        pytest.skip(str(reason))
    return build(*layout.OBJECTS)


@pytest.mark.parametrize("name", layout.OBJECTS)
def test_programs_and_maps_of_an_object(folder: Path, name: str) -> None:
    found = read_object((folder / f"{name}.o").read_bytes())
    assert set(found.programs) == set(layout.OBJECTS[name].programs)
    assert {one.name for one in found.maps} == set(layout.OBJECTS[name].maps)
    for one in found.maps:
        made = layout.MAPS[one.name]
        assert (one.type, one.key_size, one.value_size) == (made.type, made.key_size, made.value_size), one.name


def enum_of(text: str, name: str) -> int:
    found = re.search(rf"\b{name} = (\d+)", text)
    assert found is not None, name
    return int(found[1])


def test_numbers_of_the_header() -> None:
    text = HEADER.read_text()
    assert re.search(rf"#define PL_VERSION {layout.VERSION}\n", text)
    for name in ("INSIDE", "OUTSIDE", "LOOPBACK", "IN_RANGES", "KEEP_CLIENT", "DROP_EMPTY", "RANGED", "HERE"):
        assert enum_of(text, f"PL_{name}") == getattr(layout, name)
    assert enum_of(text, "PL_DROP_REASONS") == len(layout.DROPS)
    for number, reason in enumerate(layout.DROPS):
        assert enum_of(text, f"PL_DROP_{reason.upper()}") == number
    assert enum_of(text, "PL_SLOTS") == layout.MAPS[layout.SLOTS].max_entries
    for number, direction in enumerate(layout.DIRECTIONS):
        assert enum_of(text, f"PL_SLOT_{direction.upper()}") == number


def test_entries_in_bytes_and_back() -> None:
    addr, six = layout.address("10.96.0.10"), layout.address("fd00::10")
    key = layout.front_key(addr, 53, layout.UDP, layout.OUTSIDE)
    assert key == bytes(10) + b"\xff\xff\x0a\x60\x00\x0a" + b"\x00\x35" + bytes((17, 1))
    assert layout.front_text(layout.front_key(six, 80, layout.TCP, layout.INSIDE)) == "[fd00::10]:80/tcp"
    service = layout.Service(7, 3, 600, layout.KEEP_CLIENT)
    assert layout.service_of(layout.front_value(service)) == service
    assert layout.slot_of(layout.slot_key(7, 2)) == (7, 2)
    assert layout.words(layout.FRONTS, key, layout.front_value(service)) == "10.96.0.10:53/udp from outside → 3 backends"
    assert (
        layout.words(layout.BACKENDS, layout.slot_key(7, 2), layout.backend_value(six, 8080, 1)) == "list 7 slot 2 → [fd00::10]:8080 here"
    )
    assert layout.words("pl_other_1", key, b"") == layout.words(layout.FRONTS, b"", b"") == layout.words(layout.SLOTS, b"", "/x") == ""
    local = layout.front_key(layout.loopback("127.0.0.1", 4711), 30080, layout.TCP, layout.LOOPBACK)
    assert layout.front_text(local) == "127.0.0.1:30080/tcp on loopback"
    assert layout.front_text(layout.front_key(layout.loopback("::1", 4711), 30080, 6, 2)) == "[::1]:30080/tcp on loopback"
