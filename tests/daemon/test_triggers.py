"""What makes a daemon look, and what does not, against a real kernel."""

from __future__ import annotations

import functools
import threading
from pathlib import Path

import pytest

from reconciler.facts.model import Host
from reconciler.intents import Compiled
from reconciler.kernel.events import EventSocket
from reconciler.kinds import all_kinds
from reconciler.kinds.sysctl import sysctl
from tests.daemon.made import Content, Made, blackholes, running
from tests.namespaces import sh

pytestmark = pytest.mark.kernel

SOMAXCONN = "net.core.somaxconn"


def triggers(one: object) -> list[str]:
    return [line["triggers"] for line in one.logged("round")]  # type: ignore[attr-defined]


def test_events_that_were_lost_are_made_up_for(netns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the socket holds happens while the daemon is busy; what is ours is among what was lost."""
    monkeypatch.setattr("reconciler.daemon.loop.EventSocket", functools.partial(EventSocket, buffer=4096))
    entered, leave = threading.Event(), threading.Event()

    class Slow(Made):
        def compile(self, host: Host) -> Compiled:
            entered.set()
            assert leave.wait(10)
            return Made("slow", self.rows).compile(host)

    content = Content(Made("one", blackholes(1)))
    with running(content, tmp_path) as one:
        one.until(lambda: one.daemon.status.ready)
        content.inputs = Slow("slow", blackholes(1))  # nothing to write: the events stay to be read
        one.daemon.wake("config")
        assert entered.wait(5)
        sh(
            "for n in 1 2 3 4 5 6 7 8 9; do for m in 1 2 3 4 5 6 7 8 9; do echo route add blackhole 10.98.$n$m.0/24; done; done | ip -batch -"
        )
        leave.set()
        one.until(lambda: one.daemon.status.ready)
        one.until(lambda: "event: overflow" in triggers(one))
        assert b"plumbline_events_lost_total 1.0" in one.daemon.answer("/metrics").body
        sh("ip route del blackhole 10.99.1.0/24")
        one.until(lambda: one.daemon.status.repaired == 1)


def test_kinds_without_events_are_looked_at_as_their_table_says(netns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(all_kinds()["sysctl"]), "poll", 0.2)
    with running(Content(Made("one", (sysctl("", SOMAXCONN, "1234"),))), tmp_path) as one:
        one.until(lambda: one.daemon.status.ready)
        sh(f"sysctl -qw {SOMAXCONN}=77")
        one.until(lambda: one.daemon.status.repaired == 1)
        assert sh(f"sysctl -n {SOMAXCONN}") == "1234\n"
        assert triggers(one)[-1] == "poll"


def test_nothing_is_polled_for_kinds_that_nobody_wants(netns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(all_kinds()["sysctl"]), "poll", 0.01)
    with running(Content(Made("one", blackholes(1))), tmp_path) as one:
        one.until(lambda: one.daemon.status.ready)
        sh("ip route del blackhole 10.99.1.0/24")
        one.until(lambda: one.daemon.status.repaired == 1)
        assert triggers(one) == ["start", "event: route deleted"]


def test_what_no_event_told_of_is_found_by_the_resync(netns: str, tmp_path: Path) -> None:
    with running(Content(Made("one", (sysctl("", SOMAXCONN, "1234"),))), tmp_path, resync=0.3) as one:
        one.until(lambda: one.daemon.status.ready)
        sh(f"sysctl -qw {SOMAXCONN}=77")
        one.until(lambda: one.daemon.status.repaired == 1)
        assert triggers(one)[-1] == "resync"


def test_the_same_content_again_compiles_nothing_and_writes_nothing(netns: str, tmp_path: Path) -> None:
    compiled: list[str] = []

    class Counting(Made):
        def compile(self, host: Host) -> Compiled:
            compiled.append(self.digest)
            return super().compile(host)

    content = Content(Counting("one", blackholes(1)))
    with running(content, tmp_path) as one:
        one.until(lambda: one.daemon.status.ready)
        content.inputs = Counting("one", blackholes(1))
        for trigger in ("config", "hangup"):
            one.daemon.wake(trigger)
            one.until(lambda trigger=trigger: triggers(one)[-1] == trigger and one.daemon.status.ready)  # type: ignore[misc]
        assert compiled == ["one"]
        assert [line["planned"] for line in one.logged("round")] == [1, 0, 0]


def test_a_conflict_ends_as_soon_as_the_other_one_goes(netns: str, tmp_path: Path) -> None:
    """Somebody's route stands where ours is to be, and the kernel tells when it goes."""
    sh("ip route add blackhole 10.99.1.0/24 proto 3")
    with running(Content(Made("one", blackholes(1, 2))), tmp_path) as one:
        one.until(lambda: bool(one.daemon.status.conflicts))
        assert [line.split()[1] for line in sh("ip route show proto 94").splitlines()] == ["10.99.2.0/24"]
        sh("ip route del blackhole 10.99.1.0/24 proto 3")
        one.until(lambda: one.daemon.status.ready)


def test_a_bad_row_never_slows_the_others(netns: str, tmp_path: Path) -> None:
    """A row whose line always fails rests; drift of another is repaired by event all the same, without the bad one being tried."""
    bad = blackholes(1)[0]._replace(type="unicast", via="10.77.0.1", dev="v0")
    sh("ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up")  # without an address: the gateway is unreachable
    with running(Content(Made("one", (bad, *blackholes(2)))), tmp_path) as one:
        one.until(lambda: one.daemon.status.rounds >= 4)  # it rests for seconds by now
        tried = len(one.logged("round"))
        sh("ip route del blackhole 10.99.2.0/24")
        one.until(lambda: one.daemon.status.repaired == 1)
        [line] = [line for line in one.logged("round")[tried:] if line["triggers"].startswith("event")]
        assert (line["done"], line["failed"], line["left"]) == (1, 0, 1)
        [error] = one.daemon.status.errors
        assert "10.99.1.0/24: " in error, "still told while it rests"
        assert sum("10.99.1.0/24" in line["why"] for line in one.logged("not done")) == 1, "and told once"
