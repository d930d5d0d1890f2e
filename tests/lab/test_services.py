"""Services from manifests to packets: planned, applied, asked for by real sockets, broken, repaired, taken away."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler import lab as labs
from reconciler.kernel.netns import entered
from reconciler.kernel.service_counts import drops
from reconciler.lab.mounts import BPFFS, CGROUP, join
from reconciler.lab.nodes import Network, apply_node, clean_node, plan_node, read_network
from reconciler.lab.state import Lab
from tests.bpf.places import Unavailable, cgroup_root, pin_folder, require_tools

pytestmark = pytest.mark.lab
SECONDS = 5.0
SPEC = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes:
  n1: {{address: [10.0.1.11/24, fd00:1::11/64], podCIDRs: [10.244.1.0/24, "fd00:244:1::/64"]{direct}}}
  n2: {{address: [10.0.1.12/24, fd00:1::12/64], podCIDRs: [10.244.2.0/24, "fd00:244:2::/64"]{direct}}}
fabric: {{podNetwork: [10.244.0.0/16, "fd00:244::/32"]}}
services: {{}}
"""
FOUR, SIX = ("10.96.0.10", "10.244.2.2"), ("fd96::10", "fd00:244:2::2")  # ClusterIP, and the pod behind it: of n2
PORTS = [{"name": proto.lower(), "port": 80, "nodePort": 30080, "protocol": proto, "targetPort": 8080} for proto in ("TCP", "UDP")]
AT_N1 = ("10.0.1.11", "fd00:1::11")
SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "shop", "namespace": "default"},
    "spec": {"type": "NodePort", "clusterIP": FOUR[0], "clusterIPs": [FOUR[0], SIX[0]], "ports": PORTS},
}
ASK = """
import socket, sys
address, port, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, getattr(socket, kind))
one.settimeout(5)
one.connect((address, port))
one.send(b"?")
print(one.recv(100).decode(), one.getpeername()[0])
"""


def balanced(*ranges: str) -> dict[str, object]:
    """The service behind a load balancer that has the addresses of n1, for clients of these networks."""
    at = {"loadBalancer": {"ingress": [{"ip": ip} for ip in AT_N1]}}
    return {**SERVICE, "spec": {**SERVICE["spec"], "type": "LoadBalancer", "loadBalancerSourceRanges": ranges}, "status": at}


def manifests(service: dict[str, object], *backends: str) -> list[dict[str, object]]:
    """A service, and its pods that are ready."""
    slices = [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"shop-{family}", "namespace": "default", "labels": {"kubernetes.io/service-name": "shop"}},
            "addressType": family,
            "ports": [{"name": one["name"], "port": 8080, "protocol": one["protocol"]} for one in PORTS],
            "endpoints": [
                {"addresses": [address], "nodeName": "n2", "conditions": {"ready": True}}
                for address in backends
                if (":" in address) is (family == "IPv6")
            ],
        }
        for family in ("IPv4", "IPv6")
    ]
    return [service, *slices]


def network(folder: Path, *backends: str, direct: bool = False, service: dict[str, object] = SERVICE) -> Network:
    (folder / "network.yaml").write_text(SPEC.format(direct=", directRouting: true" if direct else ""))
    (folder / "services.json").write_text(json.dumps({"kind": "List", "items": manifests(service, *backends)}))
    return read_network(folder / "network.yaml", [folder / "services.json"])


@pytest.fixture
def loadable() -> None:
    """Where programs can be built and loaded."""
    try:
        require_tools()
        cgroup_root()
        with pin_folder():
            pass
    except Unavailable as reason:
        pytest.skip(str(reason))


@contextmanager
def shop(lab: Lab) -> Iterator[None]:
    """Listens in the pod of n2, and tells each caller from where it comes."""
    pod = lab.topology.machine("n2").pods[0].netns
    over = threading.Event()
    with ExitStack() as held:
        threads = []
        for address in (FOUR[1], SIX[1]):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with entered(pod):
                    one = held.enter_context(socket.socket(family, kind))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind((address, 8080))
                one.settimeout(0.05)
                if kind is socket.SOCK_STREAM:
                    one.listen()
                threads.append(threading.Thread(target=serve, args=(one, kind, over)))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


def serve(one: socket.socket, kind: int, over: threading.Event) -> None:
    while not over.is_set():
        try:
            if kind == socket.SOCK_DGRAM:
                _, caller = one.recvfrom(100)
                one.sendto(caller[0].encode(), caller)
            else:
                answering, caller = one.accept()
                with answering:
                    answering.settimeout(SECONDS)
                    answering.recv(100)
                    answering.sendall(caller[0].encode())
        except TimeoutError:
            continue


