"""A made-up kind for the engine's tests: like a route."""

from __future__ import annotations

from typing import Any, NamedTuple

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import ObservationFailed, Scope


class ChildKey(NamedTuple):
    netns: str
    name: str


class Child(NamedTuple):
    key: ChildKey
    parent: str = ""
    value: int = 0
    ours: bool = True
    last: bool = False
    origin: tuple[Any, ...] = ()


class ChildKind(Kind[Child]):
    """Ours by a flag."""

    name = "child"
    rank = 20
    row = Child
    grammar = (("ip", "route"),)
    uncompared = 2
    detach_first = True

    def observe(self, io: Any, scope: Scope) -> list[Child]:
        if "child" in io.unobservable:
            raise ObservationFailed("child does not answer")
        return list(io.rows["child"])

    def owner(self, row: Child, seen: Seen) -> Owner:
        return Owner.OURS if row.ours else Owner.FOREIGN

    def needs(self, row: Child) -> tuple[Ref, ...]:
        return (Ref("parent", ("", row.parent)),) if row.parent else ()

    def waits(self, row: Child) -> bool:
        return row.last


KIND = ChildKind()
