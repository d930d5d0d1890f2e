"""The programs of one eBPF object, pinned in a folder (bpftool-prog(8))."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from reconciler.engine.model import Origin, Ref
from reconciler.kinds.bpf_folder.row import PinPath
from reconciler.kinds.bpf_map.row import BpfMapKey

NAMED = re.compile(r"[a-z0-9]+-[0-9a-f]{12}")  # an object, and how its sha256 begins


class BpfProgramKey(NamedTuple):
    path: PinPath  # …/plumbline/stub-0123456789ab


class BpfProgram(NamedTuple):
    """All programs of an object, each pinned in its folder by its name."""

    key: BpfProgramKey
    programs: tuple[str, ...] | None = None  # sorted
    maps: tuple[BpfMapKey, ...] = ()  # sorted: the pinned maps that they use
    object: str = ""  # the file that they are loaded from; not told by the kernel
    sha256: str = ""  # of the file
    origin: tuple[Origin, ...] = ()


@lru_cache(maxsize=4096)
def of_program(pin: str) -> tuple[Ref, ...]:
    """What needs the program that is pinned at a path."""
    return (Ref("bpf_program", BpfProgramKey(pin.rpartition("/")[0])),)
