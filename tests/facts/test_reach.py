"""What the fabric asks of all nodes together, and what one node's settings do to the others."""

from __future__ import annotations

import pytest

from reconciler.facts.lint import lint
from reconciler.facts.merge import build_facts, nodes_of
from reconciler.facts.model import Node, NodeAddress
from reconciler.facts.reach import ARP_TABLE, TOLD
from reconciler.spec.load import load_text
from reconciler.spec.problems import Problem

HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"
N1 = "n1: {address: 10.0.1.1/24, podCIDRs: [10.244.1.0/24]}"
N2 = "n2: {address: 10.0.2.2/24, podCIDRs: [10.244.2.0/24]}"
SIX = "n6: {address: 'fd00:1::6/64', podCIDRs: ['fd00:10:6::/64']}"


def told(text: str, nodes: list[Node] | None = None) -> list[Problem]:
    loaded = load_text(HEAD + text)
    return lint(loaded, build_facts(loaded, nodes or []))


DIRECT = "fabric: {mode: direct, podNetwork: [10.244.0.0/16, 'fd00:10::/32']}\n"
AUTO = DIRECT.replace("direct", "auto")

CASES = [
    ("segments: {va: {vni: 11}, vb: {vni: 11}}\n", "warning", "11 is the VNI of segment va too"),
    (f"nodes: {{{N1}, {N2}}}\n{DIRECT}", "error", "but n2 and n1 share no subnet for IPv4 pods"),
    (f"nodes: {{{N1}, {N2.replace('/24,', ',', 1)}}}\n{DIRECT}", "error", "but n2 and n1 share no subnet"),
    (f"nodes: {{{N1}, {SIX}}}\n{AUTO}", "error", "no family that every node has: n6 without IPv4, n1 without IPv6"),
    (f"nodes: {{{N1}}}\n{AUTO[:-2]}, overlay: {{underlay: ipv6}}}}\n", "error", "underlay: is ipv6, but without such an address: n1"),
    (f"nodes: {{{N1}, {SIX}}}\n{AUTO}", "warning", "no IPv4 pods at n6, while other nodes have them"),
    (f"nodes: {{{SIX}}}\n{AUTO[:-2]}, overlay: {{mtu: 1200}}}}\n", "error", "1200 is less than the 1280 bytes that IPv6 pods need"),
    (
        f"nodes: {{{N1[:-1]}, mtu: 1500}}}}\n{AUTO[:-2]}, overlay: {{mtu: 1460}}}}\n",
        "warning",
        "1460 and 50 bytes of outer headers do not fit into the 1500 of n1; 1450 or less",
    ),
    (f"nodes: {{{SIX[:-1]}, mtu: 1340}}}}\n{AUTO}", "error", "1340 leaves less than IPv6's 1280 bytes inside the overlay; 1350 or more"),
    ("fabric: {overlay: {device: net0}}\ncni: {bridge: net0}\n", "error", "cni.bridge: net0 is the overlay's device too"),
    ("nodes: {n1: {interface: cni0}}\ncni: {}\n", "error", "nodes.n1.interface: cni0 is the pods' bridge"),
    (
        "nodes: {n1: {labels: {role: edge}}}\nsysctls: {net.core.somaxconn: {value: 1, nodeSelector: {role: egde}}}\n",
        "warning",
        "nodeSelector: no node has the labels role: egde",
    ),
    (
        "nodes: {n1: {}}\nresources: {route: {r: {dst: 10.9.0.0/16, dev: eth0, nodeSelector: {a: b}}}}\n",
        "warning",
        "resources.route.r.nodeSelector: no node has the labels a: b",
    ),
]


@pytest.mark.parametrize(("text", "severity", "says"), CASES, ids=[says[:40] for _, _, says in CASES])
def test_told(text: str, severity: str, says: str) -> None:
    found = told(text)
    assert [one.severity for one in found if says in str(one)] == [severity], [str(one) for one in found]
    assert all(str(one).startswith("network.yaml:") for one in found)


