"""What is attached to cgroups (BPF_PROG_QUERY). `bpftool cgroup show` says nothing, and exits 0, where it may not look."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from pathlib import Path

from reconciler.engine.kind import ObservationFailed
from reconciler.kernel.bpf import attribute, call, why
from reconciler.wire import bpf as wire
from reconciler.wire.bpf import ALLOW_MULTI, ALLOW_OVERRIDE, Attached

_PROGRAMS = 64  # attached to one hook (BPF_CGROUP_MAX_PROGS)
_MOUNTS = "/proc/self/mountinfo"


def attached(cgroup: str, hook: str) -> Attached:
    """What is attached to a hook of a cgroup, and whether one above lets nothing be; none where there is no such cgroup.

    Raises ObservationFailed.
    """
    try:
        found = _query(cgroup, hook)
        return found._replace(above=_above(cgroup, hook))
    except FileNotFoundError:
        return Attached(0, ())
    except OSError as error:
        what = "is no folder of cgroup version 2" if error.errno == errno.EBADF else why(error)
        raise ObservationFailed(f"{cgroup}: {what}") from error


def _query(cgroup: str, hook: str) -> Attached:
    ids = (ctypes.c_uint32 * _PROGRAMS)()
    folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        question = attribute(wire.QUERY.pack(folder, wire.HOOKS[hook], 0, 0, ctypes.addressof(ids), _PROGRAMS))
        call(wire.PROG_QUERY, question)
    finally:
        os.close(folder)
    _, _, _, flags, _, count = wire.QUERY.unpack(question.raw)
    return Attached(flags, tuple(ids[:count]))


def _above(cgroup: str, hook: str) -> tuple[str, int] | None:
    """The nearest cgroup above that has a program: the kernel goes by that one (hierarchy_allows_attach())."""
    device, path = os.stat(cgroup).st_dev, Path(cgroup).resolve()
    for parent in path.parents:
        if parent.stat().st_dev != device:
            return None
        try:
            found = _query(str(parent), hook)
        except OSError as error:
            if error.errno == errno.EBADF:
                return None
            raise
        if found.programs:
            return None if found.flags & (ALLOW_MULTI | ALLOW_OVERRIDE) else (str(parent), found.programs[0])
    return None


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
