"""What `make bpf` builds: the layout that it promises, the same bytes everywhere, and plain words where it cannot."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.kinds.bpf_map_entry import layout
from tests.bpf.ends import IPV4, add_addresses, backends, client
from tests.bpf.node import TCP, attached, loaded
from tests.bpf.objects import MAPS, TREE, Struct, btf_structs, build, maps_of, run

pytestmark = pytest.mark.kernel

LAYOUT = {  # bpf/layout.h, in bytes: what has been said to others cannot change under the same names of maps
    "pl_addr": Struct(16, {"bytes": 0}),
    "pl_front": Struct(20, {"addr": 0, "port": 16, "proto": 18, "scope": 19}),
    "pl_service": Struct(16, {"id": 0, "count": 4, "affinity": 8, "flags": 12}),
    "pl_slot": Struct(8, {"id": 0, "slot": 4}),
    "pl_backend": Struct(20, {"addr": 0, "port": 16, "flags": 18, "unused": 19}),
    "pl_count": Struct(24, {"connections": 0, "packets": 8, "bytes": 16}),
    "pl_range": Struct(24, {"bits": 0, "id": 4, "network": 8}),
    "pl_chosen": Struct(24, {"backend": 0, "slot": 20}),
    "pl_client": Struct(24, {"who": 0, "id": 16, "scope": 20}),
    "pl_stay": Struct(32, {"since": 0, "chosen": 8}),
    "pl_peer": Struct(32, {"socket": 0, "addr": 8, "port": 24, "unused": 26}),
    "pl_named": Struct(20, {"addr": 0, "port": 16, "unused": 18}),
    "pl_end": Struct(20, {"addr": 0, "port": 16, "unused": 18}),
    "pl_tuple": Struct(44, {"from": 0, "to": 20, "proto": 40, "where": 41, "unused": 42}),
    "pl_flow": Struct(
        104,
        {"seen": 0, "id": 8, "slot": 12, "client": 16, "front": 36, "backend": 56, "source": 76, "state": 96, "flags": 97, "unused": 98},
    ),
    "pl_fragment": Struct(40, {"from": 0, "to": 16, "id": 32, "proto": 36, "where": 37, "unused": 38}),
    "pl_ports": Struct(16, {"seen": 0, "from": 8, "to": 10, "unused": 12}),
}
NUMBERS = {  # what the header calls what layout.py says
    "PL_VERSION": layout.VERSION,
    "PL_INSIDE": layout.INSIDE,
    "PL_OUTSIDE": layout.OUTSIDE,
    "PL_LOOPBACK": layout.LOOPBACK,
    "PL_KEEP_CLIENT": layout.KEEP_CLIENT,
    "PL_DROP_EMPTY": layout.DROP_EMPTY,
    "PL_RANGED": layout.RANGED,
    "PL_IN_RANGES": layout.IN_RANGES,
    "PL_HERE": layout.HERE,
    "PL_SLOT_INGRESS": layout.DIRECTIONS.index("ingress"),
    "PL_SLOT_EGRESS": layout.DIRECTIONS.index("egress"),
    "PL_SLOTS": layout.MAPS[layout.SLOTS].max_entries,
    "PL_SOURCE_PORTS": layout.SOURCE_PORTS[0],
    "PL_SOURCE_PORTS_END": layout.SOURCE_PORTS[1],
    "PL_DROP_REASONS": len(layout.DROPS),
    **{f"PL_DROP_{name.upper()}": number for number, name in enumerate(layout.DROPS)},
}
OBJECTS = pytest.mark.parametrize("name", sorted(layout.OBJECTS))


def test_the_layout_is_the_promised_one(objects: Path) -> None:
    build("device")
    built = btf_structs(objects / "sock.o") | btf_structs(objects / "device.o")
    assert {name: built.get(name) for name in LAYOUT} == LAYOUT
    assert sorted(one for one in layout_h_structs() if one not in LAYOUT) == [], "say here what they are to stay"


def layout_h_structs() -> list[str]:
    return re.findall(r"^struct (\w+) \{", (TREE / "bpf/layout.h").read_text(), re.MULTILINE)


@OBJECTS
def test_an_object_has_the_programs_and_maps_that_plans_name(pins: Path, objects: Path, name: str) -> None:
    """Loaded by itself, it makes the very maps that a plan makes beforehand."""
    build(name)
    obj = objects / f"{name}.o"
    run("bpftool", "prog", "loadall", obj, pins / "programs", "pinmaps", pins / "maps")
    assert sorted(one.name for one in (pins / "programs").iterdir()) == sorted(layout.OBJECTS[name].programs)
    assert sorted(maps_of(obj)) == sorted(layout.OBJECTS[name].maps)
    for one in maps_of(obj):
        made = json.loads(run("bpftool", "-j", "map", "show", "pinned", pins / "maps" / one))
        wanted = layout.MAPS[one]
        assert (made["type"], made["bytes_key"], made["bytes_value"]) == (wanted.type, wanted.key_size, wanted.value_size), one
        assert MAPS[one][:3] == (wanted.type, wanted.key_size, wanted.value_size), f"{one}: these tests' own table"
        if "array" in wanted.type:
            assert made["max_entries"] == wanted.max_entries, one


def test_numbers_are_the_headers(objects: Path, tmp_path: Path) -> None:
    source = tmp_path / "numbers.bpf.c"
    told = "\n".join(f'_Static_assert({name} == {number}, "layout.py says {number}");' for name, number in NUMBERS.items())
    source.write_text(f'#include "kernel.h"\n#include "layout.h"\n{told}\n')
    run("clang", "-target", "bpf", "-Ibpf", "-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu", "-fsyntax-only", source)


def test_the_same_sources_give_the_same_bytes_wherever_they_lie(objects: Path, tmp_path: Path) -> None:
    for name in ("bpf", ".ci"):
        shutil.copytree(TREE / name, tmp_path / "elsewhere" / name)
    shutil.copy(TREE / "Makefile", tmp_path / "elsewhere")
    run("make", "-s", "-C", tmp_path / "elsewhere", "reconciler/bpf/sock.o")
    assert (tmp_path / "elsewhere/reconciler/bpf/sock.o").read_bytes() == (objects / "sock.o").read_bytes()


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("CLANG", "clang-of-nobody", "clang-of-nobody is missing: it builds the eBPF programs, without which no service is programmed"),
        ("LLVM_STRIP", "strip-of-nobody", "strip-of-nobody is missing"),
        ("BPF_CFLAGS", "-nostdlibinc", "the kernel's headers are missing; on Debian: sudo apt-get install linux-libc-dev"),
    ],
)
def test_what_is_missing_is_told(objects: Path, tmp_path: Path, variable: str, value: str, told: str) -> None:
    done = subprocess.run(
        ["make", "-s", f"{tmp_path}/sock.o", f"OBJECTS={tmp_path}", f"{variable}={value}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=TREE,
    )
    assert done.returncode != 0
    assert told in done.stderr
    assert not list(tmp_path.iterdir()), "nothing half made is left"


def test_programs_compile_without_a_warning(tmp_path: Path, objects: Path) -> None:
    build("stub", "sock", folder=tmp_path, options="-Wextra -Werror")


def test_three_capabilities_are_enough(
    pins: Path, objects: Path, cgroups: Path, netns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps, programs and attachments are made by a bpftool that may do no more than this."""
    tool = tmp_path / "bpftool"
    words = ["setpriv", "--inh-caps=-all", "--bounding-set=-all,+bpf,+net_admin,+perfmon", str(shutil.which("bpftool"))]
    tool.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    add_addresses()
    with loaded(pins / "few", objects) as programs, attached(programs, cgroups, netns) as node:
        node.service(IPV4.service, 80, TCP, IPV4.backends[:1])
        with backends((TCP, IPV4.backends[:1])) as (there,), client(IPV4, TCP) as one:
            one.connect((IPV4.service, 80))
            assert there.asked() == IPV4.backends[0]
