"""A node as a real kubelet has it: not ready before plumbline, pods with their segments, a reboot."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from reconciler.cluster.publisher import NODE_NETWORKS
from tests.charts.manifests import objects, template
from tests.containerd import image, room
from tests.containerd.conftest import plugin
from tests.daemon.process import Daemon, plumbline
from tests.faults.clustered import NODES, peer, routed
from tests.kube import kubelet
from tests.kube.kubelet import Kubelet
from tests.kube.real import RealApi
from tests.kube.site import Site
from tests.namespaces import sh

__all__ = ["plugin"]
BINARY = kubelet.binary()
pytestmark = pytest.mark.kernel
TAINT = "plumbline.dev/not-ready"
MEDIA = "/api/v1/namespaces/media"
ENDPOINTS = "/apis/discovery.k8s.io/v1/namespaces/media/endpointslices"
IN_SEGMENT = {"a": "192.168.11.1/24", "b": "192.168.11.2/24"}
CIDRS = ["10.244.1.0/24", "fd00:244:0:1::/64"]
PODS = "/api/v1/namespaces/media/pods"
NETWORK = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
fabric: {{podNetwork: [10.244.0.0/16, "fd00:244::/48"]}}
cni: {{chained: true, wait: 10s, confDir: {folder}/cni/net.d, binDir: {folder}/cni/bin}}
segments:
  vx1: {{vni: 101, allow: {{namespaces: [media]}}}}
"""
FEATURES = ("features.segments=true", "features.cniPlugin=true", "features.services=true")
SERVICES = "services: {{nodePort: none, bpffs: {folder}/bpf, cgroup: {cgroup}}}\n"
OTHERS = ["10.244.2.0/24", "10.244.3.0/24"]
THEIRS = "10.244.2.0/24 via 10.0.1.99"
EMPTY = "umount -l /run; mount -t tmpfs run /run; mkdir /run/netns"
SAW = "ip -o addr > /saw; echo hello from $HOSTNAME > /index.html; exec httpd -f -p 8080 -h /"


def peers(number: int) -> dict[str, Any]:
    """Another node, with both families."""
    made = peer(number)
    made["spec"]["podCIDRs"].append(f"fd00:244:0:{number}::/64")
    made["status"]["addresses"].insert(1, {"type": "InternalIP", "address": f"fd00:{number}::1{number}"})
    return made


def in_segment(address: str) -> dict[str, str]:
    return {"plumbline.dev/segments": json.dumps({"vx1": {"ip": [address]}})}


def endpoints(address: str) -> dict[str, Any]:
    return {
        "kind": "EndpointSlice",
        "metadata": {"labels": {"kubernetes.io/service-name": "shop"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "nodeName": "n1", "conditions": {"ready": True}}],
    }


