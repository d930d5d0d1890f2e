"""What is broken inside a pod is repaired as soon as the kernel tells of it."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.reader import ObservationFailed
from reconciler.kinds.fdb import Fdb, FdbKey
from reconciler.kinds.link import Link, LinkKey, Vxlan
from reconciler.kinds.marks import GROUP
from tests.daemon.made import Content, Made, Running, blackholes, running
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
_numbers = itertools.count()


@pytest.fixture
def pods(netns: str) -> Iterator[list[str]]:
    names = [f"plt-hears-{os.getpid()}-{next(_numbers)}" for _ in range(2)]
    for name in names:
        sh(f"ip netns add {name} && ip -n {name} link add eth0 type veth peer name wire && ip -n {name} link set eth0 up")
    yield names
    for name in names:
        sh(f"ip netns del {name} 2>/dev/null || true")


def member(netns: str) -> tuple[Any, ...]:
    device = Link(LinkKey(netns, "vx"), "vxlan", GROUP, "plumbline:segments", up=True, parent="eth0", info=Vxlan(id=7))
    return device, Fdb(FdbKey(netns, "vx", "00:00:00:00:00:00", 0, "10.0.0.9"), "10.0.0.9", 0, 0, "self")


def triggers(one: Running) -> list[str]:
    return [str(line["triggers"]) for line in one.logged("round")]


def quiet(one: Running) -> bool:
    """It is ready, and the round for a newly heard pod is over."""
    return one.daemon.status.ready and "pods" in triggers(one)


@pytest.mark.parametrize(
    "broken",
    ["ip -n {} link del vx", "ip -n {} link set vx down", "bridge -n {} fdb del 00:00:00:00:00:00 dev vx dst 10.0.0.9",
     "bridge -n {} fdb append 00:00:00:00:00:00 dev vx dst 10.0.0.66"],
)  # fmt: skip
def test_what_is_broken_in_a_pod_is_repaired_at_once(pods: list[str], tmp_path: Path, broken: str) -> None:
    with running(Content(Made("one", tuple(row for pod in pods for row in member(pod)))), tmp_path) as one:
        one.until(lambda: quiet(one))
        before = len(one.logged("round"))
        sh(broken.format(pods[1]))
        one.until(lambda: one.daemon.status.repaired >= 1)
        assert triggers(one)[before:] == ["pods"]
        entries = [line for line in sh(f"bridge -n {pods[1]} fdb show dev vx").splitlines() if line.startswith("00:00")]
        assert [line.split()[2] for line in entries] == ["10.0.0.9"]


def test_a_pod_that_joins_is_heard_and_one_that_left_is_not(pods: list[str], tmp_path: Path) -> None:
    content = Content(Made("one", (*blackholes(1), *member(pods[0]))))
    with running(content, tmp_path) as one:
        one.until(lambda: quiet(one))
        content.inputs = Made("two", (*blackholes(1), *member(pods[1])))
        one.daemon.wake("config")
        one.until(lambda: one.daemon.status.digest == "two" and triggers(one)[-1] == "pods")
        sh(f"ip -n {pods[1]} link del vx")
        one.until(lambda: one.daemon.status.repaired == 2)
        content.inputs = Made("three", blackholes(1))
        one.daemon.wake("config")
        one.until(lambda: one.daemon.status.digest == "three")
        sh(f"ip -n {pods[0]} link set eth0 mtu 1400; ip route del blackhole 10.99.1.0/24")
        one.until(lambda: one.daemon.status.repaired == 3)
        assert triggers(one)[-1] == "event: route deleted"


def test_what_a_pod_does_with_its_own_devices_wakes_nobody(pods: list[str], tmp_path: Path) -> None:
    with running(Content(Made("one", (*blackholes(1), *member(pods[0])))), tmp_path) as one:
        one.until(lambda: quiet(one))
        before = len(one.logged("round"))
        sh(
            f"ip -n {pods[0]} link set eth0 mtu 1400; ip -n {pods[0]} addr add 10.0.0.1/24 dev eth0; ip -n {pods[0]} link add own0 type veth; "
            f"ip -n {pods[0]} route add blackhole 10.97.0.0/24; ip -n {pods[0]} addr add 10.94.0.2/24 dev vx; ip -n {pods[1]} link set eth0 down"
        )
        sh("ip route del blackhole 10.99.1.0/24")  # what is heard of after it
        one.until(lambda: one.daemon.status.repaired == 1)
        assert triggers(one)[before:] == ["event: route deleted"]


def test_a_pod_that_never_rests_takes_a_round_a_second_at_most(pods: list[str], tmp_path: Path) -> None:
    with running(Content(Made("one", member(pods[0]))), tmp_path) as one:
        one.until(lambda: quiet(one))
        start, before = os.times().elapsed, triggers(one).count("pods")
        while triggers(one).count("pods") < before + 3:
            stranger = "00:00:00:00:00:00 dev vx dst 10.0.0.66"
            sh(f"bridge -n {pods[0]} fdb del {stranger} 2>/dev/null || true; bridge -n {pods[0]} fdb append {stranger}")
            threading.Event().wait(0.01)
            assert os.times().elapsed - start < 20
        assert os.times().elapsed - start > 1.5, "three rounds, two pauses"


def test_without_the_capability_it_is_said_once_and_resync_finds_it(
    pods: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(groups: object) -> None:
        raise ObservationFailed("cannot listen to events in pods' namespaces: Operation not permitted (CAP_NET_BROADCAST)")

    monkeypatch.setattr("reconciler.daemon.pods_heard.PodEvents", refuses)
    with running(Content(Made("one", member(pods[0]))), tmp_path, resync=0.3) as one:
        one.until(lambda: one.daemon.status.ready)
        sh(f"ip -n {pods[0]} link del vx")
        one.until(lambda: one.daemon.status.repaired >= 1)
        (said,) = one.logged("changes inside pods are found by the next resync")
        assert "CAP_NET_BROADCAST" in said["why"]


def test_a_dry_run_gives_no_namespace_a_number(pods: list[str], tmp_path: Path) -> None:
    for dry in (True, False):
        with running(Content(Made("one", member(pods[0]))), tmp_path, dry_run=dry) as one:
            one.until(lambda: one.daemon.status.rounds > 0)
            if not dry:
                one.until(lambda: quiet(one))
        assert bool(sh("ip netns list-id")) is not dry
