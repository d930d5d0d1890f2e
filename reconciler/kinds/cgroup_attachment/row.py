"""A program at a hook of a cgroup (bpftool-cgroup(8))."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.bpf_folder.row import PinPath
from reconciler.kinds.spelling import Text, one_of, word
from reconciler.wire.bpf import HOOKS


def folder(text: str) -> str:
    """The absolute path of a cgroup. Raises ValueError."""
    if not text.startswith("/") or any(part in (".", "..") for part in text.split("/")):
        raise ValueError(f"found {text!r}; allowed: the absolute path of a cgroup of version 2")
    return word(text)


class CgroupAttachmentKey(NamedTuple):
    cgroup: Annotated[str, Text(folder)]
    hook: Annotated[str, one_of(*HOOKS)]


class CgroupAttachment(NamedTuple):
    """A pinned program that runs for every socket of a cgroup and those below it."""

    key: CgroupAttachmentKey
    pin: PinPath  # "": a program that is pinned nowhere below our folder
    mode: str = "multi"  # beside others; "alone" or "override": nothing can be attached beside it
    id: int = 0  # seen only: of the program
    who: str = ""  # seen only: the program in words, where it is not ours
    origin: tuple[Origin, ...] = ()


def attachment(cgroup: str, hook: str, pin: str, origin: tuple[Origin, ...] = ()) -> CgroupAttachment:
    """A wanted attachment."""
    return CgroupAttachment(CgroupAttachmentKey(cgroup, hook), pin, origin=origin)
