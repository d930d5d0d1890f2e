"""What a Kubernetes API does to its daemons: under each fault what is known stays, drift is repaired, and afterwards nothing was missed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.api.certificates import Certificates, make
from tests.api.store import Refused
from tests.daemon.process import held
from tests.faults.clustered import NODES, QUICK, Cluster, Node, peer, routed
from tests.namespaces import sh

pytestmark = pytest.mark.kernel


@pytest.fixture
def cluster(netns: str, tmp_path: Path, certificates: Certificates) -> Iterator[Cluster]:
    made = Cluster(tmp_path, certificates, nodes=5)
    yield made
    made.close()


@contextmanager
def down(cluster: Cluster) -> Iterator[None]:
    with cluster.api.down():
        yield


@contextmanager
def slow(cluster: Cluster) -> Iterator[None]:
    cluster.api.slow.set()
    cluster.api.drop()
    yield
    cluster.api.slow.clear()


@contextmanager
def somebody_elses(cluster: Cluster) -> Iterator[None]:
    """Who answers there is not who we know."""
    ours, cluster.api.certificates = cluster.api.certificates, make(cluster.folder / "another")
    cluster.api.stop()
    cluster.api.start()
    yield
    cluster.api.stop()
    cluster.api.certificates = ours
    cluster.api.start()


@contextmanager
def answers(code: int, cluster: Cluster, *, wait: str = "0") -> Iterator[None]:
    cluster.api.fault = lambda what: (code, {"Retry-After": wait})
    cluster.api.drop()
    yield
    cluster.api.fault = lambda what: None


@contextmanager
def compacted(cluster: Cluster) -> Iterator[None]:
    """410 Gone for all that we know; and what is to be listed then breaks off after its first page, again and again."""
    pages = [0]

    def second(what: str) -> tuple[int, dict[str, str]] | None:
        if what != "list nodes":
            return None
        pages[0] += 1
        return None if pages[0] % 2 else (500, {})

    with cluster.api.down():
        cluster.api.store.compact(move_on=True)
        cluster.api.fault = second
    yield
    assert pages[0] > 1, "nobody listed"
    cluster.api.fault = lambda what: None


@contextmanager
def mute(cluster: Cluster) -> Iterator[None]:
    """Its connection is dead, and nobody says so: nothing comes of it any more, whatever happens afterwards."""
    before, end = cluster.api.seen["watch nodes"], time.monotonic() + 10
    cluster.api.mute = True
    yield
    while cluster.api.seen["watch nodes"] == before:
        assert time.monotonic() < end, "nobody takes it for dead"
        threading.Event().wait(0.01)
    cluster.api.mute = False


@contextmanager
def without_rights(cluster: Cluster) -> Iterator[None]:
    def refuse(what: str) -> None:
        raise Refused(403, "Forbidden", "nodes is forbidden")

    cluster.api.fault = refuse
    cluster.api.drop()
    yield
    cluster.api.fault = lambda what: None


class Fault(NamedTuple):
    """`says`: what the watches tell of it; empty where they cannot know."""

    name: str
    strike: Callable[[Cluster], AbstractContextManager[None]]
    says: str

    def __str__(self) -> str:
        return self.name


FAULTS = (
    Fault("down", down, "Connection refused"),
    Fault("slow", slow, "no answer in time"),
    Fault("wrong certificate", somebody_elses, "certificate"),
    Fault("429", partial(answers, 429), "429"),
    Fault("500", partial(answers, 500), "500"),
    Fault("503", partial(answers, 503), "503"),
    Fault("401", partial(answers, 401), "401"),
    Fault("403", without_rights, "forbidden"),
    Fault("410 and half a list", compacted, "500"),
    Fault("a watch that dies silently", mute, ""),
)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_what_is_known_stays_and_nothing_is_missed(cluster: Cluster, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.cluster.transport.READ", 0.2)
    with cluster.daemon(timing=QUICK._replace(silence=0.5)) as one:
        one.until(lambda: one.ready)
        good = held()
        with fault.strike(cluster):
            one.until(lambda: fault.says in one.trouble)
            cluster.api.delete(f"{NODES}/n3")
            cluster.api.put(NODES, peer(6))
            sh("ip route del 10.244.4.0/24")
            one.until(lambda: held() == good)
            sh("ip link del plumb0")
            one.until(lambda: held() == good)
            assert one.ready, "it is as anybody knows that it should be"
        one.until(one.routes(*(f"10.244.{number}.0/24" for number in (2, 4, 5, 6))))
        one.until(lambda: not one.trouble)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.SystemTimeWarning")
def test_a_clock_that_jumps_is_nobodys_business(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    with cluster.daemon() as one:
        one.until(lambda: one.ready)
        for number, years in ((6, -10), (7, 10)):
            monkeypatch.setattr(time, "time", lambda years=years: real() + years * 31_536_000)
            with cluster.api.down():
                one.until(lambda: bool(one.trouble))
                sh("ip route del 10.244.4.0/24")
                one.until(lambda: "10.244.4.0/24" in routed())
                cluster.api.put(NODES, peer(number))
            one.until(lambda number=number: f"10.244.{number}.0/24" in routed())  # type: ignore[misc]
            one.until(lambda: one.ready)


def test_a_start_while_the_api_fails_is_not_the_start_of_a_cluster_without_nodes(cluster: Cluster) -> None:
    with cluster.daemon() as one:
        one.until(lambda: one.ready)
    good = held()
    for fault in FAULTS:
        if fault.strike in (mute, slow):  # its first list is as good as any; and five more seconds
            continue
        with fault.strike(cluster), cluster.daemon() as one:
            one.until(rounds(one))
            assert held() == good, fault
            assert not one.ready
            assert "has not answered yet" in one.daemon.status.not_ready or "kept" in one.daemon.status.not_ready, (
                one.daemon.status.not_ready
            )
            sh("ip link del plumb0")
            one.until(lambda: held() == good)
    with cluster.daemon() as one:
        one.until(lambda: one.ready)
        assert held() == good


def rounds(one: Node) -> Callable[[], bool]:
    return lambda: one.daemon.status.rounds > 0
