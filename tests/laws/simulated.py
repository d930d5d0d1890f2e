"""A kernel made of rows: it refuses and destroys what the real one does, by what the kinds say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import Action, Ref, Verb, fields, with_fields
from reconciler.engine.reader import Reader, Scope
from reconciler.engine.round import Failure
from reconciler.kinds import all_kinds


def observed_kind(kind: Kind[Any]) -> Kind[Any]:
    """The kind, but seeing what the simulated node holds."""

    class Observed(type(kind)):  # type: ignore[misc]
        def observe(self, io: Any, scope: Scope) -> list[Any]:
            return list(io.rows[self.name])

        @property
        def folder(self) -> Path:
            return kind.folder

    return Observed()


KINDS = Kinds(observed_kind(kind) for kind in all_kinds().values())


class SimulatedNode(Reader):
    """Rows by kind. `fails_after`: stops for good after that many lines, as kill -9 does."""

    def __init__(self, rows: dict[str, list[Any]] | None = None, fails_after: int | None = None) -> None:
        self.rows: dict[str, list[Any]] = {name: list((rows or {}).get(name, [])) for name in KINDS}
        self._left = fails_after
        self._index = 1000
        self.touched: list[Action] = []

    def visit(self, netns: Sequence[str]) -> AbstractContextManager[Mapping[str, str]]:
        return nullcontext({})

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        return [self._one(action) for action in actions]

    def _one(self, action: Action) -> Failure | None:
        if self._left is not None:
            if self._left == 0:
                raise KeyboardInterrupt
            self._left -= 1
        self.touched.append(action)
        kind = KINDS[action.change.kind]
        if action.verb is Verb.DELETE:
            return self._delete(kind, action.change.old)
        if action.verb is Verb.UPDATE:
            return self._update(kind, action.change.old, action.change.new)
        return self._create(kind, action.change.new)

    def _create(self, kind: Kind[Any], new: Any) -> Failure | None:
        mine = self.rows[kind.name]
        if not kind.shares_keys and any(row.key == new.key for row in mine):
            return Failure("File exists")
        missing = [need for need in kind.needs(new) if not self._exists(need)]
        if missing:
            return Failure(f"Cannot find {missing[0]}")
        held = {claim for row in mine for claim in kind.claims(row)}
        if held & set(kind.claims(new)):
            return Failure("claimed")
        fresh = kind.fresh(new)
        if fresh is not None:
            new = _over(fresh, new)
        if "ifindex" in fields(new):
            self._index += 1
            new = with_fields(new, ifindex=self._index)
        mine.append(new)
        return None

    def _update(self, kind: Kind[Any], old: Any, new: Any) -> Failure | None:
        mine = self.rows[kind.name]
        end = -kind.uncompared
        for index, row in enumerate(mine):
            if row.key == old.key and row[1:end] == old[1:end]:
                mine[index] = _over(row, new)
                for name in kind.loses(old, new):
                    self._orphans(kind.ref(row), only=name)
                return None
        return Failure("No such object")

    def _delete(self, kind: Kind[Any], old: Any) -> Failure | None:
        mine = self.rows[kind.name]
        end = -kind.uncompared
        for row in mine:
            if row.key == old.key and row[1:end] == old[1:end] and kind.ref(row) == kind.ref(old):
                mine.remove(row)
                self._orphans(kind.ref(row))
                return None
        return Failure("No such object")

    def _exists(self, ref: Ref) -> bool:
        return any(KINDS[ref.kind].ref(row) == ref for row in self.rows[ref.kind])

    def _orphans(self, parent: Ref, only: str | None = None) -> None:
        for name, kind in KINDS.items():
            if only is not None and name != only:
                continue
            for row in list(self.rows[name]):
                if parent not in kind.needs(row) or row not in self.rows[name]:
                    continue
                left = kind.without(row, parent)
                self.rows[name].remove(row)
                if left is not None:
                    self.rows[name].append(left)
                else:
                    self._orphans(kind.ref(row))


def _over(old: Any, new: Any) -> Any:
    """`new`, with what it does not manage (None) as it was in `old`."""
    changes = {}
    for name in fields(new):
        before, after = getattr(old, name), getattr(new, name)
        if after is None:
            changes[name] = before
        elif hasattr(after, "_fields") and type(before) is type(after) and name not in ("key", "origin"):
            changes[name] = after._replace(**{part: getattr(before, part) for part in after._fields if getattr(after, part) is None})
    if "ifindex" in fields(new):
        changes["ifindex"] = old.ifindex
    return with_fields(new, **changes)
