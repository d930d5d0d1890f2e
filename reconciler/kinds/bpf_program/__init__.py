"""Kind `bpf_program`: the programs of eBPF objects, loaded onto pinned maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.bpf_folder.row import in_folder, roots
from reconciler.kinds.bpf_map import pinned_maps
from reconciler.kinds.bpf_map.row import BpfMapKey, refs
from reconciler.kinds.bpf_program.row import NAMED, BpfProgram, BpfProgramKey, of_program
from reconciler.kinds.spelling import BadValue
from reconciler.wire.bpf import ProgramInfo

__all__ = ["KIND", "BpfProgram", "BpfProgramKey", "Programs", "of_program", "pinned_programs", "programs_of"]

_NAME = 15  # bytes of a program's name that the kernel keeps


def pinned_programs(io: Reader, scope: Scope) -> dict[str, ProgramInfo]:
    """The programs in folders of ours, by path."""
    return {f"{folder}/{name}": one for folder in _folders(io, scope) for name, one in _programs(io, folder).items()}


class Programs(NamedTuple):
    """By what programs that are attached somewhere are known as ours."""

    pins: Mapping[int, str]  # id → where it is pinned
    tags: frozenset[str]  # of these: the same code has the same
    maps: frozenset[int]  # ids of the maps that are pinned beside them

    @property
    def known(self) -> bool:
        """Whether there is anything of ours that could be attached."""
        return bool(self.pins or self.maps)


def programs_of(io: Reader, scope: Scope) -> Programs:
    """The programs and maps in folders of ours."""
    found = pinned_programs(io, scope)
    maps = frozenset(one.id for one in pinned_maps(io, scope).values())
    return Programs({one.id: path for path, one in found.items()}, frozenset(one.tag for one in found.values()), maps)


def _folders(io: Reader, scope: Scope) -> list[str]:
    return [f"{root}/{name}" for root in roots(scope) for name in io.names(root) if NAMED.fullmatch(name)]


def _programs(io: Reader, folder: str) -> dict[str, ProgramInfo]:
    return {name: one for name, one in io.pinned(folder).items() if isinstance(one, ProgramInfo)}


class BpfProgramKind(Kind[BpfProgram]):
    """Known as ours by its folder in the BPF file system, whose name says which object it is.

    A folder that lacks a pin, or whose programs use maps that are no longer those
    that are pinned, is loaded anew. Whatever is attached goes on with the old
    programs until it is switched over: unpinning a program does not stop it.
    """

    name = "bpf_program"
    rank = 90
    row = BpfProgram
    grammar = (("bpftool", "prog", "loadall"), ("rm", "-r", "--"))
    uncompared = 3
    detach_first = True
    poll = 30.0

    def observe(self, io: Reader, scope: Scope) -> Iterable[BpfProgram]:
        maps = {one.id: BpfMapKey(path) for path, one in pinned_maps(io, scope).items()}
        return [_row(folder, _programs(io, folder), maps) for folder in _folders(io, scope)]

    def owner(self, row: BpfProgram, seen: Seen) -> Owner:
        return Owner.OURS

    def needs(self, row: BpfProgram) -> tuple[Ref, ...]:
        return in_folder(row.key.path) + refs(row.maps)

    def normal(self, row: BpfProgram) -> BpfProgram:
        if not NAMED.fullmatch(row.key.path.rpartition("/")[2]):
            raise BadValue("the folder is called OBJECT- and the first 12 digits of the object's sha256", "path")
        return row

    def below(self, row: BpfProgram, root: str) -> BpfProgram:
        maps = tuple(BpfMapKey(root + key.path) for key in row.maps)
        return row._replace(key=BpfProgramKey(root + row.key.path), maps=maps)

    def advice(self, row: BpfProgram, failure: str) -> str:
        if "Operation not permitted" in failure or "Permission denied" in failure:
            return "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed to load programs"
        return ""


def _row(folder: str, programs: dict[str, ProgramInfo], maps: dict[int, BpfMapKey]) -> BpfProgram:
    used = {maps[number] for one in programs.values() for number in one.maps if number in maps}
    named = tuple(sorted(name for name, one in programs.items() if one.name == name[:_NAME]))
    return BpfProgram(BpfProgramKey(folder), named, tuple(sorted(used)))


KIND = BpfProgramKind()
