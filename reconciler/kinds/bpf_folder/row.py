"""The folders in a BPF file system below which everything of plumbline's is pinned."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin, Ref
from reconciler.engine.reader import Scope
from reconciler.kinds.spelling import Text

DEFAULT = "/sys/fs/bpf/plumbline"
OWN = "plumbline"
_PATH = re.compile(r"(/[A-Za-z0-9_.@:+=-]+)+")


def pin_path(text: str) -> str:
    """A path in a BPF file system below a folder of ours. Raises ValueError."""
    parts = text.split("/")[1:]
    if not _PATH.fullmatch(text) or OWN not in parts or any(part in (".", "..") for part in parts):
        raise ValueError(f"found {text!r}; allowed: an absolute path below a folder called {OWN} in a BPF file system, {DEFAULT}/…")
    return text


PinPath = Annotated[str, Text(pin_path)]


class BpfFolderKey(NamedTuple):
    path: PinPath


class BpfFolder(NamedTuple):
    """A folder for pins; it is ours by its name, and so is all that is in it."""

    key: BpfFolderKey
    origin: tuple[Origin, ...] = ()


@lru_cache(maxsize=4096)
def in_folder(path: str) -> tuple[Ref, ...]:
    """What everything pinned at a path needs."""
    return (Ref("bpf_folder", BpfFolderKey(path.rpartition("/")[0])),)


@lru_cache(maxsize=4096)
def root_of(path: str) -> str:
    """The outermost folder of ours on a path; "" where there is none."""
    before, found, _ = f"{path}/".partition(f"/{OWN}/")
    return f"{before}/{OWN}" if found else ""


def roots(scope: Scope) -> list[str]:
    """The folders that may hold pins of ours: the one that every daemon has, and those that wanted rows name."""
    named = {root_of(row.key.path) for row in scope.wanted.rows("bpf_folder")}
    return sorted({scope.root + DEFAULT} | named - {""})


def maps_of(root: str) -> str:
    """Where the maps of a folder of ours are pinned."""
    return f"{root}/maps"
