"""The DaemonSet's pod as the chart describes it, run by a real kubelet: all but the image's own files, which are this machine's."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.charts.manifests import ROOT, objects, template, the
from tests.containerd import image
from tests.faults.clustered import routed
from tests.kube import kubelet
from tests.kube.node import FEATURES, NETWORK, OTHERS, SERVICES, SYSTEM, Node, cluster, in_segment, node, plugin
from tests.namespaces import sh

__all__ = ["cluster", "node", "plugin"]
kubelet.binary()
pytestmark = pytest.mark.kernel
NAME = "plumbline-n1"
K3S = "/var/lib/rancher/k3s/agent/etc/cni/net.d"  # where it has the runtime look for the file; cleanup too
# Shared, as an init system leaves them: what is mounted for one pod is seen in others that ask for it.
MOUNTS = """\
mount --make-rshared / && mount -t bpf bpf /sys/fs/bpf
mkdir -p "$1" && mount --bind "$0/cni/net.d" "$1"
rm "$0/cni/bin/plumbline"
"""
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def pod(node: Node, *more: str) -> dict[str, Any]:
    """What the DaemonSet's controller would make, with what the API server's admission adds (the service account's token)."""
    folder = node.room.folder
    settings = (f'cluster.apiServers=["{node.api.url}"]', f'host.cniConfDir="{K3S}"', f'host.cniBinDir="{folder}/cni/bin"')
    made = the(objects(template(*FEATURES, *settings, *more)), "DaemonSet")["spec"]["template"]
    spec = made["spec"]
    token = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    volumes = {"kube-api-access": ({"projected": {"sources": token}}, ACCOUNT)}
    volumes |= {f"program-{number}": ({"hostPath": {"path": str(path)}}, str(path)) for number, path in enumerate(_programs())}
    spec["volumes"] += [{"name": name, **source} for name, (source, _) in volumes.items()]
    for container in (*spec["initContainers"], *spec["containers"]):
        container.setdefault("volumeMounts", []).extend(
            {"name": name, "mountPath": path, "readOnly": True} for name, (_, path) in volumes.items()
        )
    metadata = {**made["metadata"], "name": NAME, "namespace": "plumbline-system"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**spec, "nodeName": "n1"}}


def _programs() -> list[Path]:
    """Where Python, plumbline and the tools are."""
    found: list[Path] = []
    for one in map(Path, ("/usr", ROOT, sys.base_prefix, sys.prefix)):
        if not any(one.is_relative_to(above) for above in found):
            found.append(one)
    return found


class Daemons:
    """The pod of it, and the one ConfigMap."""

    def __init__(self, node: Node) -> None:
        self._node, room = node, node.room
        room.run("sh", "-euc", MOUNTS, str(room.folder), K3S)
        archive = room.folder / "plumbline.tar"
        image.write_hollow(
            archive, "docker.io/library/plumbline:0.1.0", [sys.executable, "-m", "reconciler.cli"],
            PATH="/usr/sbin:/usr/bin", PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1",
        )  # fmt: skip
        room.ctr("images", "import", str(archive))
        node.put(f"{SYSTEM}/configmaps", "kube-root-ca.crt", {"data": {"ca.crt": node.api.certificates.authority.read_text()}})

    def configure(self, text: str) -> str:
        """The digest of it."""
        self._node.put(f"{SYSTEM}/configmaps", "plumbline-network", {"data": {"network.yaml": text}})
        return hashlib.sha256(text.encode()).hexdigest()

    def create(self, *settings: str) -> None:
        made = pod(self._node, *settings)
        self._node.site.there(lambda: self._node.api.api.send("POST", f"{SYSTEM}/pods", made))

    def delete(self) -> None:
        """As a rolling update does: with all the time that it is given."""
        self._node.site.there(lambda: self._node.api.api.send("DELETE", f"{SYSTEM}/pods/{NAME}"))
        self._node.kubelet.until(lambda: not self._node.there(f"{SYSTEM}/pods/{NAME}"))

    def forget(self) -> None:
        """What a reboot takes of eBPF: pins, and what is attached."""
        self._node.room.run("sh", "-euc", "umount /sys/fs/bpf; mount -t bpf bpf /sys/fs/bpf")
        cgroup = str(self._node.room.cgroup)
        for one in json.loads(sh(f"bpftool -j cgroup show {cgroup}")):
            sh(f"bpftool cgroup detach {cgroup} {one['attach_type']} id {one['id']}")

    def ready(self) -> bool:
        """As the kubelet's probes find it."""
        conditions = self._node.there(f"{SYSTEM}/pods/{NAME}").get("status", {}).get("conditions", ())
        return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def test_the_pod_of_the_daemonset(node: Node) -> None:
    if not (ROOT / "reconciler/cni/plumbline").exists():
        pytest.skip("the CNI plugin is not built: make cni")
    daemons = Daemons(node)
    pins = node.room.run("ls", "/sys/fs/bpf").split()  # the kernel's own
    network = node.write(NETWORK.replace("{folder}/cni/net.d", K3S) + SERVICES, bpffs="/sys/fs/bpf")
    digest = daemons.configure(network)
    node.register()
    daemons.create()  # nothing has ever run on this node
    node.kubelet.until(lambda: node.ready() and daemons.ready())
    assert routed() == OTHERS
    node.put_pod("a", **in_segment("192.168.11.1/24"))
    node.kubelet.until(node.started("a"))
    assert "inet 192.168.11.1/24" in node.execute("a", "cat", "/saw")[1]
    node.kubelet.until(lambda: node.site.word.get("digest") == digest)

    digest = daemons.configure(f"{network}sysctls: {{net.ipv4.conf.all.send_redirects: 0}}\n")
    node.kubelet.until(lambda: node.site.word.get("digest") == digest and node.site.word["conditions"]["Ready"] == "True")
    assert sh("sysctl -n net.ipv4.conf.all.send_redirects") == "0\n"

    node.reboot("second")
    daemons.forget()
    assert routed() == []
    node.kubelet.start()
    node.kubelet.until(lambda: node.boot == "second" and node.started("a")() and node.ready())
    assert "inet 192.168.11.1/24" in node.execute("a", "cat", "/saw")[1]
    node.kubelet.until(daemons.ready)
    assert routed() == OTHERS

    daemons.delete()
    assert routed() == OTHERS, "the next one finds it"
    assert node.room.run("ls", "/sys/fs/bpf").split() != pins
    daemons.create("uninstall.cleanup=true")
    node.kubelet.until(daemons.ready)
    assert routed() == []
    assert "plumb0" not in sh("ip link")
    assert node.room.run("ls", "/sys/fs/bpf").split() == pins
    node.kubelet.until(lambda: not node.ready())
