"""Maps, programs and entries on a real BPF file system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.engine.model import Verb, Wanted
from reconciler.engine.observe import observe
from reconciler.engine.reader import Scope
from reconciler.engine.text import text
from reconciler.kernel import bpf
from reconciler.kinds.bpf_map_entry import layout
from reconciler.spec.resources import BadResource, resource_row
from tests.kinds.bpf.ground import KINDS, Ground, ground, lines, pinned, words
from tests.namespaces import sh

pytestmark = pytest.mark.kernel


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Ground]:
    with ground(tmp_path) as found:
        yield found


def test_made_and_found_in_order_and_removed_to_the_last_pin(place: Ground) -> None:
    made = place.converge(*place.all())
    assert made.converged, made.errors
    assert len(made.plans) == 2, "one round"
    assert place.converge(*place.all()).first.empty, "a start with no memory finds nothing to do"
    gone = place.converge()
    assert gone.converged, gone.errors
    assert len(gone.plans) == 2
    assert not Path(place.pins).exists()


def test_the_plan_pasted_into_a_shell_does_what_apply_does(place: Ground) -> None:
    plan = place.plan(*place.all())
    sh(lines(plan.actions))
    assert place.converge(*place.all()).first.empty
    other = [*place.folders(), *place.maps(), place.entry("pl_a_1", bytes(8), bytes(8)), place.entry("pl_a_1", b"\1" * 8, bytes(8))]
    plan = place.plan(*other)
    sh(lines(plan.actions))
    assert place.converge(*other).first.empty
    plan = place.plan()
    sh(lines(plan.actions))
    assert not Path(place.pins).exists()


BROKEN = {
    "an entry changed": "bpftool map update pinned {pins}/maps/pl_a_1 key hex 00 00 00 00 00 00 00 00 value hex 09 09 09 09 09 09 09 09",
    "an entry more": "bpftool map update pinned {pins}/maps/pl_a_1 key hex 01 00 00 00 00 00 00 00 value hex 09 09 09 09 09 09 09 09",
    "an entry gone": "bpftool map delete pinned {pins}/maps/pl_a_1 key hex 00 00 00 00 00 00 00 00",
    "an empty slot": "bpftool map delete pinned {pins}/maps/pl_j_1 key hex 00 00 00 00",
    "a pin gone": "rm {program}/ingress",
    "the pin of what a slot holds gone": "rm {program}/connect4",
    "all programs gone": "rm -r {program}",
    "another program under a name": "rm {program}/ingress && bpftool prog pin pinned {program}/egress {program}/ingress",
    "a map gone": "rm {pins}/maps/pl_a_1",
    "another map under its name": (
        "rm {pins}/maps/pl_a_1 && bpftool map create {pins}/maps/pl_a_1 type hash key 8 value 8 entries 8 name pl_a_1"
    ),
    "a map of another size": "rm {pins}/maps/pl_a_1 && bpftool map create {pins}/maps/pl_a_1 type hash key 8 value 8 entries 4 name pl_a_1",
    "everything gone": "rm -r {pins}",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_whatever_is_broken_is_repaired(place: Ground, broken: str) -> None:
    rows = place.all()
    scope = place.scope(*rows)
    with place.round() as engine:
        assert engine.converge(scope).converged
        sh(BROKEN[broken].format(pins=place.pins, program=place.program().key.path))
        repaired = engine.converge(scope)
    assert repaired.converged, repaired.errors
    assert repaired.outcomes, "it was not seen"
    assert place.converge(*rows).first.empty


def test_a_map_that_is_made_anew_is_full_before_the_programs_change_over(place: Ground) -> None:
    rows = place.all()
    assert place.converge(*rows).converged
    larger = [row._replace(max_entries=16) if getattr(row, "max_entries", 0) == 8 else row for row in rows]
    changed = place.converge(*larger)
    assert changed.converged, changed.errors
    done = words(changed)
    order = [
        next(n for n, line in enumerate(done) if part in line)
        for part in ("map create", "prog loadall", "pl_a_1 key hex", "pl_j_1 key hex")
    ]
    assert order == sorted(order), done
    assert not any("map delete" in line for line in done), "no slot is empty in between"


def attributes() -> list[Any]:
    table = yaml.safe_load((KINDS["bpf_map"].folder / "attributes.yaml").read_text())["attributes"]
    return [pytest.param(name, row, id=name) for name, row in table.items() if "from" in row]


@pytest.mark.parametrize(("name", "said"), attributes())
def test_what_a_map_is_made_with_makes_it_anew(place: Ground, name: str, said: dict[str, Any]) -> None:
    base = place.map("pl_x_1", "hash", 8, 8, 8)
    first, second = ([*place.folders(), base._replace(**{name: said[end]})] for end in ("from", "to"))
    assert place.converge(*first).converged
    changed = place.converge(*second)
    assert changed.converged, changed.errors
    assert [action.verb for action in changed.first.actions] == [Verb.DELETE, Verb.CREATE]
    assert name in place.converge(*first).outcomes[-1].action.change.reason


@pytest.mark.parametrize("size", [9, 0])
def test_programs_are_not_loaded_onto_a_map_of_another_layout(place: Ground, size: int) -> None:
    odd = place.map("pl_a_1", "hash" if size else "lru_hash", 8, size or 8, 8)
    tried = place.converge(*place.folders(), odd, place.maps()[1], place.program())
    assert not tried.converged
    assert any("pl_a_1 is a " in error and "another layout needs another name" in error for error in tried.errors), tried.errors
    assert not Path(place.program().key.path).exists()


def test_programs_are_loaded_as_they_were_planned_or_not_at_all(place: Ground) -> None:
    ground_rows, program = [*place.folders(), *place.maps()], place.program()
    assert place.converge(*ground_rows).converged
    other = Path(place.objects).parent / "small0.o"
    other.write_bytes(Path(program.object).read_bytes())
    for row, why in (
        (program._replace(object=str(other)), "is no object of plumbline's"),
        (program._replace(object=f"{place.objects}/none.o"), "No such file"),
        (program._replace(maps=program.maps[:1]), "uses pl_j_1, which the line does not name"),
        (program._replace(key=program.key._replace(path=f"{place.pins}/small0-000000000000")), "is not the object that was planned"),
    ):
        tried = place.converge(*ground_rows, row)
        assert any(why in error for error in tried.errors), (why, tried.errors)
    Path(program.object).write_bytes(b"\x7fELF no more")
    assert any("no ELF file" in error for error in place.converge(*ground_rows, program).errors)
    assert pinned(place) == [f"{place.pins}/maps", *(row.key.path for row in place.maps())]


def test_without_a_bpf_file_system_it_is_said_what_to_mount(tmp_path: Path) -> None:
    node = Ground(str(tmp_path), f"{tmp_path}/sys/fs/bpf/plumbline", "/", str(tmp_path))
    (tmp_path / "sys/fs/bpf").mkdir(parents=True)
    result = node.converge(*node.folders(), *node.maps())
    assert any(f"mount -t bpf bpf {tmp_path}/sys/fs/bpf" in error for error in result.errors), result.errors
    assert not result.outcomes, "bpftool would mount one itself"
    assert not list((tmp_path / "sys/fs/bpf").iterdir())


def test_where_nothing_is_wanted_and_nothing_is_there_the_kernel_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*words: Any) -> int:
        raise AssertionError("bpf(2) was called")

    monkeypatch.setattr(bpf, "call", never)
    monkeypatch.setattr("reconciler.kernel.bpf_attached.call", never)
    nothing = Scope(("",), Wanted(), str(tmp_path))
    with Ground(str(tmp_path), "", "/", str(tmp_path)).node() as node:
        seen = observe(KINDS, node, nothing, [name for name in KINDS if name != "link"])
    assert not any(seen.rows(name) or seen.failure(name) for name in seen)


def test_entries_are_told_in_words(place: Ground) -> None:
    key, value = layout.front_key(layout.address("10.96.0.10"), 53, 17, 0), layout.front_value(layout.Service(1, 3, 0, 0))
    fronts = place.map(layout.FRONTS, "hash", len(key), len(value), 8)
    told = place.converge(*place.folders(), fronts, place.entry(layout.FRONTS, key, value))
    assert "# 10.96.0.10:53/udp → 3 backends" in text(told.first, "x")
    assert "10.96.0.10:53/udp → 3 backends" in text(place.converge(*place.folders(), fronts).first, "x"), "also when it goes"


@pytest.mark.parametrize(
    ("kind", "said", "why"),
    [
        ("bpf_folder", {"path": "/sys/fs/bpf/other"}, "below a folder called plumbline"),
        (
            "bpf_map",
            {"path": "/sys/fs/bpf/x", "type": "hash", "keySize": 4, "valueSize": 4, "maxEntries": 1},
            "below a folder called plumbline",
        ),
        ("bpf_map", {"path": "/sys/fs/bpf/plumbline/x", "type": "hash", "keySize": 4, "valueSize": 4, "maxEntries": 1}, "plumbline/maps"),
        ("bpf_map", {"path": "/sys/fs/bpf/plumbline/maps/x", "type": "hush", "keySize": 4, "valueSize": 4, "maxEntries": 1}, "prog_array"),
        ("bpf_map_entry", {"map": "/sys/fs/bpf/plumbline/maps/x", "key": "0", "value": "00"}, "hexadecimal"),
        ("bpf_map_entry", {"map": "/sys/fs/bpf/plumbline/maps/x", "key": "00", "value": "/tmp/x"}, "below a folder"),
        ("bpf_program", {"path": "/sys/fs/bpf/plumbline/x"}, "OBJECT-"),
        ("tc_filter", {"dev": "eth0", "direction": "ingress", "prio": 1, "handle": "0x94", "pin": "/sys/fs/bpf/plumbline/x-0/y"}, "94"),
        ("cgroup_attachment", {"cgroup": "/x/../y", "hook": "connect4", "pin": "/sys/fs/bpf/plumbline/x-0/y"}, "absolute path"),
    ],
)
def test_what_a_person_cannot_state(kind: str, said: dict[str, Any], why: str) -> None:
    with pytest.raises(BadResource, match=why):
        resource_row(KINDS[kind], said)


def test_entries_by_hand_are_bytes_in_hexadecimal_digits() -> None:
    said = {"map": "/sys/fs/bpf/plumbline/maps/x", "key": "0A 60 00 0a", "value": "0001"}
    row = KINDS["bpf_map_entry"].below(resource_row(KINDS["bpf_map_entry"], said), "/lab/n1")
    assert (row.key.map, row.key.key, row.value) == ("/lab/n1/sys/fs/bpf/plumbline/maps/x", b"\x0a\x60\x00\x0a", b"\x00\x01")
