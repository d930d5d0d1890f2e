"""Where programs can be loaded, and a bpffs folder and a cgroup of the test's own. Each skips with the reason where there are none."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bpf.node import Loaded, Node, attached, loaded
from tests.bpf.objects import build
from tests.bpf.pinned import libbpf

_numbers = itertools.count()


def _mounted(kind: str) -> Path | None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, what, options, *_ = line.split()
        if what == kind and "rw" in options.split(","):
            return Path(where)
    return None


@pytest.fixture(scope="session")
def objects() -> Path:
    """The folder of the built objects of the socket level."""
    missing = [tool for tool in ("make", "clang", "llvm-strip", "bpftool") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"missing: {' '.join(missing)} (Debian: clang llvm libbpf-dev bpftool)")
    try:
        libbpf()
    except OSError as error:
        pytest.skip(f"{error} (Debian: libbpf1)")
    return build("stub", "sock")


@pytest.fixture(scope="session")
def bpffs(tmp_path_factory: pytest.TempPathFactory, objects: Path) -> Iterator[Path]:
    """A folder in a bpffs for this process: in the one that is mounted, else in one of its own."""
    mounted = _mounted("bpf")
    if mounted is None:
        mounted = tmp_path_factory.mktemp("bpffs")
        done = subprocess.run(["mount", "-t", "bpf", "bpf", str(mounted)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no bpffs here: {done.stderr.strip()}")
        unmount = True
    else:
        unmount = False
    folder = mounted / f"plt-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        if unmount:
            subprocess.run(["umount", "--lazy", str(mounted)], check=True)


@pytest.fixture
def pins(bpffs: Path) -> Iterator[Path]:
    """A pin folder for one test, for what `loaded` does not do."""
    folder = bpffs / str(next(_numbers))
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def cgroups() -> Path:
    """Where cgroup2 is mounted."""
    mounted = _mounted("cgroup2")
    if mounted is None or not os.access(mounted, os.W_OK):
        pytest.skip("no cgroup2 that can be written to here")
    return mounted


@pytest.fixture(scope="session")
def programs(bpffs: Path, objects: Path) -> Iterator[Loaded]:
    """Maps, stub and socket programs, loaded once for all tests of a process."""
    with loaded(bpffs / "shared", objects) as here:
        yield here


@pytest.fixture
def node(programs: Loaded, cgroups: Path, netns: str) -> Iterator[Node]:
    """The test runs in a namespace and in a cgroup of its own, to which the stubs are attached; no service yet."""
    with attached(programs, cgroups, netns) as here:
        yield here
