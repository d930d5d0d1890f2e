"""Node n1 of the real API server: its kubelet, its runtime, its daemons; n2 and n3 are known by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reconciler.cluster.publisher import NODE_NETWORKS
from tests.charts.manifests import objects, template
from tests.containerd import image, room
from tests.containerd.conftest import plugin
from tests.daemon.process import Daemon
from tests.faults.clustered import NODES, peer
from tests.kube import kubelet
from tests.kube.kubelet import Kubelet
from tests.kube.real import RealApi
from tests.kube.site import Site
from tests.namespaces import sh

__all__ = ["plugin"]
CIDRS = ["10.244.1.0/24", "fd00:244:0:1::/64"]
OTHERS = ["10.244.2.0/24", "10.244.3.0/24"]
PODS = "/api/v1/namespaces/media/pods"
SYSTEM = "/api/v1/namespaces/plumbline-system"
FEATURES = ("features.segments=true", "features.cniPlugin=true", "features.services=true")
NETWORK = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
fabric: {{podNetwork: [10.244.0.0/16, "fd00:244::/48"]}}
cni: {{chained: true, wait: 10s, confDir: {folder}/cni/net.d, binDir: {folder}/cni/bin}}
segments:
  vx1: {{vni: 101, allow: {{namespaces: [media]}}}}
"""
SERVICES = "services: {{nodePort: none, bpffs: {bpffs}, cgroup: {cgroup}}}\n"
SAW = "ip -o addr > /saw; echo hello from $HOSTNAME > /index.html; exec httpd -f -p 8080 -h /"


def peers(number: int) -> dict[str, Any]:
    """Another node, with both families."""
    made = peer(number)
    made["spec"]["podCIDRs"].append(f"fd00:244:0:{number}::/64")
    made["status"]["addresses"].insert(1, {"type": "InternalIP", "address": f"fd00:{number}::1{number}"})
    return made


def in_segment(address: str) -> dict[str, str]:
    return {"plumbline.dev/segments": json.dumps({"vx1": {"ip": [address]}})}


def pod(command: str = SAW, restart: str = "Always", **annotations: str) -> dict[str, Any]:
    container = {"name": "main", "image": image.NAME, "imagePullPolicy": "Never", "command": ["sh", "-c", command]}
    spec = {
        "nodeName": "n1",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": 1,
    }
    return {"metadata": {"annotations": annotations}, "spec": {**spec, "containers": [container]}}


class Node:
    """n1: its kubelet, its runtime, its daemons."""

    def __init__(self, site: Site, room_: room.Room, machine: Kubelet, ends: ExitStack) -> None:
        self.site, self.room, self.kubelet, self._ends, self.api = site, room_, machine, ends, site.cluster
        self.admin, self._token = site.kubeconfig("admin", self.api.token), ""
        self.facts = site.folder / "nodes.json"
        self._past = set[str]()  # containers of the boot before, which the API tells of until the kubelet has spoken
        self.write(NETWORK)

    def write(self, network: str, bpffs: str = "") -> str:
        """network.yaml; its text."""
        folder = self.room.folder
        text = network.format(folder=folder, cgroup=self.room.cgroup, bpffs=bpffs or folder / "bpf")
        (self.site.folder / "network.yaml").write_text(text)
        return text

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

    def put_pod(self, name: str, command: str = SAW, restart: str = "Always", **annotations: str) -> None:
        self.put(PODS, name, pod(command, restart, **annotations))

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
        self.room.cut_power()
        for daemon in self.site.daemons:
            daemon.process.wait(timeout=20)
        self.kubelet.stop()
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
def cluster(real: RealApi) -> Iterator[RealApi]:
    """The real one alone."""
    yield real
    real.start()  # where a test failed while it was down


@pytest.fixture
def node(
    cluster: RealApi, outside: ThreadPoolExecutor, netns: str, tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Node]:
    monkeypatch.setenv("POD_NAMESPACE", "plumbline-system")
    with room.made(tmp_path / "room", netns, plugin) as made, ExitStack() as ends:
        site = Site(cluster, outside, tmp_path)
        ends.callback(site.close)
        sh("ip addr add fd00:1::11/64 dev eth0 nodad")
        for path in (f"{SYSTEM}/pods", PODS):  # what other tests have left
            for one in site.there(lambda path=path: cluster.things(path)):
                site.there(lambda path=path, one=one: cluster.delete(f"{path}/{one['metadata']['name']}"))
        rights = [one for one in objects(template(*FEATURES)) if "Role" in one["kind"]]
        site.there(lambda: cluster.install(rights))
        for number in (2, 3):
            site.put(peers(number))
        site.there(lambda: cluster.put("/api/v1/namespaces", {"metadata": {"name": "media"}}))
        machine = Kubelet(kubelet.binary(), made, site.kubeconfig("kubelet", cluster.kubelet), "--node-ip=10.0.1.11,fd00:1::11")
        ends.callback(machine.stop)
        yield Node(site, made, machine, ends)
