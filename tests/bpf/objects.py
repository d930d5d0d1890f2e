"""Building, loading and looking into the objects, by the tools that the plan's lines name."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

TREE = Path(__file__).parents[2]
SOCKET_HOOKS = ("connect4", "connect6", "sendmsg4", "sendmsg6", "recvmsg4", "recvmsg6", "getpeername4", "getpeername6")
SOCKET_ARRAYS = {
    "connect4": "pl_j_con4_1",
    "connect6": "pl_j_con6_1",
    "sendmsg4": "pl_j_snd4_1",
    "sendmsg6": "pl_j_snd6_1",
    "recvmsg4": "pl_j_rcv4_1",
    "recvmsg6": "pl_j_rcv6_1",
    "getpeername4": "pl_j_peer4_1",
    "getpeername6": "pl_j_peer6_1",
}


class MapType(NamedTuple):
    """What `bpftool map create` is told. `entries` are few: a test needs no more."""

    type: str
    key: int
    value: int
    entries: int = 1024
    flags: int = 0


MAPS = {
    "pl_front_1": MapType("hash", 20, 16),
    "pl_back_1": MapType("hash", 8, 20),
    "pl_range_1": MapType("lpm_trie", 24, 4, flags=1),  # BPF_F_NO_PREALLOC
    "pl_count_1": MapType("percpu_hash", 4, 24),
    "pl_drop_1": MapType("percpu_array", 4, 8, 8),
    "pl_affin_1": MapType("lru_hash", 24, 32),
    "pl_sockrev_1": MapType("lru_hash", 32, 20),
    "pl_sockpeer_1": MapType("lru_hash", 32, 20),
    "pl_sockfwd_1": MapType("lru_hash", 32, 24),
    "pl_flow_1": MapType("lru_hash", 44, 104),
    "pl_frag_1": MapType("lru_hash", 40, 16),
    **{array: MapType("prog_array", 4, 4, 1) for array in SOCKET_ARRAYS.values()},
    "pl_j_tc_1": MapType("prog_array", 4, 4, 8),
}


def run(*words: str | Path) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, cwd=TREE)
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}"
    return done.stdout


def bpftool(lines: Iterable[str]) -> None:
    """Many lines by one process."""
    done = subprocess.run(["bpftool", "batch", "file", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def build(*names: str, folder: Path | None = None, options: str = "") -> Path:
    """What `make bpf` does for these objects; their folder, which is the tree's own unless said otherwise."""
    folder = folder or Path("reconciler/bpf")
    run("make", "-s", *(f"{folder}/{name}.o" for name in names), f"OBJECTS={folder}", f"BPF_CFLAGS={options}")
    return TREE / folder


def dumped(obj: Path) -> list[dict[str, Any]]:
    types: list[dict[str, Any]] = json.loads(run("bpftool", "-j", "btf", "dump", "file", obj))["types"]
    return types


class Struct(NamedTuple):
    """As BTF tells it, in bytes."""

    size: int
    members: dict[str, int]  # name: offset


def btf_structs(obj: Path) -> dict[str, Struct]:
    """The named structs of an object."""
    return {
        one["name"]: Struct(one["size"], {member["name"]: member["bits_offset"] // 8 for member in one["members"]})
        for one in dumped(obj)
        if one["kind"] == "STRUCT" and one["name"] != "(anon)"
    }


def maps_of(obj: Path) -> list[str]:
    """The names of the maps that an object is to be loaded onto: the variables of its section .maps."""
    types = {one["id"]: one for one in dumped(obj)}
    return [
        types[variable["type_id"]]["name"]
        for section in types.values()
        if section["kind"] == "DATASEC" and section["name"] == ".maps"
        for variable in section["vars"]
    ]


def create_maps(root: Path, maps: dict[str, MapType]) -> None:
    (root / "maps").mkdir(parents=True, exist_ok=True)
    bpftool(
        f"map create {root}/maps/{name} type {one.type} key {one.key} value {one.value} entries {one.entries} name {name} flags {one.flags}"
        for name, one in maps.items()
    )


def load(root: Path, obj: Path) -> Path:
    """Load an object onto the pinned maps; the folder of its programs."""
    folder = root / f"{obj.stem}-{hashlib.sha256(obj.read_bytes()).hexdigest()[:12]}"
    onto = [word for name in maps_of(obj) for word in ("map", "name", name, "pinned", str(root / "maps" / name))]
    run("bpftool", "prog", "loadall", obj, folder, *onto)
    return folder
