"""What is attached to cgroups (BPF_PROG_QUERY). `bpftool cgroup show` says nothing, and exits 0, where it may not look."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from reconciler.engine.reader import ObservationFailed
from reconciler.kernel.bpf import attribute, call, why
from reconciler.wire import bpf as wire
from reconciler.wire.bpf import ALLOW_MULTI, ALLOW_OVERRIDE, Attached

_PROGRAMS = 64  # attached to one hook (BPF_CGROUP_MAX_PROGS)
_MOUNTS = "/proc/self/mountinfo"


def attached(cgroup: str, hooks: Sequence[str]) -> list[Attached]:
    """What is attached to each hook of a cgroup, and whether one above lets nothing be; none where there is no such cgroup.

    Raises ObservationFailed.
    """
    try:
        above = _above(cgroup, hooks)
        return [found._replace(above=above.get(hook)) for hook, found in zip(hooks, _query(cgroup, hooks), strict=True)]
    except FileNotFoundError:
        return [Attached(0, ())] * len(hooks)
    except OSError as error:
        what = "is no folder of cgroup version 2" if error.errno == errno.EBADF else why(error)
        raise ObservationFailed(f"{cgroup}: {what}") from error


def _query(cgroup: str, hooks: Iterable[str]) -> list[Attached]:
    folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return [_at(folder, hook) for hook in hooks]
    finally:
        os.close(folder)


def _at(folder: int, hook: str) -> Attached:
    ids = (ctypes.c_uint32 * _PROGRAMS)()
    question = attribute(wire.QUERY.pack(folder, wire.HOOKS[hook], 0, 0, ctypes.addressof(ids), _PROGRAMS))
    call(wire.PROG_QUERY, question)
    _, _, _, flags, _, count = wire.QUERY.unpack(question.raw)
    return Attached(flags, tuple(ids[:count]))


def _above(cgroup: str, hooks: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Of each hook, the nearest cgroup above that has a program, where it lets nothing be below it: the kernel goes by that one
    (hierarchy_allows_attach())."""
    device, path = os.stat(cgroup).st_dev, Path(cgroup).resolve()
    left = dict.fromkeys(hooks)
    forbids: dict[str, tuple[str, int]] = {}
    for parent in path.parents:
        if not left or parent.stat().st_dev != device:
            break
        try:
            there = dict(zip(left, _query(str(parent), left), strict=True))
        except OSError as error:
            if error.errno == errno.EBADF:
                break
            raise
        for hook, found in there.items():
            if found.programs:
                del left[hook]
                if not found.flags & (ALLOW_MULTI | ALLOW_OVERRIDE):
                    forbids[hook] = str(parent), found.programs[0]
    return forbids


def cgroups() -> tuple[str, ...]:
    """Every cgroup of version 2, by path. Raises ObservationFailed."""
    try:
        mounted = [line.split(" ") for line in Path(_MOUNTS).read_text().splitlines()]
    except OSError as error:
        raise ObservationFailed(f"{_MOUNTS}: {error.strerror}") from error
    roots = [words[4] for words in mounted if words[words.index("-") + 1] == "cgroup2"]  # proc_pid_mountinfo(5)
    found: dict[tuple[int, int], str] = {}  # a part of the tree may be mounted once more elsewhere
    for folder in (folder for root in roots for folder, _, _ in os.walk(root)):
        with suppress(OSError):  # it went meanwhile
            status = os.stat(folder)
            found.setdefault((status.st_dev, status.st_ino), folder)
    return tuple(sorted(found.values()))
