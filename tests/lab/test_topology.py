"""How a network.yaml is wired, without a kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from reconciler.lab.build import nat_rules
from reconciler.lab.edits import Document, indirect_pair, newcomer
from reconciler.lab.nodes import read_network, text_network
from reconciler.lab.probe import Matrix, paths
from reconciler.lab.probe import Path as Way
from reconciler.lab.state import folder_of
from reconciler.lab.topology import LabError, Topology, make_topology
from reconciler.spec.load import load_text

EXAMPLES = Path(__file__).parents[2] / "examples"
HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"


def topology(*texts: str) -> Topology:
    return make_topology("t", [text_network(HEAD + text).cluster for text in texts])


def of(example: str) -> Topology:
    return make_topology("t", [read_network(EXAMPLES / example / "network.yaml").cluster])


def test_nodes_that_share_a_subnet_are_on_one_wire() -> None:
    lab = of("quickstart")
    assert [machine.bridge for machine in lab.machines] == ["br0", "br0", "br1"]
    assert lab.segments[0].gateways == ("10.0.1.254/24", "fd00:1::fffe/64")
    assert lab.machines[2].gateways == ("10.0.2.254", "fd00:2::fffe")


def test_a_subnet_of_one_family_is_enough_to_be_on_one_wire() -> None:
    lab = topology('nodes: {a: {address: [10.0.1.1/24, "fd00:1::1/64"]}, b: {address: "fd00:1::2/64"}, c: {address: 10.0.1.3/24}}')
    assert {machine.bridge for machine in lab.machines} == {"br0"}


def test_the_gateway_is_an_address_that_no_node_has() -> None:
    lab = topology("nodes: {a: {address: 10.0.1.254/24}}")
    assert lab.segments[0].gateways == ("10.0.1.253/24",)


def test_pods_have_the_second_address_of_the_cidr_and_the_mtu_of_the_cni_file() -> None:
    pod = of("quickstart").pods[0]
    assert pod.gateways == ("10.244.1.1/24", "fd00:10:244:1::1/64")
    assert pod.addresses == ("10.244.1.2/24", "fd00:10:244:1::2/64")
    assert pod.mtu == 1450
    assert of("kube-router").pods[0].mtu == 1500
    assert of("twelve-nodes").pods[-1].mtu == 1350


def test_a_pod_reaches_the_world_in_the_families_of_its_node() -> None:
    lab = of("ipv6-underlay")
    assert Way("n1-p1", "outside", 6) in paths(lab.pods)
    assert Way("n1-p1", "outside", 4) not in paths(lab.pods)
    assert Way("n1-p1", "n2-p1", 4) in paths(lab.pods)


def test_a_node_with_a_site_and_a_public_address_is_behind_nat() -> None:
    [nat] = of("pcn-k8s").nats
    assert nat == ("192.168.7.20", 4789, "198.51.100.13", 14789, ("192.168.7.20",))
    assert "ip daddr 198.51.100.13 udp dport 14789 counter dnat ip to 192.168.7.20:4789" in nat_rules([nat])


def test_one_lab_holds_several_clusters_one_after_the_other() -> None:
    nodes = "nodes: {{a: {{address: 10.0.1.1/24}}, b: {{address: {}/24}}}}"
    lab = topology(nodes.format("10.0.1.2"), nodes.format("10.0.1.3"), "nodes: {c: {address: 10.0.1.4/24}}")
    assert [machine.name for machine in lab.machines] == ["a", "b", "c"]
    assert lab.machine("b").addresses == ("10.0.1.2/24", "10.0.1.3/24")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nodes: {}", "there is no node"),
        ("nodes: {a: {podCIDRs: [10.244.1.0/24]}}", "node a has no address"),
        ("nodes: {a: {address: 192.0.2.7/24}}", "outside world"),
        ("nodes: {a: {address: 10.0.1.1/24, podCIDRs: [10.244.1.0/31]}}", "no room for a bridge and a pod"),
        ("nodes: {" + "a" * 253 + ": {address: 10.0.1.1/24}}", "shorter name"),
    ],
)
def test_what_cannot_be_built_is_said(text: str, says: str) -> None:
    with pytest.raises(LabError, match=says):
        topology(text)


def test_a_name_that_is_no_plain_word_is_refused() -> None:
    for name in ("", "../x", "a b", "-a", "A"):
        with pytest.raises(LabError, match="no name for a lab"):
            folder_of(name)


def test_a_topology_is_read_back_as_it_was_written() -> None:
    adapter = TypeAdapter(Topology)
    for example in ("quickstart", "pcn-k8s"):
        assert adapter.validate_json(adapter.dump_json(of(example))) == of(example)


def test_the_matrix_names_what_does_not_answer() -> None:
    good, bad = Way("a-p1", "b-p1", 4), Way("b-p1", "a-p1", 4)
    matrix = Matrix({good: 0.2, bad: None})
    assert not matrix.ok
    assert matrix.broken == (bad,)
    assert matrix.text.splitlines()[1:] == [
        "a-p1  ·     ✓",
        "b-p1  ✗     ·",
        "1 of 2 paths answer (IPv4; ✓ reached, ✗ not, · nothing to prove)",
    ]
    assert not Matrix({}).ok


def test_a_newcomer_has_what_nobody_has() -> None:
    network = read_network(EXAMPLES / "quickstart" / "network.yaml")
    assert newcomer(network) == (
        "n4",
        {"address": ["10.0.1.13/24", "fd00:1::13/64"], "podCIDRs": ["10.244.4.0/24", "fd00:10:244:4::/64"]},
    )


def test_edits_are_valid_and_change_only_their_line() -> None:
    file = EXAMPLES / "quickstart" / "network.yaml"
    document = Document.of(file.read_text())
    assert load_text(document.text).spec == load_text(file.read_text()).spec
    edited = document.with_node("n1", directRouting=True)
    assert [line[0] for line in document.changes_to(edited)] == ["-", "+"]
    assert load_text(edited.text).spec.nodes["n1"].direct_routing is True
    assert "n1" not in load_text(document.without_node("n1").text).spec.nodes
    pair = indirect_pair(read_network(file))
    assert pair is not None
    assert [node.name for node in pair] == ["n1", "n2"]
    assert json.loads(json.dumps(newcomer(read_network(file))[1]))
