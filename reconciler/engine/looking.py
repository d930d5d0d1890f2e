"""Looks at one node, one after the other: what the kernel would have told of, and did not, stands as it was seen."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.model import Observed, Seen
from reconciler.engine.observe import observe
from reconciler.engine.reader import Reader, Scope


class Listener(Protocol):
    """Whoever hears what the kernel tells of changes."""

    def mark(self) -> Any:
        """This moment; see `told`."""

    def told(self, since: Any) -> Collection[str] | None:
        """The kinds that a change was told of since a mark; None: anything may be otherwise."""


class Nobody:
    """Listens to nothing: what happens between two looks is not known."""

    def mark(self) -> Any:
        return None

    def told(self, since: Any) -> Collection[str] | None:
        return None


class Looking:
    """Remembers the last look at a node."""

    def __init__(self, kinds: Kinds, io: Reader, listener: Listener) -> None:
        self._kinds, self._io, self._listener = kinds, io, listener
        self._last: tuple[object, Scope, Seen] | None = None

    def look(self, scope: Scope) -> Seen:
        """Everything in scope."""
        known = self._known(scope)
        mark = self._listener.mark()  # before looking: what comes meanwhile is told the next time
        seen = observe(self._kinds, self._io, scope, [name for name in self._kinds if name not in known])
        if known:
            seen = Seen({name: known.get(name) or seen.observed[name] for name in self._kinds}, seen.absent)
        self._last = mark, scope, seen
        return seen

    def _known(self, scope: Scope) -> dict[str, Observed]:
        """What was seen of the kinds that nothing was told of. Nobody listens in other namespaces."""
        if self._last is None or (told := self._listener.told(self._last[0])) is None:
            return {}
        _, before, seen = self._last
        if before.netns != ("",) or scope.netns != ("",) or seen.absent:
            return {}
        return {
            name: seen.observed[name]
            for name, kind in self._kinds.items()
            if name not in told and _is_told_of(kind) and not seen.failure(name) and (not kind.asks_for or _same(name, before, scope))
        }


def _is_told_of(kind: Kind[Any]) -> bool:
    return kind.told or (bool(kind.events) and kind.poll is None)


def _same(name: str, before: Scope, now: Scope) -> bool:
    return before.wanted.of(name).keys() == now.wanted.of(name).keys()
