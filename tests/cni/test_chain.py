"""The daemon and the plugin behind Debian's bridge, host-local and portmap, called as a runtime calls them, with packets."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.configmap import ConfigMap
from tests.cni.runtime import Failed, Runtime, Said, call, why_no_reference
from tests.daemon.process import Daemon
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
_numbers = itertools.count()
NETWORK = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes:
  n1: {address: 10.0.1.11/24, podCIDRs: [10.244.1.0/24]}
  n2: {address: 10.0.1.12/24, podCIDRs: [10.244.2.0/24]}
fabric: {podNetwork: [10.244.0.0/16], mode: direct}
cni: {chained: true, wait: WAIT, cniVersion: VERSION}
segments:
  vx1: {vni: 101, allow: {namespaces: [media]}}
"""


def pod(name: str, segments: dict[str, Any] | None = None, namespace: str = "media", uid: str = "", **status: Any) -> dict[str, Any]:
    """As the API tells of it before it has an address."""
    notes = {"plumbline.dev/segments": json.dumps(segments)} if segments is not None else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}", "annotations": notes},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Pending", **status},
    }


A = pod("a", {"vx1": {"ip": ["192.168.11.1/24"]}})
B = pod("b", {"vx1": {"ip": ["192.168.11.2/24"]}})
PLAIN = pod("plain")


class Node:
    """One node: its daemon, its runtime, its pods' namespaces."""

    def __init__(self, tmp_path: Path, short: Path, plugin: Path, start: Callable[..., Daemon]) -> None:
        self.root, self.socket, self.pods_file = tmp_path / "root", short / "cni.sock", tmp_path / "pods.yaml"
        self.conflist = self.root / "etc/cni/net.d/10-plumbline.conflist"
        self.conflist.parent.mkdir(parents=True)
        (data := tmp_path / "lib").mkdir()
        self.runtime = Runtime(self.conflist, plugin, self.socket, data)
        self.config = ConfigMap(tmp_path / "config")
        self.state = tmp_path / "state"
        self._start, self._tmp, self._namespaces = start, tmp_path, list[str]()
        self.knows(PLAIN)
        self.says()

    def says(self, wait: str = "10s", version: str = "1.0.0", **other: str) -> None:
        text = NETWORK.replace("WAIT", wait).replace("VERSION", version)
        for old, new in other.items():
            text = text.replace(old, new)
        self.config.swap(network=text)

    def knows(self, *pods: dict[str, Any]) -> None:
        """What the API has told of pods."""
        new = self.pods_file.with_suffix(".new")
        new.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": pods}))
        new.rename(self.pods_file)

    def start(self, *options: str) -> Daemon:
        return self._start(self, *options)

    def up(self) -> bool:
        """Whether the runtime finds a network, and the plugin a daemon."""
        return self.conflist.exists() and self.socket.exists()

    def namespace(self) -> str:
        """Of a pod that is about to start."""
        name = f"plt-cni-{os.getpid()}-{next(_numbers)}"
        sh(f"ip netns add {name} && ip -n {name} link set lo up")
        self._namespaces.append(name)
        return name

    def close(self) -> None:
        for name in self._namespaces:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.fixture
