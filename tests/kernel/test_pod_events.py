"""What is heard of pods' namespaces without being in them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.reader import ObservationFailed
from reconciler.kernel.events import Event
from reconciler.kernel.pod_events import PodEvents
from reconciler.kinds import all_kinds
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
_numbers = itertools.count()
GROUPS = {group for kind in all_kinds().values() for group in kind.events}


@pytest.fixture
def pods(netns: str) -> Iterator[list[str]]:
    names = [f"plt-heard-{os.getpid()}-{next(_numbers)}" for _ in range(3)]
    for name in names:
        sh(f"ip netns add {name} && ip -n {name} link add v0 type veth peer name v1 && ip -n {name} link set v0 up")
        sh(
            f"ip -n {name} link add vx type vxlan id 7 dstport 4789 dev v0 && ip netns exec {name} sysctl -qw net.ipv6.conf.all.disable_ipv6=1"
        )
    yield names
    for name in names:
        sh(f"ip netns del {name} 2>/dev/null || true")


@pytest.fixture
def heard(pods: list[str]) -> Iterator[PodEvents]:
    events = PodEvents(GROUPS)
    yield events
    events.close()


def told(events: PodEvents) -> list[tuple[str, str, bool]]:
    found: list[tuple[str, str, bool]] = []

    def note(name: str, event: Event) -> bool:
        found.append((name, event.what, event.gone))
        return False

    assert not events.read(note)
    return found


@pytest.mark.parametrize(
    ("change", "what", "gone"),
    [
        ("ip -n {} link set vx mtu 1400", "link", False),
        ("ip -n {} link del vx", "link", True),
        ("bridge -n {} fdb append 00:00:00:00:00:00 dev vx dst 10.0.0.9", "fdb", False),
        ("ip -n {} addr add 10.94.0.1/24 dev vx", "address", False),
        ("ip -n {} route add blackhole 10.97.0.0/24", "route", False),
    ],
)
def test_of_those_that_are_followed(heard: PodEvents, pods: list[str], change: str, what: str, gone: bool) -> None:
    heard.follow(pods[:2])
    for name in pods:
        sh(change.format(name))
    assert list(dict.fromkeys(one for one, kind, out in told(heard) if (kind, out) == (what, gone))) == pods[:2]
    heard.follow(pods[2:])
    sh("ip link add here type veth peer name there")  # in our own
    sh(f"ip -n {pods[0]} link set v0 mtu 1400; ip -n {pods[2]} link set v0 mtu 1400")
    assert {name for name, _, _ in told(heard)} == {pods[2]}


def test_what_a_pod_learns_wakes_nobody(heard: PodEvents, pods: list[str]) -> None:
    heard.follow(pods)
    sh(f"ip -n {pods[0]} addr add 10.94.0.1/24 dev v0")
    told(heard)
    sh(f"ip -n {pods[0]} neigh replace 10.94.0.9 lladdr 02:00:00:00:00:09 dev v0 nud reachable")
    assert told(heard) == []
    sh(f"bridge -n {pods[0]} fdb append 02:00:00:00:00:09 dev vx dst 10.0.0.9")
    assert told(heard) == [(pods[0], "fdb", False)]


def test_what_is_lost_may_have_been_anything(pods: list[str]) -> None:
    events = PodEvents(GROUPS, buffer=4096)
    events.follow(pods)
    sh("for n in $(seq 1 100); do echo route add blackhole 10.98.$n.0/24; done | ip -n " + pods[0] + " -batch -")
    assert events.read(lambda name, event: False)
    assert not events.read(lambda name, event: False)
    events.close()


def test_a_pod_s_namespace_ends_with_the_pod(heard: PodEvents, pods: list[str]) -> None:
    sh(f"ip link add host type veth peer name eth0 netns {pods[0]}")
    heard.follow(pods)
    sh(f"ip netns del {pods[0]}")
    end = os.times().elapsed + 5
    while Path("/sys/class/net/host").exists() and "host" in sh("ip -o link"):
        assert os.times().elapsed < end, "its veth is there as long as the namespace is"
    heard.follow(pods)  # it is gone, and none of the others is held up
    sh(f"ip -n {pods[1]} link set v0 mtu 1400")
    assert {name for name, _, _ in told(heard)} == {pods[1]}


def test_a_name_that_stands_for_another_namespace_by_now(heard: PodEvents, pods: list[str]) -> None:
    heard.follow(pods)
    sh(f"ip netns del {pods[0]}; ip netns add {pods[0]}; ip -n {pods[0]} link set lo up")
    heard.follow(pods)
    told(heard)
    sh(f"ip -n {pods[0]} link add v0 type veth peer name v1")
    assert {name for name, _, _ in told(heard)} == {pods[0]}


def test_a_kernel_that_refuses_is_named(netns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.kernel.pod_events.NETLINK_LISTEN_ALL_NSID", 4242)
    with pytest.raises(ObservationFailed, match=r"pods' namespaces: Protocol not available \(CAP_NET_BROADCAST\)"):
        PodEvents(GROUPS)


def test_a_socket_that_is_broken_is_told_and_not_read_for_ever(pods: list[str]) -> None:
    events = PodEvents(GROUPS)
    events.close()
    with pytest.raises(ObservationFailed, match="Bad file descriptor"):
        events.read(lambda name, event: False)
