"""A made-up kind for the engine's tests: like a link."""

from __future__ import annotations

from typing import Any, NamedTuple

from reconciler.engine.kind import Kind
from reconciler.engine.model import Claim, Owner, Seen
from reconciler.engine.reader import ObservationFailed, Scope


class ParentKey(NamedTuple):
    netns: str
    name: str


class Parent(NamedTuple):
    key: ParentKey
    colour: str = ""  # cannot change in place
    size: int = 0  # can
    slot: int = 0  # claimed
    ours: bool = True
    adopt: bool = False
    index: int = 0
    origin: tuple[Any, ...] = ()


class ParentKind(Kind[Parent]):
    """Ours by a flag."""

    name = "parent"
    rank = 10
    row = Parent
    grammar = (("ip", "link"),)
    uncompared = 3
    rechecked = True

    def observe(self, io: Any, scope: Scope) -> list[Parent]:
        if "parent" in io.unobservable:
            raise ObservationFailed("parent does not answer")
        return list(io.rows["parent"])

    def owner(self, row: Parent, seen: Seen) -> Owner:
        return Owner.OURS if row.ours else Owner.FOREIGN

    def identity(self, row: Parent) -> int | None:
        return row.index

    def claims(self, row: Parent) -> tuple[Claim, ...]:
        return (Claim("slot", (row.slot,)),) if row.slot else ()

    def replaces(self, old: Parent, new: Parent) -> str | None:
        return "the colour cannot change" if old.colour != new.colour else None


KIND = ParentKind()