def node(netns: str, tmp_path: Path, short: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    if why_no_reference():
        pytest.skip(why_no_reference())
    sh("ip link add eth0 type veth peer name wire && ip link set eth0 up && ip link set wire up && ip addr add 10.0.1.11/24 dev eth0")
    sh("ip route add default via 10.0.1.1")
    monkeypatch.setenv("PLUMBLINE_CNI_SOCKET", str(short / "cni.sock"))
    started: list[Daemon] = []

    def start(node: Node, *options: str) -> Daemon:
        log = tmp_path / f"log-{len(started)}"
        started.append(
            Daemon(log, node.config.folder, node.state, node.pods_file, options=("--root", str(node.root), "--verbose", *options))
        )
        return started[-1]

    made = Node(tmp_path, short, plugin, start)
    try:
        yield made
    finally:
        for daemon in started:
            if daemon.process.poll() is None:
                daemon.end(signal.SIGKILL)
        made.close()


def ping(netns: str, address: str) -> None:
    sh(f"ip netns exec {netns} ping -c 1 -W 5 {address}")


def background(call: Callable[[], Any]) -> Callable[[], Any]:
    """Runs it in a thread, in this one's namespace; the call returned waits for it and gives what it gave, or raised."""
    done: list[Any] = []

    def work() -> None:
        try:
            done.append(call())
        except Failed as failed:
            done.append(failed)

    thread = threading.Thread(target=work)
    thread.start()

    def result() -> Any:
        thread.join(timeout=60)
        assert not thread.is_alive()
        if isinstance(done[0], Failed):
            raise done[0]
        return done[0]

    return result


def test_pods_have_their_segments_when_add_has_returned(node: Node) -> None:
    """Two at once, before the API tells an address of either; then the way back, twice."""
    node.knows(A, B, PLAIN)
    daemon = node.start()
    daemon.until(node.up)
    assert node.runtime.ours("STATUS") == (0, "")
    a, b, plain = node.namespace(), node.namespace(), node.namespace()
    adding = [background(lambda name=name, netns=netns: node.runtime.add(f"media/{name}", netns)) for name, netns in (("a", a), ("b", b))]  # type: ignore[misc]
    results = [one() for one in adding]
    later = a if any("192.168.11.1" in line for line in sh(f"ip -n {a} -o addr").splitlines()) else b
    assert later == a
    ping(a, "192.168.11.2")
    ping(b, "192.168.11.1")
    for result, netns in zip(results, (a, b), strict=True):
        assert result["cniVersion"] == "1.0.0"
        assert result["ips"][0]["address"].split("/")[0] in sh(f"ip -n {netns} addr show eth0"), "what the bridge plugin said came through"
    rounds = daemon.status["rounds"]
    node.runtime.add("media/plain", plain)
    assert "vx1" not in sh(f"ip -n {plain} link")
    assert not [line for line in daemon.logged("round") if line["triggers"] == "cni"][2:], "a pod without segments costs no round"
    node.runtime.check("media/a", a)
    sh(f"ip -n {a} link del vx1")
    node.runtime.check("media/a", a)
    ping(a, "192.168.11.2")
    assert daemon.status["rounds"] > rounds

    for _ in range(2):
        assert node.runtime.ours("DEL", "media/a", a) == (0, "")
    daemon.until(lambda: "vx1" not in sh(f"ip -n {a} link"))
    assert "eth0" in sh(f"ip -n {a} link"), "the other plugins' work is theirs to undo"
    for _ in range(2):
        node.runtime.delete("media/a", a)
    assert "vx1" in sh(f"ip -n {b} link")


def rounds(daemon: Daemon, trigger: str) -> int:
    """How many were asked for by this."""
    return sum(trigger in str(line["triggers"]) for line in daemon.logged("round"))


def test_a_pod_waits_for_its_facts_and_no_longer_than_said(node: Node) -> None:
    node.says(wait="1s", version="0.4.0")
    daemon = node.start()
    daemon.until(node.up)
    a = node.namespace()
    with pytest.raises(Failed) as failed:
        node.runtime.add("media/a", a)
    said = failed.value.said.error
    assert (said["cniVersion"], said["code"], said["msg"]) == ("0.4.0", 11, "the network of pod media/a is not in place")
    assert "has not heard of this pod yet (uid uid-a)" in said["details"]
    node.runtime.delete("media/a", a)

    before = len(daemon.logged("content in force"))
    node.says(wait="60s")
    daemon.until(lambda: len(daemon.logged("content in force")) > before and daemon.ready())
    asked = rounds(daemon, "cni")
    adding = background(lambda: node.runtime.add("media/a", a))
    daemon.until(lambda: rounds(daemon, "cni") > asked)
    read = rounds(daemon, "config")
    node.knows(pod("a", {"vx1": {"ip": ["192.168.11.9/24"]}}, uid="of-one-before"), PLAIN)
    daemon.until(lambda: rounds(daemon, "config") > read)
    assert "vx1" not in sh(f"ip -n {a} link"), "what another pod of that name asked for is not for this one"
    node.knows(A, B, PLAIN)
    adding()
    assert "192.168.11.1/24" in sh(f"ip -n {a} addr show vx1")


def test_a_pod_that_asks_for_what_it_may_not_have_is_told_so_at_once(node: Node) -> None:
    node.says(wait="100s")
    node.knows(pod("a", {"vx1": {}}, namespace="other"), PLAIN)
    node.start().until(node.up)
    with pytest.raises(Failed) as failed:
        node.runtime.add("other/a", node.namespace())
    assert failed.value.said.error["code"] == 7
    assert "namespace other may not join; add it to segments.vx1.allow.namespaces" in failed.value.said.error["msg"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_that_is_replaced_while_pods_start_and_run(node: Node, how: signal.Signals) -> None:
    """What a pod has stays, although the API has not told its address yet; who waits is answered by the next daemon."""
    node.knows(A, PLAIN)
    daemon = node.start()
    daemon.until(node.up)
    a, b = node.namespace(), node.namespace()
    node.runtime.add("media/a", a)
    index = json.loads(sh(f"ip -n {a} -j link show vx1"))[0]["ifindex"]
    waiting = background(lambda: node.runtime.add("media/b", b))
    daemon.until(lambda: (node.state / "attachments.json").read_text().count("sandbox-") == 2)
    daemon.end(how)
    node.knows(A, B, PLAIN)
    node.start()
    waiting()
    ping(b, "192.168.11.1")
    assert json.loads(sh(f"ip -n {a} -j link show vx1"))[0]["ifindex"] == index, "the device of the pod that ran is the very same"


def test_gc_leaves_what_is_listed_and_everything_where_nothing_is(node: Node) -> None:
    node.knows(A, B, PLAIN)
    daemon = node.start()
    daemon.until(node.up)
    a, b = node.namespace(), node.namespace()
    for name, netns in (("a", a), ("b", b)):
        node.runtime.add(f"media/{name}", netns)
    valid = "cni.dev/valid-attachments"
    for nothing in ({}, {valid: []}):
        assert node.runtime.ours("GC", **nothing) == (0, "")
    for damaged in ("all", [{}], [{"containerID": "sandbox-a"}], [1], {"containerID": "sandbox-a", "ifname": "eth0"}):
        assert node.runtime.ours("GC", **{valid: damaged}).error["code"] == 7
    node.runtime.check("media/a", a)
    assert "vx1" in sh(f"ip -n {a} link")
    assert "vx1" in sh(f"ip -n {b} link")
    assert node.runtime.ours("GC", **{valid: [{"containerID": "sandbox-b", "ifname": "eth0"}]}) == (0, "")
    daemon.until(lambda: "vx1" not in sh(f"ip -n {a} link"))
    assert "vx1" in sh(f"ip -n {b} link")


def test_no_namespace_is_kept_alive(node: Node) -> None:
    node.knows(A, B, PLAIN)
    daemon = node.start()
    daemon.until(node.up)
    a = node.namespace()
    node.runtime.add("media/a", a)
    host = json.loads(sh("ip -j link show master cni0"))[0]["ifname"]
    sh(f"ip netns del {a}")
    daemon.until(lambda: host not in sh("ip link"))  # the kernel takes the pod's end, and with it this one, once nobody holds the namespace
    daemon.until(daemon.ready)


@pytest.mark.parametrize("remembered", [False, True])
def test_a_new_boot_withholds_the_file_until_a_round_has_converged(node: Node, remembered: bool) -> None:
    """The last boot's file says "ready" too early: it goes first, also where network.yaml is only remembered."""
    node.says(wait="1s", version="1.1.0", direct="overlay")
    daemon = node.start()
    daemon.until(node.up)
    boot = (node.state / "settled").read_text()
    stamp = node.conflist.stat()
    daemon.end()
    daemon = node.start()
    daemon.until(daemon.ready)
    assert (node.conflist.stat().st_ino, node.conflist.stat().st_mtime_ns) == (stamp.st_ino, stamp.st_mtime_ns), "a restart is no boot"
    daemon.end()
    assert not node.socket.exists()

    (node.state / "settled").write_text("another boot\n")
    sh("ip link del plumb0 && ip link add plumb0 type bridge")  # somebody else's: no round can converge
    content = json.loads(json.dumps(node.runtime.network))
    if remembered:
        node.config.swap()
    daemon = node.start()
    daemon.until(lambda: node.socket.exists() and not node.conflist.exists())
    said = call(node.runtime.plugin, "STATUS", PLUMBLINE_CNI_SOCKET=str(node.socket)).error
    assert (said["code"], "not yet brought this node's network up" in said["msg"]) == (50, True)
    assert any("waits for the first round since boot" in line for line in daemon.status["spec"]["warnings"])
    sh("ip link del plumb0")
    daemon.until(node.conflist.exists)
    assert node.runtime.network == content
    assert (node.state / "settled").read_text() == boot
    assert node.runtime.ours("STATUS") == (0, "")
    daemon.until(lambda: bool(daemon.status["converged"]))


def test_a_dry_run_opens_no_socket_and_settles_nothing(node: Node) -> None:
    daemon = node.start("--dry-run")
    daemon.until(lambda: daemon.status["rounds"] > 0)
    assert not node.socket.exists()
    assert not (node.state / "settled").exists()


def test_cnitool(node: Node, tmp_path: Path) -> None:
    """The reference's own runtime; it names no Kubernetes pod, so nothing is waited for."""
    cnitool = shutil.which("cnitool") or shutil.which("/tmp/gobin/cnitool")
    if cnitool is None:
        pytest.skip("no cnitool here: go install github.com/containernetworking/cni/cnitool@latest")
    node.start().until(node.up)
    a = node.namespace()
    paths = {
        "CNI_PATH": f"/usr/lib/cni:{node.runtime.plugin.parent}",
        "NETCONFPATH": str(node.conflist.parent),
        "PATH": os.environ["PATH"],
    }
    paths["PLUMBLINE_CNI_SOCKET"] = str(node.socket)
    said = []
    for command in ("add", "check", "del", "del", "status", "gc"):
        line = [
            "unshare",
            "-m",
            "sh",
            "-c",
            'mount --bind "$0" /var/lib && exec "$@"',
            str(tmp_path / "lib"),
            cnitool,
            command,
            "plumbline",
            f"/run/netns/{a}",
        ]
        done = subprocess.run(line, env=paths, capture_output=True, text=True, check=False)
        said.append(Said(done.returncode, done.stdout + done.stderr))
    assert [one.status for one in said] == [0] * 6, said
