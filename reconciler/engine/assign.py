"""Handles: numbers that the kernel wants from us where rows are known by something better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import is_
from typing import Any

from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import Key, Seen, Wanted


def assign(kinds: Kinds, wanted: Wanted, seen: Seen, before: Wanted | None = None) -> Wanted:
    """Give every wanted row its handle, and every row that points to one that number; rows that stand for many become these.

    Parents come before children in rank, so one pass is enough. before: what this gave last time.
    """
    handles: dict[str, Mapping[Key, int]] = {}
    assigned: dict[str, Mapping[Key, Any]] = {}
    for name, kind in kinds.items():
        stated = wanted.of(name)
        if kind.compounds and stated:
            stated = kind.enter(stated, seen.rows(name), before.of(name) if before is not None else None)
        rows: Iterable[Any] = stated.values()
        if type(kind).resolve is Kind.resolve and type(kind).assign is Kind.assign:
            assigned[name] = stated
            continue
        if type(kind).resolve is not Kind.resolve:
            rows = list(kind.resolve(rows, handles))
        if type(kind).assign is not Kind.assign:
            rows = list(kind.assign(rows, seen.rows(name)))
            handles[name] = kind.handles(rows)
        unchanged = all(map(is_, rows, stated.values()))
        assigned[name] = stated if unchanged else {row.key: row for row in rows}
    return Wanted(assigned, wanted.absent)
