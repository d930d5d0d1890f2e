"""One pinned BPF map (bpftool-map(8))."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin, Ref
from reconciler.kinds.bpf_folder.row import PinPath
from reconciler.kinds.spelling import one_of
from reconciler.wire.bpf import MAP_TYPES

HOLD_ROWS = ("hash", "lpm_trie", "prog_array")  # types whose entries are rows; programs write to maps of other types


class BpfMapKey(NamedTuple):
    path: PinPath

    @property
    def name(self) -> str:
        """As the kernel knows it, and programs look it up."""
        return self.path.rpartition("/")[2]


class BpfMap(NamedTuple):
    """A map. What it is made with cannot change: another size is another map."""

    key: BpfMapKey
    type: Annotated[str, one_of(*MAP_TYPES.values())]
    key_size: int  # bytes
    value_size: int  # bytes
    max_entries: int
    flags: int = 0  # BPF_F_... (linux/bpf.h)
    origin: tuple[Origin, ...] = ()


@lru_cache(maxsize=4096)
def of_map(path: str) -> tuple[Ref, ...]:
    """What every entry of a map needs, as one value that all of them share."""
    return (Ref("bpf_map", BpfMapKey(path)),)


def refs(maps: Iterable[BpfMapKey]) -> tuple[Ref, ...]:
    """What a program needs that is loaded onto these maps."""
    return tuple(Ref("bpf_map", key) for key in maps)
