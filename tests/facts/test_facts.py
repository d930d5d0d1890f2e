"""Node manifests in every form that people have them in, and network.yaml over them, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.facts.lint import lint
from reconciler.facts.manifests import BadManifest, read_manifests
from reconciler.facts.merge import build_facts, nodes_of
from reconciler.facts.model import Endpoint, Node, NodeAddress
from reconciler.facts.nodes import BadNode, KnownNodes, parse_node
from reconciler.spec.load import load_text

HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"


def node(name: str, **annotations: str) -> dict[str, Any]:
    """As the API gives it, with what plumbline does not read."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": "x",
            "labels": {"role": "edge"},
            "annotations": {f"plumbline.dev/{key.replace('_', '-')}": value for key, value in annotations.items()},
        },
        "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"], "providerID": "x"},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "10.0.1.11"},
                {"type": "InternalIP", "address": "fd00:1::11"},
                {"type": "ExternalIP", "address": "198.51.100.11"},
                {"type": "Hostname", "address": name},
            ],
            "images": [{"names": ["a"]}],
        },
    }


def test_a_node_as_the_api_gives_it() -> None:
    assert parse_node(node("n1"), "nodes.yaml") == Node(
        "n1",
        (NodeAddress("10.0.1.11", None), NodeAddress("fd00:1::11", None)),
        ("10.244.1.0/24", "fd00:10:244:1::/64"),
        {"role": "edge"},
        public_addresses=(Endpoint("198.51.100.11"),),
        where="nodes.yaml (Node n1)",
    )


def test_annotations() -> None:
    found = parse_node(node("n1", address="10.0.1.11/24", public_address="203.0.113.1:14789", direct_routing="true", site="cloud"))
    assert found.addresses == (NodeAddress("10.0.1.11", 24), NodeAddress("fd00:1::11", None))
    assert found.public_addresses == (Endpoint("203.0.113.1", 14789),)
    assert found.direct_routing is True
    assert found.site == "cloud"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"spec": {"podCIDRs": ["10.244.1.7/24"]}}, "Node n1: spec.podCIDRs: '10.244.1.7/24' has host bits"),
        ({"spec": {"podCIDRs": "10.244.1.0/24"}}, "Node n1: spec.podCIDRs is no list"),
        ({"spec": []}, "Node n1: spec is no mapping"),
        ({"status": {"addresses": [{"type": "InternalIP", "address": "ten"}]}}, "Node n1: status.addresses: 'ten' is no address"),
        (
            {"metadata": {"name": "n1", "annotations": {"plumbline.dev/direct-routing": "maybe"}}},
            'found "maybe"; allowed: "true" or "false"',
        ),
        ({"metadata": {"name": "n1", "annotations": {"plumbline.dev/address": "10.0.1.0/24"}}}, "annotation plumbline.dev/address"),
        ({"metadata": {}}, "metadata.name is missing"),
    ],
)
def test_a_bad_node_names_the_node_and_the_field(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadNode) as error:
        parse_node({**node("n1"), **change})
    assert says in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"name": "n1", "labels": {"a": "b"}}},
        {"metadata": {"name": "n1", "annotations": {"plumbline.dev/site": "cloud"}}},
        {"metadata": {"name": "n2"}},
        {"spec": {"podCIDRs": ["10.244.9.0/24"]}},
        {"spec": {"podCIDR": "10.244.9.0/24"}},
        {"spec": []},
        {"status": {"addresses": [{"type": "InternalIP", "address": "10.0.9.9"}]}},
        {"status": {"addresses": [{"type": "ExternalIP", "address": "203.0.113.9"}]}},
        {"status": {}},
        {"metadata": None},
    ],
)
def test_a_node_that_was_read_before_is_the_very_same_until_it_says_something_else(change: dict[str, Any]) -> None:
    known = KnownNodes()
    before = known.node(node("n1"), "a")
    assert known.node(node("n1"), "a") is before
    assert known.node(node("n1"), "b") == parse_node(node("n1"), "b")
    changed = {**node("n1"), **change}

    def read(parse: Callable[[Mapping[str, Any], str], Node]) -> Node | str:
        try:
            return parse(changed, "a")
        except BadNode as error:
            return str(error)

    assert read(known.node) == read(parse_node)
    assert read(parse_node) != before
    assert known.node(node("n1"), "a") == before


def test_a_bad_node_does_not_hide_the_others() -> None:
    nodes, wrong = nodes_of([(node("n1"), "a"), ({**node("n2"), "spec": []}, "a"), ({"kind": "Pod"}, "a")])
    assert [one.name for one in nodes] == ["n1"]
    assert wrong == ["a: Node n2: spec is no mapping; the node is left out"]


