"""The daemon as a process of its own, with a Kubernetes API beside it that comes, goes and lies."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.cluster.publisher import EVENTS, NODE_NETWORKS, ROLLED_BACK
from tests.api.certificates import Certificates
from tests.api.conftest import certificates
from tests.api.server import SmallApi
from tests.cluster.objects import node
from tests.confirm.made import cut_off_able
from tests.daemon.process import HERE, Daemon, held, plumbline
from tests.namespaces import sh

__all__ = ["certificates"]
pytestmark = pytest.mark.kernel

NODES = "/api/v1/nodes"
CONFIGMAPS = "/api/v1/namespaces/plumbline-system/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
NETWORK = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
fabric: {podNetwork: [10.244.0.0/16]}
"""


def peer(number: int) -> dict[str, Any]:
    return node(f"n{number}", f"10.0.{number}.1{number}", f"10.244.{number}.0/24")


class Cluster:
    """An API in this node's namespace, and the node's daemons."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        self.folder = folder
        self.api = SmallApi(certificates)
        self.api.start()
        self.api.kinds.define(yaml.safe_load((HERE / "charts/plumbline/crds/nodenetworks.yaml").read_text()))
        for name in ("kube-system", "default", "plumbline-system"):
            self.api.put("/api/v1/namespaces", {"metadata": {"name": name}})
        for number in (1, 2, 3):
            self.api.put(NODES, peer(number))
        (folder / "token").write_text("admin")
        (folder / "kubeconfig").write_text(
            json.dumps(
                {
                    "apiVersion": "v1", "kind": "Config", "current-context": "it",
                    "clusters": [{"name": "it", "cluster": {"server": self.api.url, "certificate-authority": str(certificates.authority)}}],
                    "users": [{"name": "it", "user": {"tokenFile": str(folder / "token")}}],
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                }
            )
        )  # fmt: skip
        self.config = folder / "network.yaml"
        self.config.write_text(NETWORK)
        self.daemons: list[Daemon] = []

    def start(self, *options: str) -> Daemon:
        log = self.folder / f"log-{len(self.daemons)}"
        words = ("--cluster", "--kubeconfig", str(self.folder / "kubeconfig"), *options)
        self.daemons.append(Daemon(log, self.config, self.folder / "state", options=words))
        return self.daemons[-1]

    def routes(self, *numbers: int) -> Callable[[], bool]:
        wanted = [f"10.244.{number}.0/24" for number in numbers]
        return lambda: [line.split()[0] for line in sh("ip route show proto 94").splitlines()] == wanted

    @property
    def word(self) -> dict[str, Any]:
        """What this node says of itself."""
        said: dict[str, Any] = (self.api.get(f"{NODE_NETWORKS}/n1") or {}).get("status", {})
        return {**said, "conditions": {one["type"]: one for one in said.get("conditions", [])}}

    @property
    def labels(self) -> dict[str, str]:
        found: dict[str, str] = (self.api.get(f"{NODE_NETWORKS}/n1") or {"metadata": {}})["metadata"].get("labels") or {}
        return found

    def network(self, text: str) -> None:
        self.api.put(CONFIGMAPS, {"metadata": {"name": "network"}, "data": {"network.yaml": text}})


@pytest.fixture
def cluster(netns: str, tmp_path: Path, certificates: Certificates) -> Iterator[Cluster]:
    sh("ip link add eth0 type veth peer name wire && ip link set eth0 up && ip link set wire up && ip addr add 10.0.1.11/24 dev eth0")
    sh("ip route add default via 10.0.1.1; ip link set lo up")
    made = Cluster(tmp_path, certificates)
    yield made
    for daemon in made.daemons:
        if daemon.process.poll() is None:
            daemon.end(signal.SIGKILL)
    made.api.stop()


def test_nodes_come_change_and_go(cluster: Cluster) -> None:
    daemon = cluster.start()
    daemon.until(daemon.ready)
    assert cluster.routes(2, 3)()
    rounds = daemon.status["rounds"]
    cluster.api.put(NODES, node("n2", "10.0.2.12", "10.244.2.0/24", beat=7))
    cluster.api.put(NODES, peer(4))
    daemon.until(cluster.routes(2, 3, 4))
    daemon.until(daemon.ready)
    assert daemon.status["rounds"] <= rounds + 2, "a heartbeat is no reason for a round"
    cluster.api.put(NODES, node("n4", "10.0.4.99", "10.244.4.0/24"))
    daemon.until(lambda: "dst 10.0.4.99" in sh("bridge fdb show dev plumb0"))
    cluster.api.delete(f"{NODES}/n4")
    daemon.until(cluster.routes(2, 3))
    watches = {one["name"]: one for one in daemon.status["watches"]}
    assert watches["nodes"] == {"name": "nodes", "objects": 3, "trouble": "", "since": None}
    assert 'plumbline_watch_objects{watch="nodes"} 3.0' in daemon.get("/metrics")[1]


def test_an_api_that_goes_takes_nothing_with_it_and_drift_is_repaired_meanwhile(cluster: Cluster) -> None:
    daemon = cluster.start()
    daemon.until(daemon.ready)
    good = held()
    with cluster.api.down():
        daemon.until(lambda: any(one["trouble"] for one in daemon.status["watches"]))
        assert daemon.ready(), "the node is as it should be, as far as anybody knows"
        sh("ip route del 10.244.3.0/24")
        daemon.until(lambda: held() == good)
        cluster.api.delete(f"{NODES}/n3")
        assert held() == good
    daemon.until(cluster.routes(2))


def test_a_boot_without_an_api_gets_the_network_that_was_and_loses_nothing(cluster: Cluster) -> None:
    daemon = cluster.start()
    daemon.until(daemon.ready)
    good = held()
    daemon.end()
    cluster.api.delete(f"{NODES}/n3")
    with cluster.api.down():
        sh("ip link del plumb0; nft flush ruleset")
        daemon = cluster.start()
        daemon.until(lambda: held() == good)
        daemon.until(lambda: "has not answered yet" in daemon.get("/readyz")[1])
        assert daemon.status["spec"]["source"] == "disk"
        daemon.end()
        daemon = cluster.start()
        daemon.until(lambda: daemon.status["rounds"] > 0)
        assert held() == good
    daemon.until(daemon.ready)
    assert cluster.routes(2)(), "n3 goes once the API says so"


def test_a_first_start_without_an_api_changes_nothing(cluster: Cluster) -> None:
    with cluster.api.down():
        daemon = cluster.start()
        daemon.until(lambda: "has not told yet" in daemon.get("/readyz")[1])
        assert not held()
    daemon.until(daemon.ready)
    assert cluster.routes(2, 3)()


def test_an_api_that_suddenly_knows_no_nodes_waits_for_a_person(cluster: Cluster) -> None:
    """As after a backup of etcd that was put back."""
    daemon = cluster.start()
    daemon.until(daemon.ready)
    good = held()
    with cluster.api.down():
        for number in (2, 3):
            cluster.api.delete(f"{NODES}/n{number}")
        cluster.api.store.compact(move_on=True)
    daemon.until(lambda: daemon.status["spec"]["refusal"] is not None)
    assert "names none of the other 2 nodes any more" in daemon.status["notReady"]
    assert held() == good


def test_a_node_that_makes_no_sense_harms_itself_alone(cluster: Cluster) -> None:
    daemon = cluster.start()
    daemon.until(daemon.ready)
    good = held()
    wrong = peer(3)
    wrong["metadata"]["annotations"]["plumbline.dev/address"] = "not an address"
    cluster.api.put(NODES, wrong)
    daemon.until(lambda: any("n3" in one for one in daemon.status["spec"]["warnings"]))
    assert held() == good
    cluster.api.put(NODES, peer(4))
    daemon.until(cluster.routes(2, 3, 4))


def test_network_yaml_by_watch_and_what_can_happen_to_it(cluster: Cluster) -> None:
    cluster.config = cluster.folder / "nowhere"
    daemon = cluster.start("--configmap", "plumbline-system/network")
    daemon.until(lambda: "there is none" in daemon.get("/readyz")[1])
    cluster.network(NETWORK)
    daemon.until(daemon.ready)
    good = held()
    digest = daemon.status["spec"]["digest"]
    for text, says in (
        (NETWORK + "fabrik: {}\n", "did you mean fabric"),
        (NETWORK[:-9], "network.yaml"),  # half of it
        ("", "network.yaml"),
        (NETWORK + "#" + "x" * ((1 << 20) - len(NETWORK) - 60) + "\nnonsense", "network.yaml"),  # as large as it can be
    ):
        cluster.network(text)
        daemon.until(lambda says=says: bool(daemon.status["spec"]["problems"]) and says in daemon.status["spec"]["problems"][0])  # type: ignore[misc]
        assert (daemon.status["spec"]["digest"], held()) == (digest, good)
    cluster.api.delete(f"{CONFIGMAPS}/network")
    daemon.until(lambda: "there is none" in daemon.get("/readyz")[1])
    assert held() == good
    cluster.api.put(CONFIGMAPS, {"metadata": {"name": "network"}, "data": {"notes.txt": "x"}})
    daemon.until(lambda: "no key that ends in .yaml" in daemon.get("/readyz")[1])
    cluster.network(NETWORK.replace("10.244.0.0/16]", "10.244.0.0/16]}\nsysctls: {net.core.somaxconn: 4097").replace("}}", "}"))
    daemon.until(daemon.ready)
    assert sh("sysctl -n net.core.somaxconn").strip() == "4097"
    daemon.end()
    sh("ip link del plumb0")
    with cluster.api.down():
        daemon = cluster.start("--configmap", "plumbline-system/network")
        daemon.until(cluster.routes(2, 3))
        daemon.until(lambda: daemon.status["spec"]["source"] == "disk")


def test_another_clusters_network_is_refused_before_the_first_write(cluster: Cluster) -> None:
    cluster.config.write_text(NETWORK + "metadata: {clusterID: somebody-elses}\n")
    daemon = cluster.start()
    daemon.until(lambda: "this cluster is" in daemon.get("/readyz")[1])
    assert not held()
    uid = (cluster.api.get("/api/v1/namespaces/kube-system") or {})["metadata"]["uid"]
    cluster.config.write_text(NETWORK + f"metadata: {{clusterID: {uid}}}\n")
    daemon.until(daemon.ready)


def test_the_node_says_how_it_is(cluster: Cluster) -> None:
    daemon = cluster.start()
    daemon.until(lambda: cluster.word["conditions"].get("Ready", {}).get("status") == "True")
    assert cluster.word["digest"] == hashlib.sha256(cluster.config.read_bytes()).hexdigest(), "as sha256sum says it"


def test_what_parts_the_nodes_waits_for_a_word(cluster: Cluster) -> None:
    daemon = cluster.start()
    daemon.until(daemon.ready)
    good = held()
    parted = NETWORK.replace("[10.244.0.0/16]", "[10.244.0.0/16], overlay: {vni: 5000}")
    cluster.config.write_text(parted)
    daemon.until(lambda: "partition: fabric.overlay.vni is 5000 and was 4096" in daemon.get("/readyz")[1])
    assert held() == good
    daemon.until(lambda: any(one["reason"] == "ContentRefused" for one in cluster.api.things(EVENTS)))
    cluster.config.write_text(parted + "rollout: {allowPartition: true}\n")
    daemon.until(lambda: "id 5000" in held())


def test_a_change_that_disturbs_waits_for_its_turn_and_gives_it_on(cluster: Cluster) -> None:
    daemon = cluster.start()
    daemon.until(daemon.ready)
    good = held()
    held_by = {"holderIdentity": "n2", "leaseDurationSeconds": 600, "renewTime": "2024-01-01T00:00:00.000000Z"}
    cluster.api.put(LEASES, {"metadata": {"name": "plumbline-rollout-0"}, "spec": held_by})
    rollout = "rollout: {maxUnavailable: 1, allowPartition: true}\n"
    cluster.config.write_text(NETWORK + rollout + "sysctls: {net.core.somaxconn: 4098}\n")
    daemon.until(lambda: sh("sysctl -n net.core.somaxconn").strip() == "4098")  # disturbs nobody, and waits for nobody
    cluster.config.write_text(NETWORK.replace("[10.244.0.0/16]", "[10.244.0.0/16], overlay: {vni: 5000}") + rollout)
    daemon.until(lambda: "waits for n2" in daemon.get("/readyz")[1])
    assert (daemon.status["rollout"]["atOnce"], daemon.status["rollout"]["holds"]) == (1, "")
    assert "waits for n2" in daemon.status["rollout"]["waits"]
    assert held() == good
    cluster.api.put(LEASES, {"metadata": {"name": "plumbline-rollout-0"}, "spec": {**held_by, "holderIdentity": ""}})
    daemon.until(lambda: "id 5000" in held())
    daemon.until(daemon.ready)
    daemon.until(lambda: (cluster.api.get(f"{LEASES}/plumbline-rollout-0") or {})["spec"]["holderIdentity"] == "")


def test_what_another_node_had_to_undo_is_not_begun(cluster: Cluster) -> None:
    daemon = cluster.start()
    daemon.until(daemon.ready)
    good = held()
    text = NETWORK + "sysctls: {net.core.somaxconn: 4099}\n"
    label = {ROLLED_BACK: hashlib.sha256(text.encode()).hexdigest()[:32]}
    cluster.api.put(NODE_NETWORKS, {"metadata": {"name": "n7", "labels": label}})
    cluster.config.write_text(text)
    daemon.until(lambda: "n7 had to undo it" in daemon.get("/readyz")[1])
    assert (held(), sh("sysctl -n net.core.somaxconn").strip()) != (good, "4099")
    cluster.config.write_text(text + "# another one\n")
    daemon.until(daemon.ready)


HEAD = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes: {n1: {address: 192.0.2.10/24, interface: eth0}}
confirm: {timeout: 5s}
rollout: {maxUnavailable: 1}
resources: {route: {way: {dst: 0.0.0.0/0, via: 192.0.2.1, dev: eth0, metric: 50}}}
"""
CUT = HEAD.replace("via: 192.0.2.1,", "via: 192.0.2.99,")


