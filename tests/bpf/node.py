"""What a test holds in its hands: loaded programs, rows, and sockets at both ends."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from tests.bpf.objects import MAPS, SOCKET_ARRAYS, SOCKET_HOOKS, MapType, bpftool, create_maps, load
from tests.bpf.pinned import Map, opened, possible_cpus

INSIDE, OUTSIDE, LOOPBACK = range(3)  # enum pl_scope
NO_BACKEND, MAP_FULL = 0, 5  # enum pl_drop
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
SO_COOKIE, SO_NETNS_COOKIE = 57, 71  # include/uapi/asm-generic/socket.h
FIRST = bytes(4)  # key of the first slot of an array

_numbers = itertools.count()


def address(text: str) -> bytes:
    """struct pl_addr."""
    one = ip_address(text)
    return one.packed if one.version == 6 else bytes(10) + b"\xff\xff" + one.packed


def front(text: str, port: int, proto: int, scope: int = INSIDE) -> bytes:
    """struct pl_front."""
    head = struct.pack("=Q", namespace_cookie()) + address(text)[8:] if scope == LOOPBACK else address(text)
    return head + struct.pack("!HBB", port, proto, scope)


def backend(text: str, port: int, flags: int = 0) -> bytes:
    """struct pl_backend."""
    return address(text) + struct.pack("!HBB", port, flags, 0)


def peer(cookie: int, text: str, port: int) -> bytes:
    """struct pl_peer."""
    return struct.pack("=Q", cookie) + address(text) + struct.pack("!H6x", port)


def named(text: str, port: int) -> bytes:
    """struct pl_named."""
    return address(text) + struct.pack("!H2x", port)


def cookie_of(one: socket.socket) -> int:
    return int(struct.unpack("=Q", one.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0])


def namespace_cookie() -> int:
    """Of the network namespace of this thread (socket(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return int(struct.unpack("=Q", one.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0])


class Endpoint(NamedTuple):
    """One backend: where a pod would listen."""

    address: str
    port: int


class Counted(NamedTuple):
    """struct pl_count, of all CPUs."""

    connections: int
    packets: int
    bytes: int


class Loaded:
    """Maps and programs below a pin folder."""

    def __init__(self, root: Path, stub: Path, sock: Path, maps: dict[str, MapType]) -> None:
        self.root, self.stub, self.sock = root, stub, sock
        wide = 1 if not maps else possible_cpus()
        self.maps = {
            name: Map(root / "maps" / name, one.key, one.value * (wide if one.type.startswith("percpu") else 1))
            for name, one in maps.items()
        }

    def put(self, hook: str, folder: Path) -> None:
        """The program of a hook into its array."""
        program = opened(folder / hook)
        self.maps[SOCKET_ARRAYS[hook]][FIRST] = struct.pack("=i", program)
        os.close(program)

    def fill_arrays(self, folder: Path | None = None) -> None:
        for hook in SOCKET_HOOKS:
            self.put(hook, folder or self.sock)

    def attach(self, cgroup: Path) -> None:
        bpftool(f"cgroup attach {cgroup} {hook} pinned {self.stub / hook} multi" for hook in SOCKET_HOOKS)

    def detach(self, cgroup: Path) -> None:
        bpftool(f"cgroup detach {cgroup} {hook} pinned {self.stub / hook}" for hook in SOCKET_HOOKS)

    def clear(self) -> None:
        for name, one in self.maps.items():
            if not name.startswith(("pl_j_", "pl_drop_")):
                one.clear()

    def fill(self, name: str) -> None:
        """The one entry of a map is somebody else's."""
        one = self.maps[name]
        one[b"\xff" * one.key] = bytes(one.value)

    def close(self) -> None:
        for one in self.maps.values():
            one.close()


@contextmanager
def loaded(root: Path, objects: Path, **other: MapType) -> Iterator[Loaded]:
    """Stub and socket programs on maps of their own, of which some may be other than usual."""
    maps = {**MAPS, **other}
    create_maps(root, maps)
    here = Loaded(root, load(root, objects / "stub.o"), load(root, objects / "sock.o"), maps)
    try:
        yield here
    finally:
        here.close()
        shutil.rmtree(root)


@contextmanager
def cgroup_of_its_own(parent: Path) -> Iterator[Path]:
    """This process is in it for the while; sockets that it makes belong to it."""
    before = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    cgroup = parent / f"plt-{os.getpid()}-{next(_numbers)}"
    cgroup.mkdir()
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield cgroup
    finally:
        (parent / before.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))
        cgroup.rmdir()


class Node:
    """Rows of services, as a plan would write them, and what the programs have written."""

    def __init__(self, programs: Loaded, cgroup: Path, netns: str) -> None:
        self.programs, self.cgroup, self.netns = programs, cgroup, netns
        self.maps = programs.maps
        self._ids = itertools.count(1)
        self._dropped = {reason: self._drops(reason) for reason in range(6)}

    def service(
        self, text: str, port: int, proto: int, endpoints: Sequence[Endpoint], *, affinity: int = 0, scope: int = INSIDE, number: int = 0
    ) -> int:
        """A front and its list; the list's id, which is a new one unless `number` gives it."""
        number = number or next(self._ids)
        for slot, one in enumerate(endpoints):
            self.maps["pl_back_1"][struct.pack("=II", number, slot)] = backend(*one)
        self.maps["pl_front_1"][front(text, port, proto, scope)] = struct.pack("=IIII", number, len(endpoints), affinity, 0)
        return number

    def counted(self, number: int) -> Counted:
        try:
            cells = struct.unpack(f"={3 * possible_cpus()}Q", self.maps["pl_count_1"][struct.pack("=I", number)])
        except KeyError:
            return Counted(0, 0, 0)
        return Counted(*(sum(cells[at::3]) for at in range(3)))

    def dropped(self, reason: int) -> int:
        """Since this test began."""
        return self._drops(reason) - self._dropped[reason]

    def _drops(self, reason: int) -> int:
        return sum(struct.unpack(f"={possible_cpus()}Q", self.maps["pl_drop_1"][struct.pack("=I", reason)]))

    def stay(self, number: int, one: Endpoint, slot: int, seconds: float, namespace: int = 0) -> None:
        """This namespace, or that of another cookie, has last connected to the service so long ago."""
        since = time.monotonic_ns() - int(seconds * 1e9)
        client = struct.pack("=Q8xII", namespace or namespace_cookie(), number, INSIDE)
        self.maps["pl_affin_1"][client] = struct.pack("=Q", since) + backend(*one) + struct.pack("=I", slot)


@contextmanager
def attached(programs: Loaded, cgroups: Path, netns: str) -> Iterator[Node]:
    """In a cgroup of its own that the stubs of these programs are attached to; no service yet."""
    programs.clear()
    programs.fill_arrays()
    with cgroup_of_its_own(cgroups) as cgroup:
        programs.attach(cgroup)
        yield Node(programs, cgroup, netns)
