"""What watching a large cluster costs: start-up, memory, and the heartbeats of its nodes, which change nothing.

python -m tests.bench.watches [NODES PODS SERVICES]: against an API in a process of its own, over TLS. Figures of time are
also given as ratios: to json.loads of the very bytes that came, which no reader of JSON in Python can do without.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from reconciler.cluster.access import Access
from reconciler.cluster.transport import Api
from reconciler.cluster.view import ClusterView
from reconciler.spec.load import load_text
from tests.api.certificates import Certificates, make
from tests.api.server import SmallApi
from tests.cluster.objects import node, pod

NODES, PODS, SERVICES, BEATS, MEMBERS = 5_000, 50_000, 10_000, 1_000, 20  # every so many pods is a member of a segment
SPEC = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
fabric: {podNetwork: [100.64.0.0/10]}
segments: {vxeth1: {vni: 101}}
services: {}
"""
LABEL = {"vxlan.openvnf.org": "true"}


def nodes(count: int, beat: int = 0) -> list[dict[str, Any]]:
    return [
        node(f"n{number}", f"10.1.{number >> 8}.{number & 255}", f"100.{64 + (number >> 8)}.{number & 255}.0/24", beat)
        for number in range(count)
    ]


def pods(count: int, on: int) -> list[dict[str, Any]]:
    return [
        pod(
            f"p{number}",
            f"n{number % on}",
            f"100.{64 + (number % on >> 8)}.{number % on & 255}.{number // on + 2}",
            labels=LABEL if number % MEMBERS == 0 else {},
        )
        for number in range(count)
    ]


def services(count: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    found = []
    for number in range(count):
        name, ports = f"s{number}", [{"name": "http", "protocol": "TCP", "port": 80}]
        service = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"type": "ClusterIP", "clusterIPs": [f"10.96.{number >> 8}.{number & 255}"], "ports": ports},
        }
        endpoints = [
            {"addresses": [f"100.64.{number & 255}.{one + 2}"], "conditions": {"ready": True}, "nodeName": "n1"} for one in range(5)
        ]
        labels = {"kubernetes.io/service-name": name}
        piece = {
            "metadata": {"name": f"{name}-x", "namespace": "default", "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": endpoints,
        }
        found.append((service, piece))
    return found


def serve(folder: Path, counts: list[int]) -> None:
    """The API; a number on standard input is so many heartbeats."""
    api = SmallApi(Certificates(folder / "ca.crt", folder / "server.crt", folder / "server.key"))
    api.put("/api/v1/namespaces", {"metadata": {"name": "kube-system"}})
    for thing in nodes(counts[0]):
        api.put("/api/v1/nodes", thing)
    for thing in pods(counts[1], counts[0]):
        api.put("/api/v1/namespaces/default/pods", thing)
    for service, piece in services(counts[2]):
        api.put("/api/v1/namespaces/default/services", service)
        api.put("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", piece)
    api.start()
    print(api.url, flush=True)
    for beat, line in enumerate(sys.stdin, 1):
        for thing in nodes(int(line), beat):
            api.put("/api/v1/nodes", thing)
        print(api.store.version, flush=True)


def resident() -> float:
    """MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def parsing(texts: list[bytes]) -> float:
    """Seconds of json.loads."""
    began = time.process_time()
    for text in texts:
        json.loads(text)
    return time.process_time() - began


def until(condition: Any) -> None:
    while not condition():
        threading.Event().wait(0.01)


def measure(folder: Path, counts: list[int]) -> None:
    certificates = make(folder)
    (folder / "token").write_text("admin")
    command = [sys.executable, "-m", "tests.bench.watches", "--serve", str(folder), *map(str, counts)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        api = Api(Access((url,), certificates.authority, folder / "token"))
        spec = load_text(SPEC).spec
        lists = [
            json.dumps({"items": things}).encode()
            for things in (nodes(counts[0]), *([one[side] for one in services(counts[2])] for side in (0, 1)))
        ]
        members = [one for one in pods(counts[1], counts[0]) if one["metadata"]["labels"] or one["spec"]["nodeName"] == "n0"]
        lists.append(json.dumps({"items": members}).encode())
        bare, size = parsing(lists), sum(map(len, lists))
        del lists, members
        changes: list[None] = []
        before, began, spent = resident(), time.monotonic(), time.process_time()
        view = ClusterView(api, "n0", lambda: changes.append(None))
        view.select(spec)
        until(lambda: not view.view().awaited)
        took, cost = time.monotonic() - began, time.process_time() - spent
        seen = view.view()
        print(
            f"{len(seen.nodes or ())} nodes, {counts[1]} pods of which {len(seen.pods or ())} concern this node, {len(seen.services or ())} services: "
            f"{took:.2f} s to know them, {cost:.2f} s of it ours, {cost / bare:.1f} × json.loads of the same {size >> 20} MiB; "
            f"{resident() - before:.0f} MiB more"
        )
        heartbeats(view, server, changes)
        view.close()
        api.close()
        server.stdin.close()


def heartbeats(view: ClusterView, server: subprocess.Popen[str], changes: list[None]) -> None:
    beats = [json.dumps({"type": "MODIFIED", "object": thing}).encode() for thing in nodes(BEATS, 1)]
    bare, known = parsing(beats), len(changes)
    assert server.stdin is not None
    assert server.stdout is not None
    spent, before = time.process_time(), resident()
    server.stdin.write(f"{BEATS}\n")
    server.stdin.flush()
    version = server.stdout.readline().strip()
    watch = next(one for one in view._watches.values() if one.resource.name == "nodes")
    until(lambda: watch._version == version)
    cost = time.process_time() - spent
    print(
        f"{BEATS} heartbeats of nodes, {sum(map(len, beats)) >> 10} KiB: {cost * 1000:.0f} ms of a core, {cost / bare:.1f} × json.loads of the same; "
        f"{len(changes) - known} of them woke anybody; {resident() - before:.1f} MiB more"
    )


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), [int(word) for word in sys.argv[3:]])
        return
    numbers = [int(word) for word in sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        measure(Path(folder), [*numbers, *(NODES, PODS, SERVICES)[len(numbers) :]])


if __name__ == "__main__":
    main()
