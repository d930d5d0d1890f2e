"""Kind `bpf_map`: pinned maps."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.bpf_folder.row import in_folder, maps_of, root_of, roots
from reconciler.kinds.bpf_map.row import HOLD_ROWS, BpfMap, BpfMapKey, of_map, refs
from reconciler.kinds.spelling import BadValue
from reconciler.wire.bpf import MapInfo

__all__ = ["HOLD_ROWS", "KIND", "BpfMap", "BpfMapKey", "of_map", "pinned_maps", "refs"]


def pinned_maps(io: Reader, scope: Scope) -> dict[str, MapInfo]:
    """The maps in folders of ours, by path."""
    return {
        f"{folder}/{name}": info
        for folder in map(maps_of, roots(scope))
        for name, info in io.pinned(folder).items()
        if isinstance(info, MapInfo)
    }


class BpfMapKind(Kind[BpfMap]):
    """Known as ours by its folder in the BPF file system.

    One that has to be made anew leaves the old one to the programs that use it:
    they go on with it until others take their place.
    """

    name = "bpf_map"
    rank = 89
    row = BpfMap
    grammar = (("bpftool", "map", "create"), ("rm", "--"))
    detach_first = True
    poll = 30.0

    def observe(self, io: Reader, scope: Scope) -> Iterable[BpfMap]:
        return [
            BpfMap(BpfMapKey(path), one.type, one.key_size, one.value_size, one.max_entries, one.flags)
            for path, one in pinned_maps(io, scope).items()
        ]

    def owner(self, row: BpfMap, seen: Seen) -> Owner:
        return Owner.OURS

    def needs(self, row: BpfMap) -> tuple[Ref, ...]:
        return in_folder(row.key.path)

    def replaces(self, old: BpfMap, new: BpfMap) -> str | None:
        return "the size and type of a map are given when it is made"

    def normal(self, row: BpfMap) -> BpfMap:
        root = root_of(row.key.path)
        if row.key.path != f"{maps_of(root)}/{row.key.name}" or len(row.key.name) > 15:
            raise BadValue("maps are pinned below …/plumbline/maps, by a name of at most 15 characters", "path")
        return row

    def below(self, row: BpfMap, root: str) -> BpfMap:
        return row._replace(key=BpfMapKey(root + row.key.path))

    def advice(self, row: BpfMap, failure: str) -> str:
        if "Operation not permitted" in failure:
            return "CAP_BPF and CAP_NET_ADMIN are needed"
        return ""


KIND = BpfMapKind()