def ask(lab: Lab, node: str, netns: str, address: str, port: int, kind: str) -> tuple[str, str]:
    """As a process of the node or of its pods: from where the backend saw it come, and with whom it believes to speak."""
    words = ["nsenter", f"--net=/run/netns/{netns}", sys.executable, "-c", ASK, address, str(port), kind]
    done = subprocess.run(join(lab, node, words) if node else words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{address}:{port} {kind} from {netns}: {done.stderr.strip().splitlines()[-1]}"
    seen, named = done.stdout.split()
    return seen, named


def converged(lab: Lab, wanted: Network) -> None:
    for node in ("n1", "n2"):
        result = apply_node(lab, wanted, node)
        assert result.converged, "\n".join((node, *result.errors))
        assert plan_node(lab, wanted, node).empty


@pytest.mark.usefixtures("loadable")
@pytest.mark.parametrize("direct", [False, True], ids=["overlay", "direct"])
def test_a_service_is_reached_from_pods_nodes_and_outside(name: str, tmp_path: Path, direct: bool) -> None:
    wanted = network(tmp_path, FOUR[1], SIX[1], direct=direct)
    lab = labs.raise_lab(name, [wanted.cluster])
    converged(lab, wanted)
    first, pod, outside = lab.topology.machine("n1"), lab.topology.machine("n1").pods[0], lab.topology.outside
    with shop(lab):
        for service, ours, of_pod in ((FOUR[0], "10.0.1.11", pod.address(4)), (SIX[0], "fd00:1::11", pod.address(6))):
            for kind in ("SOCK_STREAM", "SOCK_DGRAM"):
                assert ask(lab, "n1", pod.netns, service, 80, kind) == (of_pod, service), "a pod asks, and its address arrives"
                assert ask(lab, "n1", first.netns, service, 80, kind)[1] == service, "the node itself"
                assert ask(lab, "n1", first.netns, ours, 30080, kind)[1] == ours, "the node itself, by its own port"
                assert ask(lab, "", outside, ours, 30080, kind)[1] == ours, "from outside, by a node without a backend"


def is_unheard(lab: Lab, address: str) -> bool:
    """Whether somebody outside who connects is kept out and counted, and told nothing."""
    maps = str(Path(lab.root("n1")) / BPFFS / "plumbline/maps")
    before = drops(maps)["no_range"]
    with entered(lab.topology.outside):
        asking = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    with asking:
        asking.setblocking(False)
        asking.connect_ex((address, 80))
        end = time.monotonic() + SECONDS
        while drops(maps)["no_range"] == before and time.monotonic() < end:
            threading.Event().wait(0.005)
        return drops(maps)["no_range"] > before and asking.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


@pytest.mark.usefixtures("loadable")
def test_a_load_balancer_is_for_its_source_ranges_and_for_the_cluster_itself(name: str, tmp_path: Path) -> None:
    plain = network(tmp_path, FOUR[1], SIX[1])
    lab = labs.raise_lab(name, [plain.cluster])
    outside, pod = lab.topology.outside, lab.topology.machine("n1").pods[0]
    told = json.loads(subprocess.run(["ip", "-n", outside, "-j", "addr"], check=True, capture_output=True).stdout)
    ours = [f"{one['local']}/{one['prefixlen']}" for link in told for one in link["addr_info"] if one["scope"] == "global"]
    with shop(lab):
        converged(lab, network(tmp_path, FOUR[1], SIX[1], service=balanced(*ours)))
        for address in AT_N1:
            for kind in ("SOCK_STREAM", "SOCK_DGRAM"):
                assert ask(lab, "", outside, address, 80, kind)[1] == address
        converged(lab, network(tmp_path, FOUR[1], SIX[1], service=balanced("198.51.100.0/24", "2001:db8:98::/48")))
        for address in AT_N1:
            assert is_unheard(lab, address)
            assert ask(lab, "", outside, address, 30080, "SOCK_STREAM")[1] == address, "a node port is for everybody"
            assert ask(lab, "n1", pod.netns, address, 80, "SOCK_STREAM")[1] == address, "a pod gets there, as it does by the ClusterIP"
        converged(lab, plain)
    assert clean_node(lab, "n1").converged


@pytest.mark.usefixtures("loadable")
def test_what_is_broken_is_repaired_and_nothing_stays(name: str, tmp_path: Path) -> None:
    wanted = network(tmp_path, FOUR[1], SIX[1])
    lab = labs.raise_lab(name, [wanted.cluster])
    converged(lab, wanted)
    root, first = Path(lab.root("n1")), lab.topology.machine("n1")
    pins = root / BPFFS / "plumbline"

    def broken(*words: str) -> None:
        subprocess.run(["nsenter", f"--net=/run/netns/{first.netns}", *words], check=True, capture_output=True)
        assert len(plan_node(lab, wanted, "n1").actions) == 1, words
        converged(lab, wanted)

    front = json.loads(subprocess.run(["bpftool", "-j", "map", "dump", "pinned", str(pins / "maps" / "pl_front_1")],
                                      check=True, capture_output=True).stdout)[0]["key"]  # fmt: skip
    broken("bpftool", "map", "delete", "pinned", str(pins / "maps" / "pl_front_1"), "key", "hex", *(word[2:] for word in front))
    broken("bpftool", "map", "delete", "pinned", str(pins / "maps" / "pl_j_con4_1"), "key", "hex", "00", "00", "00", "00")
    broken("tc", "filter", "del", "dev", first.uplink, "ingress", "prio", "94", "handle", "0x94", "bpf")
    stub = next(pins.glob("stub-*"))
    broken("bpftool", "cgroup", "detach", str(root / CGROUP), "connect4", "pinned", str(stub / "connect4"))
    fewer = network(tmp_path)
    converged(lab, fewer)
    with pytest.raises(AssertionError, match="ConnectionRefusedError"):
        ask(lab, "n1", first.netns, FOUR[0], 80, "SOCK_STREAM")
    for node in ("n1", "n2"):
        assert clean_node(lab, node).converged
    assert not pins.exists()
    assert (
        "clsact"
        not in subprocess.run(["ip", "netns", "exec", first.netns, "tc", "qdisc"], check=True, capture_output=True, text=True).stdout
    )
    attached = subprocess.run(["bpftool", "-j", "cgroup", "show", str(root / CGROUP)], check=True, capture_output=True, text=True).stdout
    assert json.loads(attached.strip() or "[]") == []
