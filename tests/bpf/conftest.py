"""Where programs can be loaded, and a bpffs folder and a cgroup of the test's own. Each skips with the reason where there are none."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bpf.node import Loaded, Node, attached, loaded
from tests.bpf.objects import build, load
from tests.bpf.places import Unavailable, cgroup_root, pin_folder, require_tools
from tests.bpf.site import Site, site_of_its_own

_numbers = itertools.count()


@pytest.fixture(scope="session")
def objects() -> Path:
    """The folder of the built objects of the socket level."""
    try:
        require_tools()
    except Unavailable as reason:
        pytest.skip(str(reason))
    return build("stub", "sock")


@pytest.fixture(scope="session")
def bpffs(objects: Path) -> Iterator[Path]:
    """A folder in a bpffs for this process."""
    try:
        with pin_folder() as folder:
            yield folder
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def outside(namespaces_can_be_made: None, bpffs: Path) -> Iterator[Site]:
    """A client, two nodes and their pods, once for all tests of a process."""
    with site_of_its_own(bpffs / "site", build("stub", "device")) as site:
        yield site


@pytest.fixture(scope="session")
def few_ports(tmp_path_factory: pytest.TempPathFactory, outside: Site) -> Path:
    """The programs with two source ports in all."""
    folder = build("device", folder=tmp_path_factory.mktemp("few"), options="-DPL_SOURCE_PORTS=61000 -DPL_SOURCE_PORTS_END=61001")
    return load(outside.root, folder / "device.o")


@pytest.fixture
def site(outside: Site) -> Site:
    """As a test finds it: no service and no flow, pods of the other node by the overlay."""
    outside.begin()
    return outside


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
    try:
        return cgroup_root()
    except Unavailable as reason:
        pytest.skip(str(reason))


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