class Node:
    """n1: its kubelet, its runtime, its daemons."""

    def __init__(self, site: Site, room_: room.Room, machine: Kubelet, ends: ExitStack) -> None:
        self.site, self.room, self.kubelet, self._ends, self.api = site, room_, machine, ends, site.cluster
        self.admin, self._token = site.kubeconfig("admin", self.api.token), ""
        self.facts = site.folder / "nodes.json"
        self._past = set[str]()  # containers of the boot before, which the API tells of until the kubelet has spoken
        self.write(NETWORK)

    def write(self, network: str) -> None:
        (self.site.folder / "network.yaml").write_text(network.format(folder=self.room.folder, cgroup=self.room.cgroup))

    # -- at the API ------------------------------------------------------------------------------

    def there(self, path: str) -> dict[str, Any]:
        """An object of the API; empty where there is none."""
        return self.site.there(lambda: self.api.get(path)) or {}

    def put(self, path: str, name: str, thing: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self.site.there(
            lambda: self.api.put(path, {**thing, "metadata": {**thing.get("metadata", {}), "name": name}})
        )
        return made

    @property
    def object(self) -> dict[str, Any]:
        """The Node."""
        return self.there(f"{NODES}/n1")

    @property
    def condition(self) -> tuple[str, str]:
        """The Node's Ready: status and message."""
        for one in self.object.get("status", {}).get("conditions", ()):
            if one["type"] == "Ready":
                return one["status"], one["message"]
        return "", ""

    def ready(self) -> bool:
        return self.condition[0] == "True"

    @property
    def taints(self) -> list[str]:
        """Their keys."""
        return [one["key"] for one in self.object["spec"].get("taints", ())]

    @property
    def boot(self) -> str:
        """The boot's id, as the kubelet tells it."""
        return str(self.object["status"]["nodeInfo"]["bootID"])

    @property
    def owner(self) -> str:
        """The uid of the Node that the NodeNetwork goes with."""
        owners = self.there(f"{NODE_NETWORKS}/n1").get("metadata", {}).get("ownerReferences", ())
        return str(owners[0]["uid"]) if owners else ""

    def put_pod(self, name: str, command: str = SAW, **annotations: str) -> None:
        container = {"name": "main", "image": image.NAME, "imagePullPolicy": "Never", "command": ["sh", "-c", command]}
        spec = {"nodeName": "n1", "automountServiceAccountToken": False, "enableServiceLinks": False, "containers": [container]}
        self.put(PODS, name, {"metadata": {"annotations": annotations}, "spec": spec})

    def delete_pod(self, name: str) -> None:
        """It is gone from the API once the kubelet has taken all of it away."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 1}
        self.site.there(lambda: self.api.api.send("DELETE", f"{PODS}/{name}", options))

    # -- on the machine --------------------------------------------------------------------------

    def register(self) -> None:
        """The kubelet makes the Node, and a controller manager would give it its pod CIDRs."""
        self.kubelet.start()
        self.kubelet.until(lambda: bool(self.condition[0]))
        self.put(NODES, "n1", {"spec": {"podCIDR": CIDRS[0], "podCIDRs": CIDRS}})

    def daemon(self) -> Daemon:
        self._token = self._token or self.site.there(lambda: self.api.daemon("n1", image.NAME))
        return self.site.start(self._token, "--resync", "3", before=self.room.before)

    def reboot(self, boot: str) -> None:
        """What was in memory is gone; nothing but the runtime is there yet."""
        self._past |= set(self.room.cri.every())
        (self.room.cgroup / "node/cgroup.kill").write_text("1")
        for daemon in self.site.daemons:
            daemon.process.wait(timeout=20)
        self.kubelet.stop()
        self.room.run("sh", "-euc", EMPTY)
        sh("ip link del plumb0; ip link del cni0; ip route flush proto 94; ip -6 route flush proto 94; nft flush ruleset")
        self.kubelet.boot(boot)
        self._ends.enter_context(room.containerd(self.room))

    def container(self, name: str) -> str:
        """The id of a pod's container, once it runs; else empty."""
        for one in self.there(f"{PODS}/{name}").get("status", {}).get("containerStatuses", ()):
            known = str(one["containerID"]).removeprefix("containerd://") if "running" in one["state"] else ""
            if known not in self._past:
                return known
        return ""

    def started(self, *names: str) -> Callable[[], bool]:
        return lambda: all(self.container(name) for name in names)

    def addresses(self, name: str) -> list[str]:
        return [one["ip"] for one in self.there(f"{PODS}/{name}")["status"]["podIPs"]]

    def execute(self, name: str, *words: str) -> tuple[int, str]:
        return self.room.cri.execute(self.container(name), *words)


@pytest.fixture
def cluster(real: RealApi) -> RealApi:
    return real


@pytest.fixture
def node(
    cluster: RealApi, outside: ThreadPoolExecutor, netns: str, tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Node]:
    monkeypatch.setenv("POD_NAMESPACE", "plumbline-system")
    with room.made(tmp_path / "room", netns, plugin) as made, ExitStack() as ends:
        site = Site(cluster, outside, tmp_path)
        ends.callback(site.close)
        sh("ip addr add fd00:1::11/64 dev eth0 nodad")
        for path in ("/api/v1/namespaces/plumbline-system/pods", PODS):  # what other tests have left
            for one in site.there(lambda path=path: cluster.things(path)):
                site.there(lambda path=path, one=one: cluster.delete(f"{path}/{one['metadata']['name']}"))
        rights = [one for one in objects(template(*FEATURES)) if "Role" in one["kind"]]
        site.there(lambda: cluster.install(rights))
        for number in (2, 3):
            site.put(peers(number))
        site.there(lambda: cluster.put("/api/v1/namespaces", {"metadata": {"name": "media"}}))
        machine = Kubelet(BINARY, made, site.kubeconfig("kubelet", cluster.kubelet), "--node-ip=10.0.1.11,fd00:1::11")
        ends.callback(machine.stop)
        yield Node(site, made, machine, ends)


def test_a_node_is_ready_once_plumbline_has_converged(node: Node) -> None:
    node.register()
    node.kubelet.until(lambda: "cni plugin not initialized" in node.condition[1])
    assert node.condition[0] == "False"
    assert "NetworkReady=false" in node.condition[1]
    assert TAINT in node.taints

    daemon = node.daemon()
    node.kubelet.until(node.ready)
    daemon.until(daemon.ready, 30)
    assert routed() == OTHERS
    waits = ("wait", "--digest", daemon.status["spec"]["digest"], "--node", "n1", "--timeout", "30s", "--kubeconfig", str(node.admin))
    assert node.room.run(sys.executable, "-m", "reconciler.cli", *waits)
    node.put(NODES, "n1", {"spec": {"taints": []}})  # as the page says: kubectl taint node n1 plumbline.dev/not-ready-
    assert TAINT not in node.taints

    addresses = [one["address"] for one in node.object["status"]["addresses"] if one["type"] == "InternalIP"]
    assert addresses == ["10.0.1.11", "fd00:1::11"], "as the kubelet says them"
    assert "local 10.0.1.11" in sh("ip -d link show plumb0")
    node.facts.write_text(json.dumps({"kind": "List", "items": [node.object, node.there(f"{NODES}/n2")]}))
    words = ("plan", str(node.site.folder / "network.yaml"), "--facts", str(node.facts), "--all")
    told = plumbline(*words).stdout
    for line in ("dst 10.0.1.11", "route add 10.244.1.0/24", "route add fd00:244:0:1::/64"):
        assert line in told, "what another node makes of it"

    assert node.owner == node.object["metadata"]["uid"]
    for path in (f"{NODES}/n1", f"{NODE_NETWORKS}/n1"):  # with a Node goes what it owns: a controller manager sees to that
        node.site.there(lambda path=path: node.api.delete(path))
    daemon.end()  # and what runs on it
    node.kubelet.stop()
    node.register()
    assert TAINT in node.taints, "one that is made anew is a new one"
    daemon = node.daemon()
    daemon.until(lambda: node.owner == node.object["metadata"]["uid"], 30)
    node.kubelet.until(node.ready)


def test_pods_have_their_segments_and_reach_services(node: Node) -> None:
    node.write(NETWORK + SERVICES)
    node.register()
    for name, address in IN_SEGMENT.items():
        node.put_pod(name, **in_segment(address))
    node.put_pod("plain")
    daemon = node.daemon()
    node.kubelet.until(node.started("a", "b", "plain"))
    for name, own, other in (("a", "192.168.11.1", "192.168.11.2"), ("b", "192.168.11.2", "192.168.11.1")):
        assert f"inet {own}/24" in node.execute(name, "cat", "/saw")[1], "it is there at the container's first command"
        assert node.execute(name, "ping", "-c", "1", "-W", "5", other)[0] == 0
    saw, addresses = node.execute("plain", "cat", "/saw")[1], node.addresses("plain")
    assert "192.168.11" not in saw
    assert [ip_address(one) in ip_network(cidr) for one, cidr in zip(addresses, CIDRS, strict=True)] == [True, True]
    assert all(f" {one}/" in saw for one in addresses)

    made = node.put(f"{MEDIA}/services", "shop", {"kind": "Service", "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
    node.put(ENDPOINTS, "shop-1", endpoints(addresses[0]))
    asks = ("wget", "-q", "-O", "-", f"http://{made['spec']['clusterIP']}/")
    daemon.until(lambda: node.execute("a", *asks) == (0, "hello from plain\n"))

    daemon.end(signal.SIGKILL)
    for name in ("a", "plain"):
        node.delete_pod(name)
    node.kubelet.until(lambda: not any(node.there(f"{PODS}/{name}") for name in ("a", "plain")))
    assert len(node.room.run("ls", "/run/netns").split()) == 1, "of b"
    left = re.findall(r"10\.244\..*", node.room.run("ls", "/var/lib/cni/networks/plumbline"))
    assert left == node.addresses("b")[:1]


def test_a_reboot_with_the_kubelet_first_and_one_with_the_api_last(node: Node) -> None:
    node.register()
    node.put_pod("a", **in_segment(IN_SEGMENT["a"]))
    node.daemon()
    node.kubelet.until(lambda: node.started("a")() and node.ready())

    node.reboot("second")
    node.room.run("rm", f"{node.room.folder}/cni/net.d/10-plumbline.conflist")  # as docs/cni.md has systemd-tmpfiles do it
    sh(f"ip route add {THEIRS}")  # in the place of ours: while it is there no round converges
    node.kubelet.start()
    node.kubelet.until(lambda: node.boot == "second" and "cni plugin not initialized" in node.condition[1])
    daemon = node.daemon()
    daemon.until(lambda: bool(daemon.status["conflicts"]))
    rounds = daemon.status["rounds"]
    daemon.until(lambda: daemon.status["rounds"] > rounds)
    assert not node.room.cri.ready()
    assert not node.started("a")()
    sh(f"ip route del {THEIRS}")
    node.kubelet.until(lambda: node.ready() and node.started("a")())
    assert "inet 192.168.11.1/24" in node.execute("a", "cat", "/saw")[1]

    node.site.there(node.api.stop)
    node.reboot("third")
    assert node.room.cri.ready(), "the file of the boot before says so, until a daemon is there"
    sh(f"ip route add {THEIRS}")
    node.kubelet.start()
    daemon = node.daemon()
    daemon.until(lambda: not node.room.cri.ready(), 30)
    sh(f"ip route del {THEIRS}")
    daemon.until(node.room.cri.ready, 30)
    assert routed() == OTHERS
    assert daemon.status["spec"]["source"] == "disk", "of what it kept"
    node.site.there(node.api.start)
    node.kubelet.until(lambda: node.boot == "third" and node.ready() and node.started("a")(), 90)
    assert "inet 192.168.11.1/24" in node.execute("a", "cat", "/saw")[1]
    daemon.until(daemon.ready, 90)
