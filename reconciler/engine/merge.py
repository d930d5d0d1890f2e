"""Rows of all intents become what one node wants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import Absent, Claim, Key, Wanted, with_fields


class Clash(NamedTuple):
    """Two intents that want different things of one row, or the same claim twice."""

    first: Any
    second: Any
    what: str

    def __str__(self) -> str:
        return f"{self.what}: {said_by(self.first)}; {said_by(self.second)}"


def said_by(row: Any) -> str:
    """Who wants a row, for people."""
    return ", ".join(str(origin) for origin in row.origin) or "unknown origin"


def merge(kinds: Kinds, rows: Iterable[Any]) -> tuple[Wanted, list[Clash]]:
    """Equal rows merge and keep both origins; unequal ones of one key clash, the first stays."""
    merged: dict[str, dict[Key, Any]] = {}
    by_type: dict[type, dict[Key, Any]] = {}
    clashes: list[Clash] = []
    absent: dict[str, dict[Key, tuple[Absent, ...]]] = {}
    for row in rows:
        if row.__class__ is Absent:
            gone = absent.setdefault(kinds.of(row.row).name, {})
            gone[row.row.key] = (*gone.get(row.row.key, ()), row)
            continue
        mine = by_type.get(row.__class__)
        if mine is None:
            mine = by_type[row.__class__] = merged.setdefault(kinds.of(row).name, {})
        first = mine.setdefault(row.key, row)
        if first is row:
            continue
        kind = kinds.of(row)
        end = -kind.uncompared
        if first[1:end] == row[1:end]:
            mine[row.key] = with_fields(first, origin=(*first.origin, *row.origin))
        else:
            names = ", ".join(name for name in kind.attributes if getattr(first, name) != getattr(row, name))
            clashes.append(Clash(first, row, f"{kind.ref(row)} is wanted twice with a different {names}"))
    clashes += _claimed_twice(kinds, merged)
    return Wanted(merged, absent), clashes


def _claimed_twice(kinds: Kinds, merged: dict[str, dict[Key, Any]]) -> Iterable[Clash]:
    holders: dict[Claim, Any] = {}
    for name, rows in merged.items():
        kind = kinds[name]
        if type(kind).claims is Kind.claims:
            continue
        for row in rows.values():
            for claim in kind.claims(row):
                first = holders.setdefault(claim, row)
                if first is not row:
                    yield Clash(first, row, f"only one of {kind.ref(first)} and {kind.ref(row)} can have {claim}")
