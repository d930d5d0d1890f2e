"""What was found to be in order, so that only what has changed since is compared again. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import compress, count
from operator import is_not
from typing import Any, NamedTuple

from reconciler.engine.kind import Kinds
from reconciler.engine.model import Key, Seen, Wanted
from reconciler.engine.rows import keys_since, under


class Settled(NamedTuple):
    """A state without any difference: what was wanted, with its handles, and what was seen."""

    wanted: Wanted
    seen: Seen

    def holds(self, kinds: Kinds, seen: Seen) -> bool:
        """Whether the ground is the same. Whose a row is may depend on what it hangs on, so then nothing can be taken over."""
        return all(self.seen.rows(name) == seen.rows(name) for name, kind in kinds.items() if kind.rechecked)

    def since(self, name: str, wanted: Wanted, seen: Seen) -> tuple[Mapping[Key, Any], Sequence[Any]]:
        """The wanted and the seen rows of a kind under those keys that may be otherwise than they were.

        Rows are told apart as objects: one that did not change is the very same one, on both sides.
        """
        want, rows = wanted.of(name), seen.rows(name)
        known, had = self.wanted.of(name), self.seen.rows(name)
        if want is known and rows is had:
            return {}, []
        keys = dict.fromkeys([*_keys(known, want), *_keys(had, rows)])
        if len(keys) > len(rows):  # most were made anew, so most are to be compared
            return want, rows
        if not keys:
            return {}, []
        return {key: want[key] for key in keys if key in want}, under(rows, keys)


def _keys(before: Any, now: Any) -> Iterable[Key]:
    """Those under which two mappings or sequences of rows differ."""
    if before is now:
        return ()
    told = keys_since(before, now)
    if told is not None:
        return told
    before, now = (rows.values() if isinstance(rows, Mapping) else rows for rows in (before, now))
    return [row.key for row in _apart(before, now)]


def _apart(before: Collection[Any], now: Collection[Any]) -> list[Any]:
    """The objects that are only on one side, those of the later one first."""
    before, now = _middles(list(before), list(now))
    old, new = set(map(id, before)), set(map(id, now))
    return [row for row in now if id(row) not in old] + [row for row in before if id(row) not in new]


def _middles(before: list[Any], now: list[Any]) -> tuple[list[Any], list[Any]]:
    """Both without the objects that they begin and end with alike: mostly that leaves next to nothing to tell apart."""
    start = _alike(before, now)
    before, now = before[start:], now[start:]
    end = _alike(before[::-1], now[::-1])
    return before[: len(before) - end], now[: len(now) - end]


def _alike(before: list[Any], now: list[Any]) -> int:
    """How many objects both begin with."""
    return next(compress(count(), map(is_not, before, now)), min(len(before), len(now)))
