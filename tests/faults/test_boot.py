"""A node boots, and the kubelet, the API and the uplink come in any order: no pod starts before the network is whole, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.certificates import Certificates
from tests.daemon.process import held
from tests.faults.clustered import CONFLIST, NETWORK, NODES, Cluster, peer
from tests.namespaces import sh

pytestmark = pytest.mark.kernel


@pytest.fixture
def cluster(netns: str, tmp_path: Path, certificates: Certificates) -> Iterator[Cluster]:
    """A node that ran, and is off now; the file that told the kubelet "ready" is where the last boot has left it."""
    made = Cluster(tmp_path, certificates)
    made.config.write_text(NETWORK + "cni: {}\n")
    with made.daemon() as one:
        one.until(lambda: one.ready)
        made.good = held()
    assert conflist(made)
    sh("ip link del plumb0; ip nexthop flush proto 94; ip route flush proto 94; nft flush ruleset")
    (tmp_path / "state/settled").write_text("another boot\n")
    yield made
    made.close()


def conflist(cluster: Cluster) -> bool:
    return (cluster.root / CONFLIST).exists()


FOREIGN = "ip link add plumb0 type bridge"  # what stands in the way for a while
UPLINK = "ip addr add 10.0.1.11/24 dev eth0; ip route add default via 10.0.1.1"


@pytest.mark.parametrize(
    ("late", "comes"),
    [
        (FOREIGN, "ip link del plumb0"),
        (
            "ip addr flush dev eth0; ip addr add 10.0.1.77/24 dev eth0; ip route add default via 10.0.1.1",
            "ip addr add 10.0.1.11/24 dev eth0",
        ),
        ("ip addr flush dev eth0", UPLINK),
        ("ip link set eth0 down; ip addr flush dev eth0", f"ip link set eth0 up; {UPLINK}"),
    ],
    ids=["something in the way", "another address yet", "no address yet", "no uplink yet"],
)
def test_a_kubelet_before_us_starts_no_pod_before_the_network_is_whole(cluster: Cluster, late: str, comes: str) -> None:
    sh(late)
    with cluster.daemon() as one:
        one.until(lambda: one.daemon.status.rounds > 0)
        assert not one.daemon.status.converged
        assert not conflist(cluster), "what the last boot has left says so too early"
        sh(comes)
        one.until(lambda: conflist(cluster))
        assert held() == cluster.good
        one.until(lambda: one.ready)


def test_an_api_after_us_finds_the_network_as_it_was(cluster: Cluster) -> None:
    """Pods start without it: the content and the nodes that were kept are the whole of the network."""
    cluster.api.stop()
    with cluster.daemon() as one:
        one.until(lambda: one.daemon.status.rounds > 0 and conflist(cluster))
        assert held() == cluster.good
        one.until(one.says("has not answered yet"))
        sh("ip route del 10.244.3.0/24")
        one.until(lambda: held() == cluster.good)
        cluster.api.delete(f"{NODES}/n3")
        cluster.api.put(NODES, peer(4))
        assert held() == cluster.good
        cluster.api.start()
        one.until(one.routes("10.244.2.0/24", "10.244.4.0/24"))
        assert conflist(cluster)


def test_a_restart_in_the_same_boot_takes_no_file_back(cluster: Cluster) -> None:
    with cluster.daemon() as one:
        one.until(lambda: one.ready)
    sh(f"ip route del 10.244.3.0/24; {FOREIGN.replace('plumb0', 'other')}")
    inode = (cluster.root / CONFLIST).stat().st_ino
    cluster.api.stop()
    with cluster.daemon() as one:
        one.until(lambda: held() == cluster.good)
        assert (cluster.root / CONFLIST).stat().st_ino == inode, "it was not written anew either"


def test_a_node_that_joined_a_moment_before_the_end_is_known_at_the_next_start(cluster: Cluster) -> None:
    """Content that keeps changing is written every ten seconds; what is left to be written then is not forgotten."""
    with cluster.daemon() as one:
        one.until(lambda: one.ready)
        cluster.api.put(NODES, peer(4))
        one.until(one.routes("10.244.2.0/24", "10.244.3.0/24", "10.244.4.0/24"))
        cluster.good = held()
    sh("ip link del plumb0")
    cluster.api.stop()
    with cluster.daemon() as one:
        one.until(lambda: held() == cluster.good)
