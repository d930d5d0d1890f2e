"""The eBPF objects that come with plumbline."""

from __future__ import annotations

from pathlib import Path

import reconciler
from reconciler.wire.bpf_object import MapLayout, ObjectFile, read_object

__all__ = ["MapLayout", "ObjectFile", "path_of", "read_object"]


def path_of(name: str) -> str:
    """Where the object of a name ("stub") lies on a node that has this package."""
    return str(Path(str(reconciler.__file__)).parent / "bpf" / f"{name}.o")
