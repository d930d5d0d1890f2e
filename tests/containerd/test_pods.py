"""Pods that containerd and runc run: their segments, the services that they reach, and what stays of them."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.configmap import ConfigMap
from tests.containerd import image, needs
from tests.containerd.cri import Cri, Refused, Sandbox
from tests.containerd.room import Room
from tests.daemon.process import Daemon
from tests.namespaces import sh

needs.skip_where_it_cannot_run()
pytestmark = pytest.mark.kernel
CLUSTER_IP = "10.96.0.10"
NETWORK = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes:
  n1: {{address: 10.0.1.11/24, podCIDRs: [10.244.1.0/24]}}
  n2: {{address: 10.0.1.12/24, podCIDRs: [10.244.2.0/24]}}
fabric: {{podNetwork: [10.244.0.0/16], mode: direct}}
cni: {{chained: true, wait: 10s, confDir: {folder}/cni/net.d, binDir: {folder}/cni/bin}}
segments:
  vx1: {{vni: 101, allow: {{namespaces: [media]}}}}
services: {{nodePort: none, bpffs: {folder}/bpf, cgroup: {cgroup}}}
"""
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "shop", "namespace": "media"},
    "spec": {"clusterIP": CLUSTER_IP, "clusterIPs": [CLUSTER_IP], "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
}
FOUND = "import json; from reconciler.kernel.pods import Runtime; print(json.dumps(Runtime().every()))"
SERVES = "ip -o addr show dev vx1 > /first 2>&1; echo hello from $HOSTNAME > /index.html; exec httpd -f -p 8080 -h /"


def pod(name: str, address: str, runs: str = "") -> dict[str, Any]:
    """As the API tells of it before it runs, and when it `runs` at an address of the pod network."""
    notes = {"plumbline.dev/segments": json.dumps({"vx1": {"ip": [address]}})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "media", "uid": f"uid-{name}", "annotations": notes},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIP": runs, "podIPs": [{"ip": runs}]} if runs else {"phase": "Pending"},
    }


IN_SEGMENT = {"a": "192.168.11.1/24", "b": "192.168.11.2/24"}


def endpoints(*addresses: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "shop-1", "namespace": "media", "labels": {"kubernetes.io/service-name": "shop"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [one], "nodeName": "n1", "conditions": {"ready": True}} for one in addresses],
    }


class Node:
    """The room's daemons."""

    def __init__(self, room: Room, folder: Path) -> None:
        self.room, self._folder = room, folder
        self._manifests = folder / "manifests.json"
        self._config = ConfigMap(folder / "config")
        self._config.swap(network=NETWORK.format(folder=room.folder, cgroup=room.cgroup))
        self.knows(*(pod(name, address) for name, address in IN_SEGMENT.items()), SERVICE, endpoints())

    def knows(self, *objects: dict[str, Any]) -> None:
        """What the API tells."""
        new = self._manifests.with_suffix(".new")
        new.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": objects}))
        new.rename(self._manifests)

    def start(self, name: str) -> Sandbox:
        """A pod of this name. Raises Refused."""
        return self.room.cri.run("media", name, f"uid-{name}", self.room.pods)

    @contextmanager
    def daemon(self, state: str) -> Iterator[Daemon]:
        started = Daemon(
            self._folder / f"log-{state}", self._config.folder, self._folder / state, self._manifests,
            before=self.room.before, options=("--verbose", "--resync", "3"),
        )  # fmt: skip
        try:
            yield started
        finally:
            if started.process.poll() is None:
                started.end(signal.SIGTERM)


def found_by_runtime(room: Room) -> list[str]:
    """The namespaces that plumbline finds by what containerd keeps, in the place where it keeps it on any node."""
    said: list[str] = json.loads(room.run(sys.executable, "-c", FOUND))
    return said


def inside(room: Room, netns: str, *words: str) -> str:
    """What a command prints in a pod's namespace."""
    return room.run("nsenter", f"--net=/run/netns/{netns}", *words)


def reaches(cri: Cri, container: str, address: str) -> bool:
    return cri.execute(container, "ping", "-c", "1", "-W", "5", address)[0] == 0


def nothing_is_left(room: Room) -> None:
    assert (room.cri.every(), room.ctr("containers", "ls", "-q"), room.ctr("tasks", "ls", "-q")) == ([], "", "")
    assert room.run("ls", "/run/netns") == ""
    assert found_by_runtime(room) == []
    assert room.pod_cgroups() == []
    assert re.findall(r"10\.244\..*", room.run("ls", "/var/lib/cni/networks/plumbline")) == [], "addresses of pods"
    assert not on_bridge()


