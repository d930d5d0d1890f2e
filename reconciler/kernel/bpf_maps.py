"""What is known of the entries of pinned maps, so that a change of a few among a hundred thousand reads these few again.

The kernel tells of no change to a map. A map is read whole when it is small, when it is
another one than it was, and when the last such look is too old; in between only the
entries that were written to since are read. What did not change is the very same row.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import is_
from typing import Any, NamedTuple, TypeVar

from reconciler.engine.kind import ObservationFailed
from reconciler.kernel import bpf
from reconciler.wire.bpf import MapInfo

T = TypeVar("T")
Value = bytes | str  # of a program array: where the program is pinned
Decode = Callable[[str, Sequence[bytes], Sequence[Value]], Sequence[T]]  # path, keys, values
SMALL = 2048  # entries; reading these costs a fifth of a millisecond
FEW = 4  # of so many entries one was written to: reading them one by one is no gain any more


class _Known:
    """One map as it was last seen: `values` and `rows` by key, in one order that changes leave as it is."""

    def __init__(self, number: int, decode: object) -> None:
        self.number, self.decode = number, decode
        self.looked = 0.0
        self.raw: tuple[bytes, bytes] = (b"", b"")  # of the last whole look; patched entries differ from it
        self.values: dict[bytes, Value] = {}
        self.by_key: dict[bytes, Any] = {}
        self.rows: list[Any] = []
        self.touched: set[bytes] = set()
        self.patched = False


class Entries(NamedTuple):
    """How a look at a map went, for tests and benchmarks."""

    whole: int
    single: int


class PinnedMaps:
    """The maps that one process reads and writes, by path."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._together: dict[tuple[tuple[str, ...], object], tuple[list[list[Any]], list[Any]]] = {}
        self._whole = self._single = 0

    @property
    def looks(self) -> Entries:
        """How many whole maps, and how many entries by themselves, were read so far."""
        return Entries(self._whole, self._single)

    def forget(self) -> None:
        """Nothing is known any more: every map is read whole next time."""
        self._known.clear()
        self._together.clear()

    def touched(self, path: str, keys: Iterable[bytes]) -> None:
        """These entries were just written to."""
        known = self._known.get(path)
        if known is not None:
            known.touched.update(keys)

    def rows_of(self, paths: Sequence[str], decode: Decode[T], patience: float, programs: Mapping[int, str]) -> list[T]:
        """See `reconciler.engine.kind.Reader.map_rows`. Raises ObservationFailed."""
        parts = [self.rows(path, decode, patience, programs) for path in paths]
        slot = (tuple(paths), decode)
        before, together = self._together.get(slot, ([], []))
        if len(before) != len(parts) or not all(map(is_, before, parts)):
            together = list(chain.from_iterable(parts))
            self._together[slot] = (parts, together)
        return together

    def rows(self, path: str, decode: Decode[T], patience: float, programs: Mapping[int, str]) -> list[T]:
        """The rows of one map."""
        try:
            with bpf.opened_map(path) as (descriptor, info):
                known = self._known.get(path)
                if known is None or known.number != info.id or known.decode != decode:
                    known = self._known[path] = _Known(info.id, decode)
                    self._look(known, path, descriptor, info, programs)
                elif self._is_due(known, patience):
                    self._look(known, path, descriptor, info, programs)
                elif known.touched:
                    self._single += len(known.touched)
                    found: dict[bytes, Value | None] = {key: bpf.look_up(descriptor, info, key) for key in sorted(known.touched)}
                    known.patched = True
                    _patch(known, path, found)
        except OSError as error:
            self._known.pop(path, None)
            raise ObservationFailed(f"{path}: {error.strerror or error}") from error
        known.touched.clear()
        return known.rows

    def _is_due(self, known: _Known, patience: float) -> bool:
        count = len(known.by_key)
        return count <= SMALL or len(known.touched) * FEW > count or self._clock() - known.looked >= patience

    def _look(self, known: _Known, path: str, descriptor: int, info: MapInfo, programs: Mapping[int, str]) -> None:
        self._whole += 1
        known.looked = self._clock()
        raw = bpf.dump(descriptor, info)
        arrays = info.type == "prog_array"
        if raw == known.raw and not known.patched and not arrays:
            return
        known.raw, known.patched = raw, False
        keys: list[bytes] = _cut(raw[0], info.key_size)
        values: list[Any] = _cut(raw[1], info.value_size)
        if arrays:
            values = [programs.get(struct.unpack("=I", value)[0], value) for value in values]
        now = dict(zip(keys, values, strict=True))
        if now == known.values:
            return
        before = known.values
        found: dict[bytes, Value | None] = {key: value for key, value in now.items() if before.get(key) != value}
        found.update(dict.fromkeys(before.keys() - now.keys()))
        _patch(known, path, found)


def _patch(known: _Known, path: str, found: dict[bytes, Value | None]) -> None:
    """Take over what is otherwise than it was; what is as it was stays the very same row in its place."""
    values, by_key = known.values, known.by_key
    changed = [key for key, value in found.items() if value is not None and values.get(key) != value]
    gone = [key for key, value in found.items() if value is None and key in values]
    if not changed and not gone:
        return
    news = [value for key in changed if (value := found[key]) is not None]
    by_key.update(zip(changed, known.decode(path, changed, news), strict=True))  # type: ignore[operator]
    values.update(zip(changed, news, strict=True))
    for key in gone:
        del values[key], by_key[key]
    known.rows = list(by_key.values())


def _cut(raw: bytes, size: int) -> list[bytes]:
    return [raw[start : start + size] for start in range(0, len(raw), size)]
