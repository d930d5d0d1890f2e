"""A BPF file system, a cgroup and a device of a test's own, where a node finds its own; and small programs to put there."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reconciler.engine.guard import Limits
from reconciler.engine.kind import Kinds
from reconciler.engine.merge import merge
from reconciler.engine.model import Plan
from reconciler.engine.reader import Scope
from reconciler.engine.round import Result, Round
from reconciler.kernel.bpf_attached import cgroups
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.kinds.bpf_folder import BpfFolder, BpfFolderKey
from reconciler.kinds.bpf_map import BpfMap, BpfMapKey
from reconciler.kinds.bpf_map_entry import BpfMapEntry, BpfMapEntryKey
from reconciler.kinds.bpf_program import BpfProgram, BpfProgramKey
from reconciler.wire.bpf_object import read_object
from tests.namespaces import sh

NAMES = ("link", "bpf_folder", "bpf_map", "bpf_program", "bpf_map_entry", "qdisc", "tc_filter", "cgroup_attachment")
KINDS = Kinds(all_kinds()[name] for name in NAMES)
SOURCE = Path(__file__).with_name("small.bpf.c")
_numbers = itertools.count()


@cache
def why_not() -> str:
    """Why this machine cannot run these tests; empty when it can."""
    missing = next((tool for tool in ("clang", "bpftool", "tc") if shutil.which(tool) is None), "")
    if missing:
        return f"{missing} is not installed"
    if not Path("/usr/include/bpf/bpf_helpers.h").exists():
        return "libbpf's headers are not installed (libbpf-dev)"
    if os.geteuid() != 0 or not cgroups():
        return "needs root and a cgroup of version 2"
    return ""


class Ground(NamedTuple):
    """Where a test's node lies: its root, its folder of pins, its cgroup, and the folder of its objects."""

    root: str
    pins: str
    cgroup: str
    objects: str

    @contextmanager
    def node(self) -> Iterator[KernelNode]:
        found = KernelNode(objects=self.objects)
        try:
            yield found
        finally:
            found.close()

    @contextmanager
    def round(self) -> Iterator[Round]:
        """One that remembers, as a daemon does."""
        with self.node() as node:
            yield Round(node, KINDS, limits=Limits(1.0, 10**6), name="n1")

    def plan(self, *rows: Any) -> Plan:
        with self.round() as engine:
            return engine.plan(self.scope(*rows))[0]

    def scope(self, *rows: Any) -> Scope:
        wanted, clashes = merge(KINDS, rows)
        assert not clashes, clashes
        return Scope(("",), wanted, self.root)

    def converge(self, *rows: Any) -> Result:
        """As a daemon that starts with no memory."""
        with self.round() as engine:
            return engine.converge(self.scope(*rows))

    def map(self, name: str, *like: Any) -> BpfMap:
        return BpfMap(BpfMapKey(f"{self.pins}/maps/{name}"), *like)

    def folders(self) -> list[BpfFolder]:
        return [BpfFolder(BpfFolderKey(path)) for path in (self.pins, f"{self.pins}/maps")]

    def maps(self) -> list[BpfMap]:
        return [self.map("pl_a_1", "hash", 8, 8, 8), self.map("pl_j_1", "prog_array", 4, 4, 1)]

    def entry(self, name: str, key: bytes, value: bytes | str) -> BpfMapEntry:
        return BpfMapEntry(BpfMapEntryKey(f"{self.pins}/maps/{name}", key), value)

    def program(self, flavour: int = 0) -> BpfProgram:
        """The small object; another flavour is another version of it, or somebody else's."""
        path = Path(self.objects) / f"small{flavour}.o"
        if not path.exists():
            flags = [f"-DFLAVOUR={flavour}", "-I/usr/include/x86_64-linux-gnu", "-I/usr/include/aarch64-linux-gnu"]
            subprocess.run(["clang", "-O2", "-g", "-target", "bpf", *flags, "-c", str(SOURCE), "-o", str(path)], check=True)
        raw = path.read_bytes()
        found = read_object(raw)
        maps = tuple(sorted(BpfMapKey(f"{self.pins}/maps/{one.name}") for one in found.maps))
        digest = sha256(raw).hexdigest()
        return BpfProgram(BpfProgramKey(f"{self.pins}/{path.stem}-{digest[:12]}"), found.programs, maps, str(path), digest)

    def all(self) -> list[Any]:
        """Folders, maps, programs, and an entry of each sort."""
        program = self.program()
        entries = [self.entry("pl_a_1", bytes(8), bytes(range(8))), self.entry("pl_j_1", bytes(4), f"{program.key.path}/connect4")]
        return [*self.folders(), *self.maps(), program, *entries]


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """One below a folder of the test's own; everything goes with it."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    root, objects = folder / "node", folder / "objects"
    mount = root / "sys/fs/bpf"
    cgroup = Path(cgroups()[0]) / f"plt-kinds-{os.getpid()}-{next(_numbers)}"
    for one in (mount, objects, cgroup):
        one.mkdir(parents=True)
    sh(f"mount -t bpf bpf {mount}")
    try:
        yield Ground(str(root), f"{mount}/plumbline", str(cgroup), str(objects))
    finally:
        sh(f"umount {mount}")
        cgroup.rmdir()


def words(result: Result) -> list[str]:
    """The lines of the first plan."""
    return [line.words for action in result.first.actions for line in action.lines]


def pinned(place: Ground) -> list[str]:
    """Everything below the test's pins."""
    return sorted(str(path) for path in Path(place.pins).rglob("*"))


def lines(result: Iterable[Any]) -> str:
    """The lines of actions, as a script."""
    return "\n".join(str(line) for action in result for line in action.lines)