def on_bridge() -> list[Any]:
    """The node's ends of its pods."""
    return [one for one in json.loads(sh("ip -j link")) if one.get("master") == "cni0"]


def test_pods_with_segments_and_services_from_start_to_end(its_room: Room, tmp_path: Path) -> None:
    node, cri = Node(its_room, tmp_path), its_room.cri
    with node.daemon("first") as daemon:
        daemon.until(lambda: cri.ready() and daemon.ready())
        a, b = (node.start(name) for name in ("a", "b"))
        asks, serves = (cri.start(one, image.NAME, "sh", "-c", SERVES) for one in (a, b))
        for container, own, other in ((asks, "192.168.11.1", "192.168.11.2"), (serves, "192.168.11.2", "192.168.11.1")):
            assert f"inet {own}/24" in cri.execute(container, "cat", "/first")[1], "it is there at the container's first command"
            assert reaches(cri, container, other)

        url = f"http://{CLUSTER_IP}/"
        refused, said = cri.execute(asks, "wget", "-q", "-O", "-", url)
        assert refused, "nobody serves it yet"
        assert "refused" in said
        running = [pod(name, IN_SEGMENT[name], cri.address(one)) for name, one in (("a", a), ("b", b))]
        node.knows(*running, SERVICE, endpoints(cri.address(b)))
        daemon.until(lambda: cri.execute(asks, "wget", "-q", "-O", "-", url) == (0, "hello from b\n"))
        assert CLUSTER_IP not in sh("nft list ruleset; ip addr; ip route"), "it is led at the socket, and by nothing else"

    found = found_by_runtime(its_room)
    assert len(found) == 2
    for name in found:
        inside(its_room, name, "ip", "link", "del", "vx1")
    with node.daemon("second") as daemon:  # without what the plugin was told: by what containerd has written alone
        daemon.until(lambda: reaches(cri, asks, "192.168.11.2"))
        inside(its_room, found[0], "ip", "link", "del", "vx1")
        daemon.until(lambda: "192.168.11" in inside(its_room, found[0], "ip", "addr", "show"))
        # it has a new MAC address, which the other pod learns as soon as this one speaks: so both do
        daemon.until(lambda: all([reaches(cri, asks, "192.168.11.2"), reaches(cri, serves, "192.168.11.1")]), seconds=30)

        assert len(on_bridge()) == 2
        for one in (a, b):
            cri.stop(one)
        daemon.until(lambda: not on_bridge())  # gone with the namespaces: nobody holds one
        rounds = len(daemon.logged("round"))
        node.knows(SERVICE, endpoints())
        daemon.until(lambda: len(daemon.logged("round")) > rounds and daemon.ready())
    nothing_is_left(its_room)


def test_pods_end_while_no_daemon_runs_and_start_once_one_does(its_room: Room, tmp_path: Path) -> None:
    node, cri = Node(its_room, tmp_path), its_room.cri
    with node.daemon("state") as daemon:
        daemon.until(lambda: cri.ready() and daemon.ready())
        a = node.start("a")
        daemon.end(signal.SIGKILL)
    cri.stop(a)
    nothing_is_left(its_room)
    with pytest.raises(Refused, match="no plumbline daemon answers on this node"):
        node.start("b")
    nothing_is_left(its_room)  # a kubelet tries again, with a sandbox of another id
    with node.daemon("state") as daemon:
        asks = cri.start(node.start("b"), image.NAME)
        assert "inet 192.168.11.2/24" in cri.execute(asks, "ip", "addr", "show", "dev", "vx1")[1]
        daemon.until(daemon.ready)  # what it remembers of the pod that has gone does not hold it up


def test_the_runtime_has_no_network_before_a_round_has_converged(its_room: Room, tmp_path: Path) -> None:
    """Which is what the kubelet makes the node's condition Ready of."""
    node, cri = Node(its_room, tmp_path), its_room.cri
    theirs = "10.244.2.0/24 via 10.0.1.99"
    assert not cri.ready()
    for boot in ("first", "second"):
        sh(f"ip route replace {theirs}")  # in the place of ours: while it is there no round converges
        with node.daemon("state") as daemon:
            daemon.until(lambda: bool(daemon.status["conflicts"]) and not cri.ready())
            with pytest.raises(Refused, match="cni"):
                node.start("a")
            assert not daemon.status["converged"], boot
            sh(f"ip route del {theirs}")
            daemon.until(cri.ready)
            assert daemon.status["converged"]
            cri.stop(node.start("a"))
        (tmp_path / "state/settled").write_text("another boot\n")
        assert cri.ready(), "the file of the boot before says so, until a daemon is there"
