"""Two managers of one row, in a real kernel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.daemon.patience import FIGHT
from reconciler.daemon.status import as_json
from tests.daemon.made import Content, Made, blackholes, running
from tests.namespaces import sh

pytestmark = pytest.mark.kernel

# Deletes a route as often as it appears, and says so; asks the kernel by a netlink socket of its own, as an agent does.
OPPONENT = """
import socket, struct
events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
works = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
works.bind((0, 0))
events.bind((0, 0x40))  # RTMGRP_IPV4_ROUTE
open("/proc/self/comm", "w").write("opponent")
rtm = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 0, 0, 6, 0)
dst = struct.pack("=HH4B", 8, 1, 10, 99, 1, 0)
def delete():
    works.send(struct.pack("=IHHII", 16 + len(rtm + dst), 25, 0x5, 1, 0) + rtm + dst)
    works.recv(4096)
delete()
print("ready", flush=True)
while True:
    if struct.unpack_from("=H", events.recv(65536), 4)[0] == 24:
        delete()
"""


@pytest.fixture
def opponent(netns: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", OPPONENT], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_a_fight_is_told_with_the_other_one_and_only_its_row_is_slowed_down(
    netns: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with running(Content(Made("one", blackholes(1, 2))), tmp_path) as one:
        one.until(lambda: one.daemon.status.ready)
        process = request.getfixturevalue("opponent")
        one.until(lambda: bool(one.daemon.status.fights or one.daemon.status.errors))
        name = f"opponent (pid {process.pid})"
        one.until(lambda: [fight.by for fight in one.daemon.status.fights] == [name], seconds=30)
        [line] = one.logged("fight")
        assert (line["row"], line["by"], line["times"]) == ("route 254 10.99.1.0/24", name, FIGHT)
        said = as_json(one.daemon.status)["fights"]
        assert [(fight["row"], fight["by"]) for fight in said] == [("route 254 10.99.1.0/24", name)]
        metrics = one.daemon.answer("/metrics").body
        assert b"plumbline_fights 1.0" in metrics
        assert b'plumbline_fights_begun_total{kind="route"} 1.0' in metrics

        one.until(lambda: name in one.daemon.status.not_ready)
        repaired = one.daemon.status.repaired
        sh("ip route del blackhole 10.99.2.0/24")
        assert one.until(lambda: "10.99.2.0/24" in sh("ip route show proto 94")) < 2, "another row is put back at once"
        one.until(lambda: one.daemon.status.repaired > repaired)

        process.kill()
        process.wait()
        one.until(lambda: one.daemon.status.ready, seconds=30)


def test_a_row_that_was_whole_when_its_rest_began_is_put_back_when_it_ends(netns: str, tmp_path: Path) -> None:
    """Nobody waits for a row that is as it should be, and while it rests no event of it is worth a round."""
    with running(Content(Made("one", blackholes(1))), tmp_path, resync=600) as one:
        one.until(lambda: one.daemon.status.ready)
        for number in range(1, FIGHT + 1):
            sh("ip route del blackhole 10.99.1.0/24")
            one.until(lambda number=number: one.daemon.status.repaired == number)  # type: ignore[misc]
        assert one.daemon.status.fights
        sh("ip route del blackhole 10.99.1.0/24")
        one.until(lambda: one.daemon.status.repaired == FIGHT + 1)
