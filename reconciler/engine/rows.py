"""Many rows of which few change: what changed between two looks is told at the cost of what changed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from reconciler.engine.model import Key


class Rows(Sequence[Any]):
    """Rows with keys of their own, as they were at one moment.

    `changed` makes the rows of the next moment and leaves these as they were. Only the newest
    hold them all; older ones know what was otherwise then (H. Baker, Shallow binding
    makes functional arrays fast, 1991).
    """

    __slots__ = ("_all", "_later", "_then")

    def __init__(self, rows: Iterable[Any] = ()) -> None:
        self._all: dict[Key, Any] | None = {row.key: row for row in rows}
        self._later: Rows | None = None
        self._then: dict[Key, Any] = {}  # what differs from the later ones; None: there was no such row

    def changed(self, new: Iterable[Any], gone: Iterable[Key]) -> Rows:
        """The rows of the next moment: with `new` ones, in place of those under their keys, and without `gone`."""
        rows = self._rows()
        later, then = Rows(), dict[Key, Any]()
        for row in new:
            then[row.key] = rows.get(row.key)
            rows[row.key] = row
        for key in gone:
            then[key] = rows.pop(key, None)
        later._all = rows
        self._all, self._later, self._then = None, later, then
        return later

    def since(self, before: object) -> Collection[Key] | None:
        """The keys under which something may be otherwise than it was in `before`; None: these do not come from there."""
        keys: dict[Key, None] = {}
        one = before if isinstance(before, Rows) else None
        while one is not None and one is not self:
            keys.update(dict.fromkeys(one._then))
            one = one._later
        return keys if one is self else None

    def get(self, key: Key) -> Any:
        """The row under a key, or None."""
        one = self
        while one._all is None and one._later is not None:
            if key in one._then:
                return one._then[key]
            one = one._later
        return None if one._all is None else one._all.get(key)

    def _rows(self) -> dict[Key, Any]:
        """All of them, by key; of older ones made anew."""
        if self._all is None and self._later is not None:
            rows = dict(self._later._rows())
            for key, row in self._then.items():
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = row
            self._all, self._later, self._then = rows, None, {}
        return self._all if self._all is not None else {}

    def __len__(self) -> int:
        return len(self._rows())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows().values())

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Sequence):
            return NotImplemented
        keys = self.since(other)
        if keys is not None and isinstance(other, Rows):
            return all(self.get(key) == other.get(key) for key in keys)
        return list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def keys_since(before: Any, now: Any) -> Collection[Key] | None:
    """What a container of rows that can tell says of its difference from an earlier one."""
    since = getattr(now, "since", None)
    found: Collection[Key] | None = since(before) if since is not None else None
    return found


def under(rows: Sequence[Any], keys: Mapping[Key, Any]) -> list[Any]:
    """The rows under some keys."""
    if isinstance(rows, Rows):
        return [row for key in keys if (row := rows.get(key)) is not None]
    return [row for row in rows if row.key in keys]
