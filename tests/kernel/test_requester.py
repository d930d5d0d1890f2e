"""Who asked the kernel for a change, as far as notifications tell."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from reconciler.kernel.events import Event, EventSocket
from reconciler.kernel.requester import requester, search
from reconciler.kinds import all_kinds
from tests.namespaces import sh

pytestmark = pytest.mark.kernel

# A process that keeps one netlink socket (or, with "two", a second one that does the work) and adds a route for every line it reads.
OPPONENT = """
import socket, struct, sys
first = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
first.bind((0, 0))
works = first
if sys.argv[1] == "two":
    works = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    works.bind((0, 0))
open("/proc/self/comm", "w").write("opponent")
for line in sys.stdin:
    number = int(line)
    rtm = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 3, 0, 6, 0)  # RTN_BLACKHOLE
    dst = struct.pack("=HH4B", 8, 1, 10, 95, number, 0)
    works.send(struct.pack("=IHHII", 16 + len(rtm + dst), 24, 0x405, 1, 0) + rtm + dst)  # CREATE | ACK | REQUEST
    works.recv(4096)
    print("done", flush=True)
"""


@pytest.fixture
def opponent(netns: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(sockets: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        started.append(subprocess.Popen([sys.executable, "-c", OPPONENT, sockets], stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.communicate()


def heard(events: EventSocket, process: subprocess.Popen[str]) -> Event:
    """The event of one route that the process adds."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("7\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"
    found: list[Event] = []
    assert select.select([events], [], [], 5)[0]
    events.read(lambda event: found.append(event) is None)
    [event] = [one for one in found if one.what == "route"]
    return event


def test_a_process_is_named_by_its_port(opponent: Callable[[str], subprocess.Popen[str]]) -> None:
    events = EventSocket(all_kinds()["route"].events)
    process = opponent("one")
    event = heard(events, process)
    assert event.key == "10.95.7.0/24"
    assert requester(event.port) == search(event.port) == f"opponent (pid {process.pid})"
    events.close()


def test_a_process_with_two_sockets_is_found_by_a_search(opponent: Callable[[str], subprocess.Popen[str]]) -> None:
    events = EventSocket(all_kinds()["route"].events)
    process = opponent("two")
    event = heard(events, process)
    assert requester(event.port) == ""
    assert search(event.port) == f"opponent (pid {process.pid})"
    events.close()


def test_one_that_has_ended_is_not_mistaken_for_another(netns: str) -> None:
    events = EventSocket(all_kinds()["route"].events)
    sh("ip route add blackhole 10.95.0.0/16")
    found: list[Event] = []
    events.read(lambda event: found.append(event) is None)
    assert requester(found[0].port) == ""
    assert search(found[0].port) == f"a process that has ended (netlink port {found[0].port})"
    events.close()


def test_a_process_of_another_network_namespace_is_not_believed(netns: str) -> None:
    assert requester(1) == ""
