"""Programs that are replaced, missing, mixed, or not alone."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import struct
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.bpf.ends import IPV4, IPV6, MAPPED, WAYS, Backends, Way, add_addresses, backends, client
from tests.bpf.node import FIRST, TCP, UDP, Endpoint, Loaded, Node, attached, backend, loaded
from tests.bpf.objects import SOCKET_ARRAYS, SOCKET_HOOKS, TREE, MapType, build, create_maps, load, run
from tests.bpf.pinned import Map

pytestmark = pytest.mark.kernel

PORT = 80


@pytest.fixture(scope="module")
def second(programs: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another build of the same programs, for an older instruction set, loaded onto the same maps."""
    other = build("sock", folder=tmp_path_factory.mktemp("second"), options="-mcpu=v2 -Wextra -Werror")
    folder = load(programs.root, other / "sock.o")
    assert folder != programs.sock
    return folder


@pytest.fixture
def here(node: Node) -> Node:
    add_addresses()
    return node


@pytest.fixture
def served(here: Node) -> Iterator[tuple[Backends, Backends]]:
    """A service over TCP and UDP, in both families, with one backend each."""
    ends = (IPV4.backends[0], IPV6.backends[0])
    for way in (IPV4, IPV6):
        for proto in (TCP, UDP):
            here.service(way.service, PORT, proto, way.backends[:1])
    with backends((TCP, ends), (UDP, ends)) as (streams, datagrams):
        yield streams, datagrams


def tcp(way: Way, there: Backends) -> Endpoint:
    """Connect; the peer's name."""
    with client(way, TCP) as one:
        one.connect((way.written(way.service), PORT))
        name = Endpoint(*one.getpeername()[:2])
        assert there.asked() == way.backends[0]
        return name


def udp(way: Way, there: Backends) -> Endpoint:
    """Ask; the name of whom the answer comes from."""
    with client(way, UDP) as one:
        one.sendto(b"?", (way.written(way.service), PORT))
        assert there.asked(b"!") == way.backends[0]
        return Endpoint(*one.recvfrom(100)[1][:2])


def service_of(way: Way) -> Endpoint:
    return Endpoint(way.written(way.service), PORT)


def backend_of(way: Way) -> Endpoint:
    return Endpoint(way.written(way.backends[0].address), way.backends[0].port)


# hook: with which sockets it speaks; those of IPv6 that speak IPv4 send by the other family's
USERS = {
    "connect4": [IPV4], "connect6": [IPV6, MAPPED], "getpeername4": [IPV4], "getpeername6": [IPV6, MAPPED],
    "sendmsg4": [IPV4, MAPPED], "sendmsg6": [IPV6], "recvmsg4": [IPV4], "recvmsg6": [IPV6, MAPPED],
}  # fmt: skip


@pytest.mark.parametrize("hook", SOCKET_HOOKS)
def test_an_empty_slot_leaves_its_own_hook_untranslated(here: Node, served: tuple[Backends, Backends], hook: str) -> None:
    del here.maps[SOCKET_ARRAYS[hook]][FIRST]
    probe = tcp if hook.startswith(("connect", "getpeername")) else udp
    there = served[0] if probe is tcp else served[1]
    for way in WAYS:
        if way not in USERS[hook]:
            assert probe(way, there) == service_of(way)
        elif hook.startswith(("recvmsg", "getpeername")):
            assert probe(way, there) == backend_of(way)
        else:
            with pytest.raises(OSError, match="unreachable") as caught:  # no route leads to the service itself
                probe(way, there)
            assert caught.value.errno == errno.ENETUNREACH


def test_every_mix_of_two_builds_works(here: Node, served: tuple[Backends, Backends], second: Path) -> None:
    """An upgrade goes hook by hook: each of the 256 mixes, by one swap at a time; conversations go on through all of them."""
    streams, datagrams = served
    mixes = [number ^ number >> 1 for number in range(1 << len(SOCKET_HOOKS))]  # Gray code
    assert len(set(mixes)) == 256
    with client(IPV4, UDP) as lasting4, client(IPV6, UDP) as lasting6:
        for before, mix in pairwise([*mixes, 0]):
            changed = (before ^ mix).bit_length() - 1
            here.programs.put(SOCKET_HOOKS[changed], second if mix >> changed & 1 else here.programs.sock)
            for way in WAYS:
                assert tcp(way, streams) == service_of(way)
                assert udp(way, datagrams) == service_of(way)
            for way, one in ((IPV4, lasting4), (IPV6, lasting6)):
                one.sendto(b"?", service_of(way))
                datagrams.asked(b"!")
                assert one.recvfrom(100)[1][:2] == service_of(way)