SILENT = [
    f"nodes: {{{N1}, {N2.replace('10.0.2.2', '10.0.1.2')}}}\n{DIRECT}",
    f"nodes: {{{N1}, {N2}}}\n{AUTO}",
    f"nodes: {{{SIX[:-1]}, mtu: 1280}}}}\n{DIRECT}",
    "segments: {va: {vni: 11}, vb: {vni: 11, port: 9999}, vc: {}}\n",
    "nodes: {n1: {address: 10.0.1.1/24, labels: {role: edge, x: y}}}\nsysctls: {net.core.somaxconn: {value: 1, nodeSelector: {role: edge}}}\n",
]


@pytest.mark.parametrize("text", SILENT)
def test_nothing_to_say(text: str) -> None:
    assert [str(one) for one in told(text)] == []


def many(how_many: int, prefix: int) -> list[Node]:
    return [
        Node(
            f"n{i}",
            (NodeAddress(f"10.0.{i >> 8}.{i & 255}", prefix),),
            (f"10.{128 + (i >> 8)}.{i & 255}.0/24",),
            where=f"nodes.json (Node n{i})",
        )
        for i in range(1, how_many + 1)
    ]


def test_a_neighbour_table_too_small_is_told_once_and_only_where_a_subnet_is_that_large() -> None:
    text = "fabric: {podNetwork: [10.128.0.0/9]}\n"
    (found,) = told(text, many(ARP_TABLE + 1, 8))
    assert "1025 nodes on one subnet" in str(found)
    assert "say sysctls: {net.ipv4.neigh.default.gc_thresh3: 2050}" in str(found)
    assert told(text, many(ARP_TABLE, 8)) == []
    assert told(text, many(ARP_TABLE + 1, 24)) == []
    assert told(text + "sysctls: {net.ipv4.neigh.default.gc_thresh3: 4096}\n", many(ARP_TABLE + 1, 8)) == []


def test_many_nodes_without_a_path_are_told_in_a_few_lines_at_their_manifest() -> None:
    found = told("fabric: {mode: direct, podNetwork: [10.128.0.0/9]}\n", many(100, 32))
    assert len(found) == TOLD
    assert str(found[0]).startswith("nodes.json (Node n2): nodes.n2.address: fabric.mode is direct")
    assert "(nor do 89 more nodes)" in str(found[-1])


def test_a_node_that_is_given_twice() -> None:
    one = {"kind": "Node", "metadata": {"name": "n1"}}
    other = {"kind": "Node", "metadata": {"name": "n1", "labels": {"a": "b"}}}
    assert nodes_of([(one, "a.json"), (one, "b.json")])[1] == []
    nodes, wrong = nodes_of([(one, "a.json"), (other, "b.json")])
    assert len(nodes) == 1
    assert wrong == ["b.json (Node n1): said otherwise before, in a.json (Node n1); keep one of the two"]


def test_a_name_that_no_node_can_have() -> None:
    nodes, wrong = nodes_of([({"kind": "Node", "metadata": {"name": "../x"}}, "a.json")])
    assert nodes == []
    assert "metadata.name: '../x' is no node name" in wrong[0]


FAR = "n3: {address: 10.0.3.3/24, podCIDRs: [10.244.3.0/24], site: cloud}"


@pytest.mark.parametrize(
    ("nodes", "mode", "lacking"),
    [
        (f"{N1}, {FAR}", "auto", ["n3 of site cloud"]),
        (f"{N1}, {FAR[:-1]}, publicAddress: 198.51.100.3}}", "overlay", []),
        (f"{N1[:-1]}, site: a}}, {N2[:-1]}, site: a}}, {FAR}", "auto", ["n1, n2 of site a", "n3 of site cloud"]),
        (f"{N1[:-1]}, site: cloud}}, {FAR}", "auto", []),
        (f"{N1}, {N2}", "auto", []),
        (f"{N1}, {FAR}", "none", []),
    ],
)
def test_a_node_that_other_sites_cannot_reach(nodes: str, mode: str, lacking: list[str]) -> None:
    found = [one for one in told(f"nodes: {{{nodes}}}\nfabric: {{mode: {mode}}}\n") if "publicAddress: is missing" in str(one)]
    assert [one.message.partition(" at ")[2].partition(":")[0] for one in found] == lacking
    assert {one.severity for one in found} <= {"warning"}
