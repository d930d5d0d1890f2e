"""What a cluster does to its nodes: another name, another address, another pod CIDR. Nothing else moves, and nothing is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.cluster.publisher import NODE_NETWORKS
from tests.api.certificates import Certificates
from tests.cluster.objects import node
from tests.daemon.process import held
from tests.faults.clustered import CONFLIST, NETWORK, NODES, Cluster, Node, peer, routed
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
CNI = NETWORK + "cni: {}\n"


@pytest.fixture
def cluster(netns: str, tmp_path: Path, certificates: Certificates) -> Iterator[Cluster]:
    made = Cluster(tmp_path, certificates)
    yield made
    made.close()


def started(one: Node) -> str:
    """What it holds once all is in place."""
    one.until(lambda: one.ready)
    return held()


def differs(before: str) -> tuple[list[str], list[str]]:
    """Lines that are gone, and lines that are new."""
    old, new = before.splitlines(), held().splitlines()
    return sorted(set(old) - set(new)), sorted(set(new) - set(old))


def about(lines: list[str], *words: str) -> bool:
    return all(any(word in line for word in words) for line in lines)


def fresh(cluster: Cluster, name: str = "n1") -> str:
    """What somebody without any past makes of the same."""
    sh("ip link del plumb0; ip nexthop flush proto 94; ip route flush proto 94; nft flush ruleset")
    with cluster.daemon(name) as one:
        return started(one)


# -- a name ------------------------------------------------------------------------------------


def test_a_peer_that_comes_back_under_another_name_keeps_its_routes(cluster: Cluster) -> None:
    with cluster.daemon() as one:
        good = started(one)
        cluster.api.delete(f"{NODES}/n3")
        cluster.api.put(NODES, node("n3-b", "10.0.3.13", "10.244.3.0/24"))
        one.until(one.routes("10.244.2.0/24", "10.244.3.0/24"))
        one.until(lambda: held() != good and one.ready)
        gone, new = differs(good)
        assert about(gone, "lladdr", "dst 10.0.3.13"), "the MAC comes of the name, and nothing else does"
        assert about(new, "lladdr", "dst 10.0.3.13")
        assert len(gone) == len(new) == 2
        then = held()
    assert fresh(cluster) == then


def test_a_new_name_beside_the_old_one_takes_nothing_away_and_says_which_to_delete(cluster: Cluster) -> None:
    """The old Node object stays until somebody deletes it."""
    with cluster.daemon() as one:
        good = started(one)
        cluster.api.put(NODES, node("n3-b", "10.0.3.13", "10.244.3.0/24"))
        one.until(one.says("n3-b"))
        assert "kubectl delete node n3" in one.daemon.status.not_ready
        assert held() == good
        sh("ip route del 10.244.3.0/24")
        one.until(lambda: held() == good)
        cluster.api.delete(f"{NODES}/n3")
        one.until(one.routes("10.244.2.0/24", "10.244.3.0/24"))


def test_the_only_peer_under_another_name_is_held_until_it_is_there(netns: str, tmp_path: Path, certificates: Certificates) -> None:
    """Of two nodes the other one is all there is: without it nothing would be left."""
    cluster = Cluster(tmp_path, certificates, nodes=2)
    with cluster.daemon() as one:
        good = started(one)
        cluster.api.delete(f"{NODES}/n2")
        one.until(one.says("n2"))
        assert held() == good
        cluster.api.put(NODES, node("n2-b", "10.0.2.12", "10.244.2.0/24"))
        one.until(one.routes("10.244.2.0/24"))
    cluster.close()


@pytest.mark.parametrize("nodes", [1, 3])
def test_our_own_node_under_another_name_loses_nothing_and_is_named(
    netns: str, tmp_path: Path, certificates: Certificates, nodes: int
) -> None:
    cluster = Cluster(tmp_path, certificates, nodes)
    cluster.config.write_text(CNI)
    with cluster.daemon() as one:
        good = started(one)
        conflist = (cluster.root / CONFLIST).read_text()
        cluster.api.delete(f"{NODES}/n1")
        one.until(one.says("n1"))
        cluster.api.put(NODES, node("n1-b", "10.0.1.11", "10.244.1.0/24"))
        one.until(one.says("--node n1-b"))
        sh("ip link del plumb0")
        one.until(lambda: held() == good)
        assert (cluster.root / CONFLIST).read_text() == conflist
    with cluster.daemon("n1-b") as one:
        started(one)
        gone, new = differs(good)
        assert about([*gone, *new], "link/ether"), "our MAC comes of our name; all else is as it was"
        assert (cluster.root / CONFLIST).read_text() == conflist
    cluster.close()


# -- an address --------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["status", "annotation"])
def test_a_peers_address_moves_one_row(cluster: Cluster, said: str) -> None:
    with cluster.daemon() as one:
        good = started(one)
        moved: dict[str, Any] = node("n3", "10.0.3.99" if said == "status" else "10.0.3.13", "10.244.3.0/24")
        if said == "annotation":
            moved["metadata"]["annotations"]["plumbline.dev/address"] = "10.0.3.99/24"
        cluster.api.put(NODES, moved)
        one.until(lambda: "dst 10.0.3.99" in held() and one.ready)
        gone, new = differs(good)
        assert [line.replace("10.0.3.13", "10.0.3.99") for line in gone] == new
        assert len(gone) == 2, "where it is, and who may send to us"


def test_our_own_address_moves_when_the_host_has_it(cluster: Cluster) -> None:
    with cluster.daemon() as one:
        good = started(one)
        index = sh("ip -o link show plumb0").split(":")[0]
        cluster.api.put(NODES, node("n1", "10.0.1.99", "10.244.1.0/24"))
        one.until(one.says("no interface holds 10.0.1.99"))
        assert held() == good, "from an address that is not here the kernel sends nothing"
        sh("ip route del 10.244.3.0/24")
        one.until(lambda: held() == good)
        sh("ip addr add 10.0.1.99/24 dev eth0")
        one.until(lambda: "local 10.0.1.99" in held() and one.ready)
        gone, new = differs(good)
        assert about([*gone, *new], "vxlan id", "ip daddr !="), "the device's, and where packets for it come to"
        assert sh("ip -o link show plumb0").split(":")[0] == index, "the device was not made anew"
        sh("ip addr del 10.0.1.11/24 dev eth0; ip route add default via 10.0.1.1 || true")
        one.until(lambda: one.ready)


def test_an_address_that_leaves_the_host_for_a_while_takes_nothing_with_it(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.daemon.schedule.FIRST_RETRY", 60.0)  # seconds: that it is back is heard, and not found by chance
    with cluster.daemon() as one:
        good = started(one)
        sh("ip addr add 10.9.0.1/16 dev eth0; ip addr del 10.0.1.11/24 dev eth0")
        one.until(one.says("no interface holds 10.0.1.11"))
        assert held() == good
        sh("ip addr add 10.0.1.11/24 dev eth0")
        one.until(lambda: one.ready)
        assert held() == good


# -- a pod CIDR --------------------------------------------------------------------------------


def test_a_peer_with_another_pod_cidr(cluster: Cluster) -> None:
    with cluster.daemon() as one:
        good = started(one)
        cluster.api.delete(f"{NODES}/n3")
        cluster.api.put(NODES, node("n3", "10.0.3.13", "10.244.33.0/24"))
        one.until(one.routes("10.244.2.0/24", "10.244.33.0/24"))
        gone, new = differs(good)
        assert about(gone, "10.244.3.0", "id ")
        assert about(new, "10.244.33.0", "id ")
        assert not any("10.244.2.0" in line or "10.0.3.13" in line for line in (*gone, *new)), "its address and its MAC stay"
        then = held()
    assert fresh(cluster) == then


def test_our_own_pod_cidr_changes_and_the_file_for_the_runtime_with_it(cluster: Cluster) -> None:
    cluster.config.write_text(CNI)
    with cluster.daemon() as one:
        good = started(one)
        conflist = cluster.root / CONFLIST
        before = conflist.read_text()
        cluster.api.delete(f"{NODES}/n1")
        one.until(one.says("n1"))
        assert (held(), conflist.read_text()) == (good, before)
        without = peer(1)
        without["spec"] = {}
        cluster.api.put(NODES, without)  # a kubelet registers its node first, and somebody else gives it a pod CIDR then
        one.until(one.says("no pod CIDR"))
        assert (held(), conflist.read_text()) == (good, before)
        sh("ip route del 10.244.3.0/24")
        one.until(lambda: held() == good)
        cluster.api.put(NODES, node("n1", "10.0.1.11", "10.244.11.0/24"))
        one.until(lambda: "10.244.11.0/32" in held() and one.ready)
        gone, new = differs(good)
        assert about(gone, "inet 10.244.1.0/32")
        assert about(new, "inet 10.244.11.0/32")
        [bridge] = [plugin for plugin in json.loads(conflist.read_text())["plugins"] if plugin["type"] == "bridge"]
        assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.11.0/24"}]]
        then = held()
        one.until(lambda: bool(cluster.api.get(f"{NODE_NETWORKS}/n1")))
    assert fresh(cluster) == then
    assert routed() == ["10.244.2.0/24", "10.244.3.0/24"]
