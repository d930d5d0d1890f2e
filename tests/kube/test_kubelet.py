"""A node as a real kubelet has it: not ready before plumbline, pods with their segments, a reboot."""

from __future__ import annotations

import json
import re
import signal
import sys
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from reconciler.cluster.publisher import NODE_NETWORKS
from tests.daemon.process import plumbline
from tests.faults.clustered import NODES, routed
from tests.kube import kubelet
from tests.kube.node import CIDRS, NETWORK, OTHERS, PODS, SERVICES, Node, cluster, in_segment, node, plugin, pod
from tests.namespaces import sh

__all__ = ["cluster", "node", "plugin"]
kubelet.binary()
pytestmark = pytest.mark.kernel
TAINT = "plumbline.dev/not-ready"
MEDIA = "/api/v1/namespaces/media"
ENDPOINTS = "/apis/discovery.k8s.io/v1/namespaces/media/endpointslices"
IN_SEGMENT = {"a": "192.168.11.1/24", "b": "192.168.11.2/24"}
THEIRS = "10.244.2.0/24 via 10.0.1.99"


def endpoints(address: str) -> dict[str, Any]:
    return {
        "kind": "EndpointSlice",
        "metadata": {"labels": {"kubernetes.io/service-name": "shop"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "nodeName": "n1", "conditions": {"ready": True}}],
    }


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


def test_pods_that_end_by_themselves_and_pods_of_the_node_itself(node: Node) -> None:
    node.register()
    node.put_pod("done", "ip -o addr | grep -q 192.168.11.1", "Never", **in_segment("192.168.11.1/24"))
    static = pod(**in_segment("192.168.11.2/24"))
    static["metadata"] |= {"name": "static", "namespace": "media"}  # its mirror at the API is static-n1, with another uid
    (node.room.folder / "static.json").write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", **static}))
    (node.room.folder / "static.json").rename(node.kubelet.static / "static.json")  # whole
    daemon = node.daemon()
    node.kubelet.until(node.started("static-n1"))
    assert "inet 192.168.11.2/24" in node.execute("static-n1", "cat", "/saw")[1]
    node.kubelet.until(lambda: node.there(f"{PODS}/done")["status"]["phase"] == "Succeeded")
    node.kubelet.until(lambda: len(node.room.run("ls", "/run/netns").split()) == 1)
    rounds = daemon.status["rounds"]
    daemon.until(lambda: daemon.status["rounds"] > rounds + 1 and daemon.ready(), 30)

    (node.kubelet.static / "static.json").unlink()
    node.kubelet.until(lambda: not node.there(f"{PODS}/static-n1") and node.room.run("ls", "/run/netns") == "")
    daemon.until(daemon.ready)


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
