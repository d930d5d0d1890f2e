"""Where pins and cgroups of a test's own can be."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bpf.pinned import libbpf

BPFFS = Path("/sys/fs/bpf")


class Unavailable(Exception):
    """What is missing here, and how to get it."""


def require_tools() -> None:
    """What builds and loads objects. Raises Unavailable."""
    missing = [tool for tool in ("make", "clang", "llvm-strip", "bpftool") if shutil.which(tool) is None]
    if missing:
        raise Unavailable(f"missing: {' '.join(missing)} (Debian: clang llvm libbpf-dev bpftool)")
    try:
        libbpf()
    except OSError as error:
        raise Unavailable(f"{error} (Debian: libbpf1)") from error


@contextmanager
def pin_folder() -> Iterator[Path]:
    """In the bpffs that is mounted, else in one of its own. Raises Unavailable."""
    mounted, own = BPFFS, None  # no other mount: it may be a lab's, and end with it
    if not mounted.is_mount():
        mounted = own = Path(tempfile.mkdtemp(prefix="plt-bpffs-"))
        done = subprocess.run(["mount", "-t", "bpf", "bpf", str(own)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            own.rmdir()
            raise Unavailable(f"no bpffs here: {done.stderr.strip()}")
    folder = mounted / f"plt-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        if own:
            subprocess.run(["umount", str(own)], check=True)
            own.rmdir()


def cgroup_root() -> Path:
    """Where cgroup2 is mounted. Raises Unavailable."""
    mounted = _mounted("cgroup2")
    if mounted is None or not os.access(mounted, os.W_OK):
        raise Unavailable("no cgroup2 that can be written to here")
    return mounted


def _mounted(kind: str) -> Path | None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, what, options, *_ = line.split()
        if what == kind and "rw" in options.split(","):
            return Path(where)
    return None
