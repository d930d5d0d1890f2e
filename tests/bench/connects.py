"""New connections per second: to a backend itself, to a service at the socket level, and to one by nftables' DNAT.

python -m tests.bench.connects [SERVICES [BACKENDS]]: all ways in turns, in one run and one namespace. A way is faster the
higher its ratio to a direct connection of a process whose cgroup has no hook.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from tests.bpf.node import TCP, Endpoint, Loaded, backend, cgroup_of_its_own, front, loaded
from tests.bpf.objects import MAPS, build
from tests.bpf.places import Unavailable, cgroup_root, pin_folder, require_tools
from tests.namespaces import fresh_namespace, sh

SERVICES, BACKENDS = 10_000, 10
TURNS, CONNECTS = 61, 500
LARGE = {"pl_count_1": 65_536, "pl_sockpeer_1": 65_536}  # as by default
SERVER = Endpoint("10.1.0.1", 8080)
FIRST = IPv4Address("10.96.0.10")
PORT = 80
RESET = struct.pack("=ii", 1, 0)  # struct linger: no TIME_WAIT, of which the port range would soon be full


@contextmanager
def served() -> Iterator[None]:
    """A process that accepts, and nothing else. Services are reached by no route but one that DNAT needs to begin with."""
    sh(f"ip addr add {SERVER.address}/32 dev lo && ip route add 10.96.0.0/12 dev lo")
    with socket.create_server(SERVER, backlog=4096) as listening:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            while True:
                listening.accept()[0].close()  # until it is ended
    try:
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def rate(to: tuple[str, int]) -> float:
    """Connections per second."""
    start = time.perf_counter()
    for _ in range(CONNECTS):
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            one.connect(to)
    return CONNECTS / (time.perf_counter() - start)


def fill(programs: Loaded, services: int, each: int) -> None:
    """Services as a cluster has them; every backend is the one that answers."""
    fronts, backends, value = programs.maps["pl_front_1"], programs.maps["pl_back_1"], backend(*SERVER)
    for number in range(services):
        for slot in range(each):
            backends[struct.pack("=II", number, slot)] = value
        fronts[front(str(FIRST + number), PORT, TCP)] = struct.pack("=IIII", number, each, 0, 0)


def dnat(services: int) -> str:
    """The same services for nftables: one look-up in one map, as fast as it can be done there."""
    elements = ", ".join(f"{FIRST + number} . {PORT} : {SERVER.address} . {SERVER.port}" for number in range(services))
    return f"""table ip services {{
  map backends {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; elements = {{ {elements} }} }}
  chain output {{ type nat hook output priority -100; dnat to ip daddr . tcp dport map @backends; }}
}}"""


def turns(services: int, programs: Loaded, cgroups: Path) -> dict[str, list[float]]:
    """Rates by way, each way once a turn: those of one turn are compared, for the machine has other things to do."""
    rates: dict[str, list[float]] = {}
    service = (str(FIRST + services // 2), PORT)

    def take(way: str, to: tuple[str, int]) -> None:
        rates.setdefault(way, []).append(rate(to))

    for _ in range(TURNS):
        take("direct, no hook", SERVER)
        with cgroup_of_its_own(cgroups) as cgroup:
            programs.attach(cgroup)
            take("direct, hook", SERVER)
            take("service at the socket", service)
        subprocess.run(["nft", "-f", "-"], input=dnat(services), text=True, check=True)
        take("service by nftables", service)
        take("direct beside nftables", SERVER)
        sh("nft delete table ip services")
    return rates


def main() -> None:
    services, each = (int(word) for word in (*sys.argv[1:], *map(str, (SERVICES, BACKENDS)[len(sys.argv) - 1 :])))
    large = {
        name: MAPS[name]._replace(entries=entries)
        for name, entries in {**LARGE, "pl_back_1": services * each, "pl_front_1": services}.items()
    }
    try:
        require_tools()
        with pin_folder() as pins, loaded(pins / "bench", build("stub", "sock"), **large) as programs:
            fill(programs, services, each)
            programs.fill_arrays()
            with fresh_namespace(), served():
                rates = turns(services, programs, cgroup_root())
    except Unavailable as reason:
        sys.exit(str(reason))
    floors = rates["direct, no hook"]
    ratios = {way: statistics.median(one / floor for one, floor in zip(taken, floors, strict=True)) for way, taken in rates.items()}
    said = " · ".join(f"{way} {ratio:.2f}" for way, ratio in ratios.items())
    print(f"{services:>6} services of {each} backends, connections per second: {said} (1.00 = {statistics.median(floors):,.0f})")


if __name__ == "__main__":
    main()
