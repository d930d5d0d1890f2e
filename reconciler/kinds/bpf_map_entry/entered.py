"""The entries of all services as rows, of which few change at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, ValuesView
from typing import Any, NamedTuple

from reconciler.engine.model import Key
from reconciler.engine.rows import Rows
from reconciler.kinds.bpf_map_entry.row import BpfMapEntry, BpfMapEntryKey
from reconciler.kinds.bpf_map_entry.services import ServiceTable


class Listed(NamedTuple):
    """A list of backends with its number."""

    id: int
    slots: tuple[bytes, ...]


class _Values(ValuesView[BpfMapEntry]):
    """The rows in their own order, none looked up by its key."""

    def __init__(self, entered: Entered) -> None:
        super().__init__(entered)
        self._rows = entered.rows

    def __iter__(self) -> Iterator[BpfMapEntry]:
        return iter(self._rows)


class Entered(Mapping[BpfMapEntryKey, BpfMapEntry]):
    """The entries of one table and whatever else was stated, and all that is needed to come from there to those of the next one."""

    def __init__(self, table: ServiceTable, known: Entered | None = None) -> None:
        self.table = table
        self.rows: Rows = Rows() if known is None else known.rows
        self._first = known is None
        self._new: dict[BpfMapEntryKey, BpfMapEntry] = {}  # until `made`: what is otherwise than in `rows`
        self._gone: dict[BpfMapEntryKey, None] = {}
        self.rest: dict[BpfMapEntryKey, BpfMapEntry] = {} if known is None else known.rest
        self.lists: dict[str, Listed] = {} if known is None else dict(known.lists)
        self.numbers: set[int] = set() if known is None else set(known.numbers)  # ids that a front names, or may still name
        self.ranges: dict[str, int] = {} if known is None else dict(known.ranges)  # their ids
        self.given: dict[int, str] = {} if known is None else dict(known.given)  # ids of ranges → whose they are or were; "": nobody knows
        self.holders: dict[bytes, str] = {} if known is None else dict(known.holders)  # front → the service that has it
        self.waiting: dict[bytes, tuple[str, ...]] = {} if known is None else dict(known.waiting)  # → services that it is refused to

    def put(self, row: BpfMapEntry) -> None:
        self._new[row[0]] = row
        if self._gone:
            self._gone.pop(row[0], None)

    def take(self, key: BpfMapEntryKey) -> None:
        self._new.pop(key, None)
        self._gone[key] = None

    def made(self) -> Entered:
        """Nothing is put or taken any more."""
        new = self._new.values()
        self.rows = Rows(new) if self._first else self.rows.changed(new, self._gone)
        self._new, self._gone = {}, {}
        return self

    def since(self, before: object) -> Collection[Key] | None:
        """The keys under which something may be otherwise than in `before`; None: these do not come from there."""
        return self.rows.since(before.rows) if isinstance(before, Entered) else None

    def get(self, key: Any, default: Any = None) -> Any:
        if self._new or self._gone:
            if key in self._new:
                return self._new[key]
            if key in self._gone:
                return default
        row = self.rows.get(key)
        return default if row is None else row

    def __getitem__(self, key: BpfMapEntryKey) -> BpfMapEntry:
        row: BpfMapEntry | None = self.get(key)
        if row is None:
            raise KeyError(key)
        return row

    def __iter__(self) -> Iterator[BpfMapEntryKey]:
        return (row[0] for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def values(self) -> ValuesView[BpfMapEntry]:
        return _Values(self)
