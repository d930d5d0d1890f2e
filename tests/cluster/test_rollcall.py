"""A whole cluster, as its nodes say it: status --all, and wait for a pipeline."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.cluster.publisher import NODE_NETWORKS, ROLLED_BACK
from reconciler.cluster.rollcall import NOTHING, Standing, joined, standing
from tests.api.certificates import Certificates
from tests.api.rules import User
from tests.api.server import SmallApi
from tests.cluster.objects import node

ROOT = Path(__file__).parents[2]
A, B = "a" * 64, "b" * 64


def word(name: str, digest: str = A, *, ready: bool = True, undone: str = "", why: str = "as network.yaml says") -> dict[str, Any]:
    labels = {ROLLED_BACK: undone[:32]} if undone else {}
    ready_ = {"type": "Ready", "status": str(ready), "reason": "R", "message": why, "lastTransitionTime": "2024-01-01T00:00:00Z"}
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"digest": digest, "drift": {"found": 2, "repaired": 2}, "conditions": [ready_]},
    }


@pytest.fixture
def cluster(server: SmallApi) -> SmallApi:
    server.kinds.define(yaml.safe_load((ROOT / "charts/plumbline/crds/nodenetworks.yaml").read_text()))
    server.users["admin"] = User(
        "waiter",
        {"": [{"verbs": ["list", "watch"], "apiGroups": ["", "plumbline.dev"], "resources": ["nodes", "nodenetworks"]}]},
    )
    for name in ("n1", "n2", "n3"):
        server.put("/api/v1/nodes", node(name))
    return server


@pytest.fixture
def plumbline(cluster: SmallApi, certificates: Certificates, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    config = tmp_path / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "v1", "kind": "Config", "current-context": "it",
                "clusters": [{"name": "it", "cluster": {"server": cluster.url, "certificate-authority": str(certificates.authority)}}],
                "users": [{"name": "it", "user": {"token": "admin"}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            }
        )
    )  # fmt: skip

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "reconciler.cli", *words, "--kubeconfig", str(config)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)

    return start


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_every_node_has_a_line(cluster: SmallApi, plumbline: Callable[..., subprocess.Popen[str]]) -> None:
    cluster.put(NODE_NETWORKS, word("n1"))
    cluster.put(NODE_NETWORKS, word("n2", B, ready=False, why="the newest content is not valid"))
    code, out, _ = ended(plumbline("status", "--all"))
    assert code == 1
    lines = [line.split() for line in out.splitlines()]
    assert lines[1] == ["n1", "yes", "a" * 12, "2", "2024-01-01T00:00:00Z"]
    assert lines[2][:3] == ["n2", "no", "b" * 12]
    assert out.splitlines()[2].endswith("the newest content is not valid")
    assert NOTHING in out.splitlines()[3]
    assert out.splitlines()[-1].startswith("1 of 3 nodes are ready; 1 with aaaaaaaaaaaa")
    code, out, _ = ended(plumbline("status", "--all", "-o", "json"))
    assert [one["node"] for one in json.loads(out)] == ["n1", "n2", "n3"]


def test_without_the_crd_it_says_so(server: SmallApi, plumbline: Callable[..., subprocess.Popen[str]]) -> None:
    server.kinds.forget("plumbline.dev", "nodenetworks")
    code, _, err = ended(plumbline("status", "--all"))
    assert code == 1
    assert "the CRD is in charts/plumbline/crds" in err


def test_wait_ends_with_the_last_node(cluster: SmallApi, plumbline: Callable[..., subprocess.Popen[str]]) -> None:
    for name in ("n1", "n2", "n3"):
        cluster.put(NODE_NETWORKS, word(name, B))
    process = plumbline("wait", "--digest", A, "--all")
    assert process.stdout is not None
    assert process.stdout.readline() == "0 of 3 nodes have aaaaaaaaaaaa\n"
    for name in ("n1", "n2", "n3"):
        assert process.poll() is None
        cluster.put(NODE_NETWORKS, word(name, A))
    code, out, _ = ended(process)
    assert code == 0
    assert out.splitlines()[-1] == "3 of 3 nodes have aaaaaaaaaaaa"


def test_wait_gives_up_at_once_where_a_node_had_to_undo_it(cluster: SmallApi, plumbline: Callable[..., subprocess.Popen[str]]) -> None:
    cluster.put(NODE_NETWORKS, word("n1"))
    cluster.put(NODE_NETWORKS, word("n2", B, ready=False, undone=A, why="it was put in place and undone: no answer from 10.0.1.1"))
    code, _, err = ended(plumbline("wait", "--digest", A, "--all", "--timeout", "1h"))
    assert code == 1
    assert "n2: had to undo it: it was put in place and undone: no answer from 10.0.1.1" in err


def test_wait_names_who_is_missing_when_the_time_is_over(cluster: SmallApi, plumbline: Callable[..., subprocess.Popen[str]]) -> None:
    cluster.put(NODE_NETWORKS, word("n1"))
    cluster.put(NODE_NETWORKS, word("n2", B))
    code, _, err = ended(plumbline("wait", "--digest", A[:12], "--all", "--timeout", "1s"))
    assert code == 1
    assert "n2: has bbbbbbbbbbbb in place" in err
    assert f"n3: {NOTHING}" in err
    assert "n1" not in err


def test_wait_for_some_nodes(cluster: SmallApi, plumbline: Callable[..., subprocess.Popen[str]]) -> None:
    cluster.put(NODE_NETWORKS, word("n1"))
    assert ended(plumbline("wait", "--digest", A, "--node", "n1"))[0] == 0
    code, _, err = ended(plumbline("wait", "--digest", A, "--node", "n9"))
    assert (code, "n9 is no Node of this cluster" in err) == (1, True)
    assert ended(plumbline("wait", "--digest", A))[0] == 64


def test_a_word_that_says_next_to_nothing() -> None:
    assert standing({"metadata": {"name": "n1"}}) == Standing("n1", why=NOTHING)
    assert joined(["n2", "n1"], [Standing("n1", ready=True)]) == [Standing("n1", ready=True), Standing("n2")]
    assert not Standing("n1", ready=True).has("")
    assert not Standing("n1", rolled_back="").undid(A)
    assert Standing("n1", rolled_back=A[:32]).undid(A)
    assert Standing("n1", rolled_back=A[:32]).undid(A[:12])
    assert not Standing("n1", rolled_back=A[:32]).undid(B)
