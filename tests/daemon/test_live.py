"""What the API says as content, piece by piece: what is known, what is still to come, what deserves a warning."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.cluster.reflector import Timing
from reconciler.cluster.transport import Api
from reconciler.daemon.content import Rejected
from reconciler.daemon.inputs import FileInputs, load_inputs
from reconciler.daemon.live import Live
from reconciler.daemon.settings import Settings
from tests.api.conftest import access, api, certificates, server
from tests.api.server import SmallApi
from tests.bench.watches import services
from tests.cluster.objects import node, pod

__all__ = ["access", "api", "certificates", "server"]
HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"
PODS = "/api/v1/namespaces/default/pods"
LABEL = {"vxlan.openvnf.org": "true"}
SEGMENTS = {"plumbline.dev/segments": "[vxeth1]"}


class Node:
    def __init__(self, folder: Path, api: Api) -> None:
        self.file = folder / "network.yaml"
        self.settings = Settings(self.file, "n1", cluster=True)
        self.live = Live(self.settings, api, lambda name, why: None, Timing(first=0.02, most=0.1))
        self.file.write_text(HEAD)
        self.live.start(lambda: None)

    def load(self) -> FileInputs:
        return load_inputs(self.settings, teller=self.live)

    def until(self, condition: Callable[[FileInputs], bool]) -> FileInputs:
        """What it is once something is so; nodes that are not told yet are waited for."""
        end = time.monotonic() + 10
        while True:
            try:
                inputs = self.load()
                if condition(inputs):
                    return inputs
            except Rejected as rejected:
                inputs = rejected  # type: ignore[assignment]
            assert time.monotonic() < end, inputs
            threading.Event().wait(0.01)

    def until_rejected(self, why: str) -> None:
        end = time.monotonic() + 10
        while True:
            try:
                self.load()
            except Rejected as rejected:
                if why in str(rejected.problems):
                    return
            assert time.monotonic() < end, f"never rejected: {why}"
            threading.Event().wait(0.01)


@pytest.fixture
def one(server: SmallApi, api: Api, tmp_path: Path) -> Iterator[Node]:
    server.put("/api/v1/namespaces", {"metadata": {"name": "kube-system"}})
    for number in (1, 2):
        server.put("/api/v1/nodes", node(f"n{number}", f"10.0.1.1{number}", f"10.244.{number}.0/24"))
    made = Node(tmp_path, api)
    yield made
    made.live.close()


def test_pods_of_this_node_and_members_of_all(server: SmallApi, one: Node) -> None:
    for name, on, labels in (("here", "n1", {}), ("member", "n2", LABEL), ("both", "n1", LABEL), ("nobody", "n2", {})):
        server.put(PODS, pod(name, on, labels=labels))
    assert one.until(lambda inputs: not inputs.stale).pods is None, "nobody asked"
    one.file.write_text(HEAD + "segments: {vxeth1: {vni: 101}}\n")
    inputs = one.until(lambda inputs: not inputs.stale)
    assert sorted(each.name for each in inputs.pods or ()) == ["both", "here", "member"]
    one.file.write_text(HEAD)
    assert one.until(lambda inputs: inputs.pods is None)


def test_a_member_that_other_nodes_do_not_hear_of(server: SmallApi, one: Node) -> None:
    one.file.write_text(HEAD + "segments: {vxeth1: {vni: 101}}\n")
    server.put(PODS, pod("alone", "n1", **SEGMENTS))
    server.put(PODS, pod("heard", "n1", labels=LABEL, **SEGMENTS))
    server.put(PODS, {**pod("ended", "n1", **SEGMENTS), "status": {"phase": "Succeeded"}})
    inputs = one.until(lambda inputs: bool(inputs.warnings) and not inputs.stale and len(inputs.pods or ()) == 3)
    [warning] = [each for each in inputs.warnings if "label" in each]
    assert warning.startswith("Pod default/alone: joins its segments here alone")


def test_what_is_still_to_come_takes_nothing_away(server: SmallApi, one: Node) -> None:
    """A section that is new, or another label: until the API has told, content builds only."""
    server.fault = lambda what: (500, {}) if what == "list services" else None
    assert one.until(lambda inputs: not inputs.stale)
    one.file.write_text(HEAD + "services: {}\n")
    inputs = one.until(lambda inputs: bool(inputs.loaded.spec.services))
    assert (inputs.stale, inputs.facts.services) == (True, None)
    assert sorted(inputs.nodes) == ["n1", "n2"], "which are known"
    server.fault = lambda what: None
    assert one.until(lambda inputs: not inputs.stale).facts.services == ()


def test_a_detour_over_what_this_network_provides_itself(server: SmallApi, one: Node) -> None:
    service, piece = services(1)[0]
    service["spec"]["clusterIPs"] = ["10.96.0.1"]
    server.put("/api/v1/namespaces/default/services", service)
    server.put("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", piece)
    one.file.write_text(HEAD + "services: {}\n")
    assert not any("apiServers" in each for each in one.until(lambda inputs: not inputs.stale).warnings)
    one.live._api._servers = ("https://10.96.0.1:443",)
    one.live._api._usual = one.live._api._servers
    [warning] = [each for each in one.load().warnings if "apiServers" in each]
    assert "service default/s0" in warning
    assert "say cluster: {apiServers: [https://100.64.0.2:8080, " in warning


def test_policies_that_nobody_enforces_are_a_warning_here(server: SmallApi, one: Node) -> None:
    server.put("/apis/networking.k8s.io/v1/namespaces/media/networkpolicies", {"metadata": {"name": "deny-all"}, "spec": {}})
    assert one.until(lambda inputs: any("NetworkPolicy media/deny-all" in each for each in inputs.warnings))
    one.file.write_text(HEAD + "policy: external\n")
    assert not one.until(lambda inputs: inputs.loaded.spec.policy == "external").warnings


def test_an_api_that_names_no_node_at_all_is_no_cluster_of_ours(server: SmallApi, one: Node) -> None:
    """A node of no name in a cluster of none would be asked to hold nothing, its CNI file included."""
    one.until(lambda inputs: len(inputs.nodes) == 2)
    for number in (1, 2):
        server.delete(f"/api/v1/nodes/n{number}")
    one.until_rejected("node n1 is not among the 0 nodes")


def test_the_same_again_is_the_same(server: SmallApi, one: Node) -> None:
    first = one.until(lambda inputs: not inputs.stale)
    server.put("/api/v1/nodes", node("n2", "10.0.1.12", "10.244.2.0/24", beat=5))
    again = one.load()
    assert first.same(again)
    assert first.loaded is again.loaded, "network.yaml is not read again while it says the same"
    server.put("/api/v1/nodes", node("n3", "10.0.1.13", "10.244.3.0/24"))
    assert not first.same(one.until(lambda inputs: len(inputs.nodes) == 3))
