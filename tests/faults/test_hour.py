"""An hour without an API, by a clock that the test drives."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.cluster.reflector import Timing
from tests.api.certificates import Certificates
from tests.daemon.process import held
from tests.faults.clock import Clock
from tests.faults.clustered import NODES, Cluster, Node, peer
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
HOUR = 3600.0
DRIVEN = ("reconciler.cluster.reflector", "reconciler.cluster.publisher", "reconciler.daemon.loop")
ASKING = 3  # threads that ask the API: Nodes, NetworkPolicies, and what this node says of itself


def pass_until(one: Node, clock: Clock, end: float) -> None:
    """From one thread's turn to the next one's."""
    one.until(lambda: clock.waiting == ASKING)
    while clock.now < end:
        clock.advance(min(clock.next, end - clock.now))
        wake(one)
        one.until(lambda: clock.waiting == ASKING and one.daemon._beat == clock.now)


def until(one: Node, clock: Clock, condition: Callable[[], bool]) -> None:
    """While a little time passes."""

    def so() -> bool:
        if condition():
            return True
        clock.advance(0.02)
        wake(one)
        return False

    one.until(so)


def held_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def wake(one: Node) -> None:
    """The loop looks at the time again."""
    os.eventfd_write(one.daemon._inbox.fileno(), 1)


def test_an_hour_without_an_api(netns: str, tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, clock = Cluster(tmp_path, certificates, nodes=5), Clock()
    clock.drives(monkeypatch, *DRIVEN)
    with cluster.daemon(timing=Timing(), resync=60.0) as one:
        until(one, clock, lambda: one.ready and bool(one.word))  # for which it asks for its Node, once
        good, rounds, listed = held(), one.daemon.status.rounds, cluster.api.seen["list nodes"]
        cluster.api.stop()
        began, sizes = clock.now, list[int]()
        clock.waits.clear()
        tracemalloc.start()
        for quarter in range(1, 5):
            pass_until(one, clock, began + quarter * HOUR / 4)
            assert held() == good
            sh("ip route del 10.244.4.0/24")
            until(one, clock, lambda: held() == good)
            assert all(pause <= 60 for _, pause in clock.waits)
            assert 15 <= sum(name == "watch nodes" for name, _ in clock.waits) < 100, "a minute is the longest pause, and mostly it is long"
            clock.waits.clear()
            one._log.truncate(one._log.seek(0))
            sizes.append(held_bytes())
        one.until(lambda: held_bytes() - sizes[1] < 8192)  # a round may still be at its end
        tracemalloc.stop()
        assert one.daemon.status.rounds - rounds >= 40, "drift is looked for as ever"
        assert one.ready
        assert "Connection refused" in one.trouble

        cluster.api.delete(f"{NODES}/n3")
        cluster.api.put(NODES, peer(6))
        cluster.api.store.compact(move_on=True)
        clock.waits.clear()
        cluster.api.start()
        one.until(lambda: clock.waiting == ASKING)
        clock.advance(60)
        until(one, clock, one.routes(*(f"10.244.{number}.0/24" for number in (2, 4, 5, 6))))
        until(one, clock, lambda: not one.trouble)
        assert cluster.api.seen["list nodes"] == listed + 1, "one list, whatever happened meanwhile"
        assert all(pause <= Timing().first for name, pause in clock.waits if name == "watch nodes"), "once it answers, nothing waits"
    cluster.close()
