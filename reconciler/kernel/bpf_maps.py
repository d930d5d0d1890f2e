"""What is known of the entries of pinned maps, so that a change of a few among a hundred thousand reads these few again.

The kernel tells of no change to a map. A map is read whole when it is small, when it is
another one than it was, and when the last such look is too old; in between only the
entries that were written to since are read. What did not change is the very same row.
A trie has no such reading: for a key that has gone it answers with a shorter one.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from reconciler.engine.reader import ObservationFailed
from reconciler.engine.rows import Rows
from reconciler.kernel import bpf
from reconciler.wire.bpf import MapInfo

Value = bytes | str  # of a program array: where the program is pinned
Decode = Callable[[str, Sequence[bytes], Sequence[Value]], Sequence[Any]]  # path, keys, values
SMALL = 2048  # entries; reading these costs a fifth of a millisecond
FEW = 4  # of so many entries one was written to: reading them one by one is no gain any more


class Looks(NamedTuple):
    """How often maps were read whole, and entries by themselves."""

    whole: int
    single: int


class _Found(NamedTuple):
    """What is otherwise in a map than it was: new values, and keys that are gone."""

    changed: dict[bytes, Value]
    gone: list[bytes]


_NOTHING = _Found({}, [])


class _Known:
    """One map as it was last seen."""

    def __init__(self) -> None:
        self.number = -1  # its id
        self.looked = 0.0
        self.raw: tuple[bytes, bytes] | None = None  # of the last whole look, while nothing was found to differ from it
        self.values: dict[bytes, Value] = {}
        self.touched: set[bytes] = set()

    def take(self, now: Mapping[bytes, Value | None]) -> _Found:
        """Entries as they were read; None: there is none."""
        values = self.values
        changed = {key: value for key, value in now.items() if value is not None and values.get(key) != value}
        gone = [key for key, value in now.items() if value is None and key in values]
        values.update(changed)
        for key in gone:
            del values[key]
        return _Found(changed, gone)


class PinnedMaps:
    """The maps that one process reads and writes, by path."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._rows: dict[Decode, tuple[tuple[str, ...], Rows]] = {}
        self._whole = self._single = 0

    @property
    def looks(self) -> Looks:
        """How many so far."""
        return Looks(self._whole, self._single)

    def touched(self, path: str, count: int, keys: bytes) -> None:
        """These entries (their keys end to end) were just written to."""
        known = self._known.get(path)
        if known is None or count == 0:
            return
        if count * FEW > len(known.values):
            known.number = -1  # most of it: looked at as if it were another map
        else:
            known.touched.update(_cut(keys, len(keys) // count))

    def rows(self, paths: Sequence[str], decode: Decode, patience: float, programs: Mapping[int, str]) -> Rows:
        """See `reconciler.engine.reader.Reader.map_rows`. Raises ObservationFailed."""
        before, rows = self._rows.pop(decode, ((), Rows()))
        try:
            found = {path: self._look(path, patience, programs) for path in paths}
        except ObservationFailed:
            for path in (*paths, *before):
                self._known.pop(path, None)  # what was found in the others is in no row
            raise
        found |= {path: _Found({}, list(self._known.pop(path).values)) for path in before if path not in found and path in self._known}
        gone = [row.key for path, one in found.items() if one.gone for row in decode(path, one.gone, [b""] * len(one.gone))]
        new = [row for path, one in found.items() if one.changed for row in decode(path, list(one.changed), list(one.changed.values()))]
        if gone or new:
            rows = rows.changed(new, gone)
        self._rows[decode] = (tuple(paths), rows)
        return rows

    def _look(self, path: str, patience: float, programs: Mapping[int, str]) -> _Found:
        """What is otherwise in a map than it was. Raises ObservationFailed."""
        try:
            with bpf.opened_map(path) as (descriptor, info):
                known = self._known.setdefault(path, _Known())
                if known.number != info.id or self._is_due(known, patience) or (known.touched and info.type == "lpm_trie"):
                    found = self._whole_look(known, descriptor, info, programs)
                else:
                    found = self._touched_ones(known, descriptor, info)
                known.number = info.id
        except OSError as error:
            raise ObservationFailed(f"{path}: {error.strerror or error}") from error
        known.touched.clear()
        return found

    def _is_due(self, known: _Known, patience: float) -> bool:
        count = len(known.values)
        return count <= SMALL or self._clock() - known.looked >= patience

    def _touched_ones(self, known: _Known, descriptor: int, info: MapInfo) -> _Found:
        if not known.touched:
            return _NOTHING
        self._single += len(known.touched)
        found = known.take({key: bpf.look_up(descriptor, info, key) for key in sorted(known.touched)})
        if found.changed or found.gone:
            known.raw = None
        return found

    def _whole_look(self, known: _Known, descriptor: int, info: MapInfo, programs: Mapping[int, str]) -> _Found:
        self._whole += 1
        known.looked = self._clock()
        raw = bpf.dump(descriptor, info)
        arrays = info.type == "prog_array"  # the same program may be pinned elsewhere by now
        if raw == known.raw and not arrays:
            return _NOTHING
        known.raw = raw
        keys: list[bytes] = _cut(raw[0], info.key_size)
        values: list[Any] = _cut(raw[1], info.value_size)
        if arrays:
            values = [programs.get(struct.unpack("=I", value)[0], value) for value in values]
        now: dict[bytes, Value | None] = dict(zip(keys, values, strict=True))
        if now == known.values:
            return _NOTHING
        now.update(dict.fromkeys(known.values.keys() - now.keys()))
        return known.take(now)


def _cut(raw: bytes, size: int) -> list[bytes]:
    return [raw[start : start + size] for start in range(0, len(raw), size)]
