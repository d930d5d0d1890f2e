"""Files that become content, or the reason why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.daemon.content import Rejected
from reconciler.daemon.inputs import load_inputs, unpack_inputs
from reconciler.daemon.settings import Settings
from reconciler.engine.guard import Limits
from reconciler.facts.model import Node

HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"
NODES = "nodes:\n  n1: {address: 10.0.1.11/24, podCIDRs: [10.244.1.0/24]}\n"
FABRIC = "fabric: {podNetwork: [10.244.0.0/16]}\n"


def settings(tmp_path: Path, text: str, *facts: Path) -> Settings:
    (tmp_path / "network.yaml").write_text(text)
    return Settings(tmp_path / "network.yaml", "n1", facts)


def test_limits_and_what_needs_an_uplink(tmp_path: Path) -> None:
    plain = load_inputs(settings(tmp_path, HEAD + NODES + "limits: {maxDeletes: 5%, floor: 3}\n"))
    assert plain.limits == Limits(0.05, 3)
    assert not plain.needs_uplink
    assert load_inputs(settings(tmp_path, HEAD + NODES + FABRIC)).needs_uplink


def test_without_any_nodes_this_one_has_just_its_name(tmp_path: Path) -> None:
    assert load_inputs(settings(tmp_path, HEAD)).node == Node("n1")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (HEAD + "fabrik: {}\n", "network.yaml:3:1: fabrik: unknown key; did you mean fabric?"),
        (HEAD + NODES.replace("n1", "n2"), "node n1 is not among the 1 nodes"),
        ("", "network.yaml"),
    ],
)
def test_rejected_with_place_and_remedy(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(Rejected) as rejected:
        load_inputs(settings(tmp_path, text))
    assert why in rejected.value.problems[0]


def test_missing_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"network\.yaml: cannot be read: No such file"):
        load_inputs(Settings(tmp_path / "network.yaml", "n1"))
    with pytest.raises(Rejected, match=r"nodes\.json: cannot be read: No such file"):
        load_inputs(settings(tmp_path, HEAD, tmp_path / "nodes.json"))


def manifest(*names: str, **labels: str) -> str:
    items = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {"podCIDRs": [f"10.244.{number}.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": f"10.0.2.{number}"}]},
        }
        for number, name in enumerate(names, 2)
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def test_what_was_packed_is_the_same_content_but_stale(tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text(manifest("n2", "n3", zone="ä"))
    said = settings(tmp_path, HEAD + "metadata: {name: branch} # ä\n" + NODES + FABRIC, tmp_path / "nodes.json")
    live = load_inputs(said)
    kept = unpack_inputs(said, live.packed())
    assert (kept.stale, live.stale) == (True, False)
    assert (kept.digest, kept.content, kept.facts, kept.node, kept.name) == (live.digest, live.content, live.facts, live.node, "branch")
    assert not live.same(kept), "read live, the same content is no longer stale"
    assert sorted(kept.nodes) == ["n1", "n2", "n3"]


def test_the_same_content_is_known_as_such(tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text(manifest("n2"))
    said = settings(tmp_path, HEAD + NODES, tmp_path / "nodes.json")
    first = load_inputs(said)
    assert first.same(load_inputs(said))
    (tmp_path / "nodes.json").write_text(manifest("n2", a="b"))
    other = load_inputs(said)
    assert not first.same(other)
    assert first.content == other.content, "the digest to confirm is the same while the nodes are"
    (tmp_path / "nodes.json").write_text(manifest("n2", "n3"))
    assert load_inputs(said).content != first.content


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"\xff", b'[[["fabrik: 1", "network.yaml"]], [{}]]', b'[[["", "network.yaml"]], [{}]]', b"[" * 5000]
)
def test_what_cannot_be_unpacked_is_rejected(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(Rejected):
        unpack_inputs(settings(tmp_path, HEAD), body)


def test_two_files_that_contradict_are_both_named(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "a.yaml").write_text(HEAD + "sysctls: {net.core.somaxconn: 1}\n")
    (folder / "b.yaml").write_text("sysctls:\n  net.core.somaxconn: 2\n")
    with pytest.raises(Rejected) as rejected:
        load_inputs(Settings(folder, "n1"))
    [problem] = rejected.value.problems
    assert "b.yaml:2" in problem
    assert "a.yaml:3" in problem


def test_as_large_as_a_configmap_can_be_and_a_byte_more(tmp_path: Path) -> None:
    text = HEAD + NODES + "#"
    text += "x" * ((1 << 20) - len(text))
    assert load_inputs(settings(tmp_path, text)).node.name == "n1"
    with pytest.raises(Rejected, match=r"network\.yaml.*1,048,577 bytes; a ConfigMap holds at most 1,048,576"):
        load_inputs(settings(tmp_path, text + "x"))
