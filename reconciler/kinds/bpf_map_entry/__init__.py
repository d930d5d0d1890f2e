"""Kind `bpf_map_entry`: entries of pinned maps, each a row of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from reconciler.engine.kind import Kind
from reconciler.engine.model import Key, Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.bpf_folder.row import pin_path
from reconciler.kinds.bpf_map import HOLD_ROWS, of_map, pinned_maps
from reconciler.kinds.bpf_map_entry import layout
from reconciler.kinds.bpf_map_entry.entered import Entered
from reconciler.kinds.bpf_map_entry.entering import entered
from reconciler.kinds.bpf_map_entry.row import BpfMapEntry, BpfMapEntryKey, from_text
from reconciler.kinds.bpf_map_entry.services import ServiceTable
from reconciler.kinds.bpf_program import of_program, pinned_programs
from reconciler.kinds.spelling import BadValue

__all__ = ["KIND", "BpfMapEntry", "BpfMapEntryKey"]

POLL = 30.0
_PATIENCE = POLL / 2  # so that each poll is a whole look, and what comes soon after one is not
_FRONTS, _FROM_OUTSIDE, _ARRAYS = 2, 3, 4  # behind the programs
_RANKS = {layout.BACKENDS: 1, layout.RANGES: 1, layout.FRONTS: _FRONTS}
_OUTSIDE = bytes((layout.OUTSIDE,))  # how the key of a front from outside ends


class BpfMapEntryKind(Kind[BpfMapEntry]):
    """Known as ours by its map: in a hash, a trie or a program array of ours, what nothing wants is drift.

    What programs write is in maps of other types, and no row. Every state between
    two lines can be met by a packet: what is pointed to is there before what points
    to it, and goes after it. So backends and ranges come before the fronts that name
    them, those from outside last, for what is behind ranges is a front too; and fronts
    before the slots of program arrays, which switch programs over.
    """

    name = "bpf_map_entry"
    rank = 91
    row = BpfMapEntry
    grammar = (("bpftool", "map", "update"), ("bpftool", "map", "delete"))
    compounds = (ServiceTable,)
    uncompared = 2
    poll = POLL

    def observe(self, io: Reader, scope: Scope) -> Iterable[BpfMapEntry]:
        paths = [path for path, info in pinned_maps(io, scope).items() if info.type in HOLD_ROWS]
        programs = {one.id: path for path, one in pinned_programs(io, scope).items()} if paths else {}
        return io.map_rows(paths, _rows, _PATIENCE, programs)

    def enter(self, stated: Mapping[Key, Any], seen: Sequence[BpfMapEntry], before: Mapping[Key, Any] | None) -> Mapping[Key, Any]:
        return entered(stated, seen, before)

    def unwanted(self, row: BpfMapEntry, stated: Mapping[Key, Any]) -> str:
        """Endpoints come and go; that the whole section went is another matter."""
        return "no service has this" if isinstance(stated, Entered) and row.key.map in stated.table.maps else ""

    def owner(self, row: BpfMapEntry, seen: Seen) -> Owner:
        return Owner.OURS

    def needs(self, row: BpfMapEntry) -> tuple[Ref, ...]:
        value = row.value
        return of_map(row.key.map) if type(value) is bytes else of_map(row.key.map) + of_program(str(value))

    def without(self, row: BpfMapEntry, parent: Ref) -> BpfMapEntry | None:
        """A program array holds its programs, pinned or not."""
        return row._replace(value=b"") if parent.kind == "bpf_program" else None

    def rank_of(self, row: BpfMapEntry) -> int:
        path, key = row.key
        if type(row.value) is not bytes:
            return self.rank + _ARRAYS
        rank = _rank(path)
        return self.rank + (_FROM_OUTSIDE if rank == _FRONTS and key[-1:] == _OUTSIDE else rank)

    def normal(self, row: BpfMapEntry) -> BpfMapEntry:
        value = row.value
        for field, text in (("key", row.key.key), ("value", value)):
            try:
                if field == "value" and isinstance(text, str) and text.startswith("/"):
                    pin_path(text)
                else:
                    from_text(text)
            except ValueError as error:
                raise BadValue(str(error), field) from None
        if not (isinstance(value, str) and value.startswith("/")):
            value = from_text(value)
        return row._replace(key=row.key._replace(key=from_text(row.key.key)), value=value)

    def below(self, row: BpfMapEntry, root: str) -> BpfMapEntry:
        value = root + row.value if isinstance(row.value, str) else row.value
        return row._replace(key=row.key._replace(map=root + row.key.map), value=value)


@lru_cache(maxsize=4096)
def _rank(path: str) -> int:
    return _RANKS.get(path.rpartition("/")[2], 0)


def _rows(path: str, keys: Sequence[bytes], values: Sequence[bytes | str]) -> list[BpfMapEntry]:
    return [BpfMapEntry(BpfMapEntryKey(path, key), value) for key, value in zip(keys, values, strict=True)]


KIND = BpfMapEntryKind()
