"""Files that become content, or the reason why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.daemon.controller import Rejected
from reconciler.daemon.inputs import load_inputs
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
