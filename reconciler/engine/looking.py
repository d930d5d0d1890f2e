"""Looks at one node, one after the other: what the kernel would have told of, and did not, stands as it was seen."""

from __future__ import annotations

from collections.abc import Callable, Collection

from reconciler.engine.kind import Kind, Kinds, Reader, Scope
from reconciler.engine.model import Observed, Seen
from reconciler.engine.observe import observe

# The kinds that the kernel told a change of since this was asked last; None: anything may be otherwise.
Told = Callable[[], Collection[str] | None]


def nobody_listens() -> Collection[str] | None:
    """What happens between two looks is not known."""
    return None


class Looking:
    """Remembers the last look at a node."""

    def __init__(self, kinds: Kinds, io: Reader, told: Told) -> None:
        self._kinds, self._io, self._told = kinds, io, told
        self._last: tuple[Scope, Seen] | None = None

    def look(self, scope: Scope) -> Seen:
        """Everything in scope."""
        told = self._told()  # before looking: what comes meanwhile is told the next time
        known = {} if told is None else self._known(scope, told)
        self._last = None
        seen = observe(self._kinds, self._io, scope, [name for name in self._kinds if name not in known])
        if known:
            seen = Seen({name: known.get(name) or seen.observed[name] for name in self._kinds}, seen.absent)
        self._last = scope, seen
        return seen

    def _known(self, scope: Scope, told: Collection[str]) -> dict[str, Observed]:
        """What was seen of the kinds that nothing was told of. Nobody listens in other namespaces."""
        if self._last is None:
            return {}
        before, seen = self._last
        if before.netns != ("",) or scope.netns != ("",) or seen.absent:
            return {}
        return {
            name: seen.observed[name]
            for name, kind in self._kinds.items()
            if name not in told and _is_told_of(kind) and not seen.failure(name) and (not kind.asks_for or _same(name, before, scope))
        }


def _is_told_of(kind: Kind[object]) -> bool:  # type: ignore[type-var]
    return bool(kind.events) and kind.poll is None


def _same(name: str, before: Scope, now: Scope) -> bool:
    return before.wanted.of(name).keys() == now.wanted.of(name).keys()