def test_swaps_under_load_fail_no_connect(here: Node, served: tuple[Backends, Backends], second: Path) -> None:
    def swap() -> None:
        for _ in range(200):
            for folder in (second, here.programs.sock):
                here.programs.fill_arrays(folder)

    swapping = threading.Thread(target=swap)
    swapping.start()
    rounds = 0
    while swapping.is_alive() or rounds < 10:
        for way in WAYS:
            assert tcp(way, served[0]) == service_of(way)
            assert udp(way, served[1]) == service_of(way)
        rounds += 1
    swapping.join()


class Foreign:
    """See foreign.bpf.c."""

    def __init__(self, pins: Path, obj: Path) -> None:
        self._pins = pins
        create_maps(pins, {"passed": MapType("array", 4, 8, 1)})
        self._program = load(pins, obj) / "connect4"
        self._passed = Map(pins / "maps/passed", 4, 8)

    def attach(self, cgroup: Path) -> None:
        run("bpftool", "cgroup", "attach", cgroup, "connect4", "pinned", self._program, "multi")

    @property
    def passed(self) -> int:
        return int(struct.unpack("=Q", self._passed[FIRST])[0])


@pytest.fixture
def foreign(pins: Path, tmp_path: Path) -> Foreign:
    run(TREE / ".ci/object", "tests/bpf/foreign.bpf.c", tmp_path / "foreign.o", "-Ibpf")
    return Foreign(pins, tmp_path / "foreign.o")


@pytest.mark.parametrize("first", [True, False], ids=["attached first", "attached last"])
def test_somebody_elses_program_runs_beside_ours(here: Node, served: tuple[Backends, Backends], foreign: Foreign, first: bool) -> None:
    if first:
        here.programs.detach(here.cgroup)
    foreign.attach(here.cgroup)
    if first:
        here.programs.attach(here.cgroup)
    assert tcp(IPV4, served[0]) == service_of(IPV4)
    assert foreign.passed == 1
    with client(IPV4, TCP) as one, pytest.raises(PermissionError):
        one.connect((IPV4.backends[0].address, 9999))
    here.programs.detach(here.cgroup)
    with client(IPV4, TCP) as one:
        one.connect(IPV4.backends[0])
    assert foreign.passed == 3


@contextlib.contextmanager
def replacing(rows: Map, *entries: tuple[bytes, bytes]) -> Iterator[None]:
    """Another process that writes the same rows again and again: each gets the element that the one before has left."""
    child = os.fork()
    if child == 0:
        try:
            while True:
                for key, value in entries:
                    rows[key] = value
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_rows_that_are_replaced_while_they_are_read_are_not_mixed_up(
    pins: Path, objects: Path, cgroups: Path, netns: str, tmp_path: Path
) -> None:
    """Programs that wait in the middle of reading, and a neighbour's row that takes the place of the one they read."""
    build("sock", folder=tmp_path, options=f"-Ibpf -include {TREE}/tests/bpf/slow.h")
    shutil.copy(objects / "stub.o", tmp_path)
    add_addresses()
    with loaded(pins / "slow", tmp_path) as programs, attached(programs, cgroups, netns) as node:
        node.service("10.96.0.10", PORT, UDP, IPV4.backends[:1])
        node.service("10.96.0.11", PORT, UDP, IPV4.backends[1:2])
        for name in ("pl_front_1", "pl_back_1"):
            rows = node.maps[name]
            with replacing(rows, *((key, rows[key]) for key in rows)):
                for _ in range(400):
                    with client(IPV4, UDP) as one:
                        one.connect(("10.96.0.10", PORT))
        asked = {key[8:26] for key in node.maps["pl_sockrev_1"]}
        assert asked == {backend(*IPV4.backends[0])[:18]}