TWO = [node("n1"), node("n2")]
FORMS = {
    "single.json": json.dumps(TWO[0]),
    "list.json": json.dumps({"apiVersion": "v1", "kind": "List", "items": TWO}),
    "nodelist.json": json.dumps(
        {"kind": "NodeList", "items": [{key: value for key, value in one.items() if key != "kind"} for one in TWO]}
    ),
    "array.json": json.dumps(TWO),
    "single.yaml": yaml.safe_dump(TWO[0]),
    "documents.yaml": yaml.safe_dump_all(TWO),
    "list.yaml": yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": TWO}),
    "json-in.yaml": json.dumps({"kind": "List", "items": TWO}),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FORMS[name])
    nodes, wrong = nodes_of(read_manifests(tmp_path / name))
    assert not wrong
    assert [one.name for one in nodes] == (["n1"] if name.startswith("single") else ["n1", "n2"])


def test_a_folder_of_manifests(tmp_path: Path) -> None:
    for one in TWO:
        (tmp_path / f"{one['metadata']['name']}.json").write_text(json.dumps(one))
    assert len(read_manifests(tmp_path)) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not valid JSON"),
        ("[1]", "not a Kubernetes object"),
        ('{"a": 1}', "it has no kind"),
        ("", "empty"),
        ('{"kind": "List", "items": 3}', "items"),
    ],
)
def test_what_is_no_manifest_is_never_no_nodes(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(BadManifest, match=says):
        read_manifests(tmp_path / "x.json")


def test_a_missing_file_is_never_no_nodes(tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match="cannot be read"):
        read_manifests(tmp_path / "none.yaml")


def test_network_yaml_wins_field_by_field() -> None:
    loaded = load_text(HEAD + "nodes:\n  n1: {address: 10.9.9.9/24, site: here, labels: {zone: a}}\n  n9: {podCIDRs: [10.244.9.0/24]}\n")
    facts = build_facts(loaded, [parse_node(node("n1", site="there", direct_routing="true"))])
    found = facts.nodes["n1"]
    assert found.addresses == (NodeAddress("10.9.9.9", 24),)
    assert found.site == "here"
    assert found.direct_routing is True, "what the file does not say comes from the API"
    assert found.pod_cidrs == ("10.244.1.0/24", "fd00:10:244:1::/64")
    assert found.labels == {"role": "edge", "zone": "a"}
    assert found.where == "network.yaml:4"
    assert facts.nodes["n9"].addresses == ()


LINT = [
    (
        "n1: {address: 10.0.1.1/24, podCIDRs: [10.244.0.0/23]}, n2: {address: 10.0.1.2/24, podCIDRs: [10.244.1.0/24]}",
        "10.244.1.0/24 overlaps 10.244.0.0/23 of node n1",
    ),
    ("n1: {address: 10.0.1.1/24, podCIDRs: [10.9.0.0/24]}", "10.9.0.0/24 is outside the pod network"),
    ("n1: {address: 10.0.1.1/24}, n2: {address: 10.0.1.1/24}", "10.0.1.1 is the address of node n1 too"),
    ("n1: {address: 10.244.3.1/24}", "10.244.3.1 lies inside the pod network"),
    (
        "n1: {address: 10.0.1.1/24, site: a, publicAddress: 198.51.100.1}, n2: {address: 10.0.1.2/24, site: b, publicAddress: 198.51.100.1}",
        "198.51.100.1 with the same port is node n1's too",
    ),
    ("n1: {address: 10.0.1.1/24, publicAddress: 198.51.100.1}", "is never used: every node is at the same site"),
    (
        "n1: {address: 10.0.1.1/24, directRouting: true}, n2: {address: 10.0.1.2/24}",
        "is on here, not at n2 on the same subnet: overlay at both ends",
    ),
    ("n1: {address: 10.0.1.1, directRouting: true}", "10.0.1.1 has no prefix length"),
    ("n1: {}", "has no address"),
    ("n1: {address: 10.0.1.1/24, mtu: 1300, podCIDRs: ['fd00:10::/64']}", "1300 leaves less than IPv6's 1280 bytes"),
]


@pytest.mark.parametrize(("nodes", "says"), LINT, ids=[says[:40] for _, says in LINT])
def test_lint_across_nodes(nodes: str, says: str) -> None:
    loaded = load_text(HEAD + f"nodes: {{{nodes}}}\nfabric: {{podNetwork: [10.244.0.0/16, 'fd00:10::/32']}}\n")
    found = lint(loaded, build_facts(loaded, []))
    assert any(says in str(problem) for problem in found), [str(problem) for problem in found]
    assert all(str(problem).startswith("network.yaml:") for problem in found)


def test_a_sound_cluster_has_nothing_to_say() -> None:
    loaded = load_text(
        HEAD
        + "nodes: {n1: {address: 10.0.1.1/24, podCIDRs: [10.244.1.0/24]}, n2: {address: 10.0.1.2/24, podCIDRs: [10.244.2.0/24]}}\nfabric: {podNetwork: [10.244.0.0/16]}\n"
    )
    assert lint(loaded, build_facts(loaded, [])) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metadata", "spec", "status", "name", "addresses", "podCIDRs", "annotations", "type", "address"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_no_object_leads_to_anything_but_a_told_mistake(thing: Any) -> None:
    if not isinstance(thing, dict):
        return
    try:
        parse_node(thing, "fuzz")
    except BadNode as error:
        assert str(error)