def test_what_was_undone_here_is_told_and_not_begun_again_when_a_node_joins_or_after_a_restart(
    tmp_path: Path, certificates: Certificates
) -> None:
    with cut_off_able():
        sh("ip link set lo up")
        cluster = Cluster(tmp_path, certificates)
        cluster.config.write_text(HEAD)
        daemon = cluster.start()
        try:
            daemon.until(daemon.ready)
            before = sh("ip route")
            cluster.config.write_text(CUT)
            label = hashlib.sha256(CUT.encode()).hexdigest()[:32]
            daemon.until(lambda: cluster.labels.get(ROLLED_BACK) == label, 40)
            daemon.until(lambda: cluster.word["conditions"]["RolledBack"]["status"] == "True")
            assert daemon.status["rollout"]["undone"] == hashlib.sha256(CUT.encode()).hexdigest()
            assert "cut this node off, and was undone" in plumbline("status").stdout
            assert sh("ip route") == before
            daemon.until(lambda: (cluster.api.get(f"{LEASES}/plumbline-rollout-0") or {})["spec"]["holderIdentity"] == "")
            tried = len(daemon.logged("content in force"))
            cluster.api.put(NODES, peer(4))
            daemon.until(lambda: {one["name"]: one["objects"] for one in daemon.status["watches"]}["nodes"] == 4)
            daemon.until(lambda: daemon.status["lastRound"]["triggers"] == ["cluster"])
            daemon.until(lambda: "was put in place and undone" in daemon.get("/readyz")[1])
            assert (sh("ip route"), len(daemon.logged("content in force"))) == (before, tried)
            daemon.end()
            cluster.api.put(NODES, peer(5))
            cluster.api.put(
                LEASES, {"metadata": {"name": "plumbline-rollout-0"}, "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 600}}
            )
            daemon = cluster.start()
            daemon.until(lambda: "was put in place and undone" in daemon.get("/readyz")[1])
            daemon.until(lambda: (cluster.api.get(f"{LEASES}/plumbline-rollout-0") or {})["spec"]["holderIdentity"] == "")
            assert daemon.status["spec"]["refusal"]["digest"] == hashlib.sha256(CUT.encode()).hexdigest()
            assert (sh("ip route"), list((tmp_path / "state/confirm").glob("armed.json"))) == (before, [])
            assert not any(line["digest"] == hashlib.sha256(CUT.encode()).hexdigest()[:12] for line in daemon.logged("content in force"))
            cluster.config.write_text(HEAD)
            daemon.until(daemon.ready)
            daemon.until(lambda: ROLLED_BACK not in cluster.labels)
        finally:
            daemon.end(signal.SIGKILL)
            cluster.api.stop()


def test_sigterm_is_quick_while_everything_hangs(cluster: Cluster) -> None:
    daemon = cluster.start()
    daemon.until(daemon.ready)
    cluster.api.slow.set()
    cluster.api.drop()
    daemon.end()  # fails after ten seconds; an answer would be waited for longer
    cluster.api.slow.clear()
    assert daemon.process.returncode == 0
