"""Every example as a lab: one round on each node, then packets on every path, an empty plan, and nothing left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler import lab as labs
from reconciler.lab.nodes import plan_node, read_network
from reconciler.lab.probe import probe
from tests.namespaces import sh

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted(ROOT.glob("examples/*/network.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_example(namespaces_can_be_made: None, example: Path) -> None:
    name = f"t{os.getpid()}-{example.parent.name[:6]}"
    facts = sorted(example.parent.glob("pods.yaml"))
    network = read_network(example, facts)
    try:
        built = labs.up(example, name, facts)
        assert built.converged, {node: result.errors for node, result in built.results.items()}
        assert all(failure is None for result in built.results.values() for _, failure in result.outcomes), "no line failed on the way"
        if built.lab.topology.pods:  # else it is about nodes alone, and has a test of its own
            matrix = labs.verify(name)
            assert matrix.ok, matrix.text
            whole = probe(built.lab.topology, within=3.0, full_size=True)
            assert whole.ok, f"packets of full size:\n{whole.text}"
        for node in network.facts.nodes:
            assert plan_node(built.lab, network, node).empty
    finally:
        labs.down(name)
    assert name not in sh("ip netns")


def test_kube_router_s_conflist_and_routes(namespaces_can_be_made: None) -> None:
    """What the kube-router lab shows by hand: a conflist with the node's podCIDR, a route per node by its address."""
    import json

    name = f"t{os.getpid()}-krl"
    try:
        built = labs.up(ROOT / "examples" / "kube-router" / "network.yaml", name)
        network = read_network(ROOT / "examples" / "kube-router" / "network.yaml")
        for node, said in network.facts.nodes.items():
            conflist = json.loads(next(Path(built.lab.root(node)).glob("etc/cni/net.d/*.conflist")).read_text())
            ranges = conflist["plugins"][0]["ipam"]["ranges"]
            assert [one["subnet"] for part in ranges for one in part] == list(said.pod_cidrs)
            routes = sh(f"ip -n {built.lab.topology.machine(node).netns} route")
            for peer, other in network.facts.nodes.items():
                if peer != node:
                    assert f"{other.pod_cidrs[0]} via {other.addresses[0].address} dev eth0 proto 94" in routes
    finally:
        labs.down(name)


def test_one_sided_direct_routing_stays_overlay_at_both_ends(namespaces_can_be_made: None) -> None:
    name = f"t{os.getpid()}-one"
    try:
        built = labs.up(ROOT / "examples" / "one-sided" / "network.yaml", name)
        assert "10.244.2.0/24 nhid" in sh(f"ip -n {built.lab.topology.machine('n1').netns} route")
        routes = sh(f"ip -n {built.lab.topology.machine('n2').netns} route show proto 94")
        assert "10.244.1.0/24 nhid" in routes
        assert "dev eth0" not in routes, "n2 did not agree to any direct path"
    finally:
        labs.down(name)
