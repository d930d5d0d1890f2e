"""`helm test`: verify with the Nodes that the API has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.looks import verify
from reconciler.cli.trouble import CannotGoOn
from tests.api.certificates import Certificates
from tests.api.server import SmallApi
from tests.cluster.objects import node
from tests.namespaces import sh

pytestmark = pytest.mark.kernel

SPEC = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nfabric: {podNetwork: [10.244.0.0/16]}\n"


@pytest.fixture
def words(netns: str, server: SmallApi, certificates: Certificates, tmp_path: Path) -> list[str]:
    (tmp_path / "network.yaml").write_text(SPEC)
    for number in (1, 2, 3):
        server.put("/api/v1/nodes", node(f"n{number}", f"10.0.1.1{number}", f"10.244.{number}.0/24"))
    given = {"cluster": {"server": server.url, "certificate-authority": str(certificates.authority)}, "user": {"token": "admin"}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "it", "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
              **{f"{name}s": [{"name": "it", name: value}] for name, value in given.items()}}  # fmt: skip
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    return [
        "--config",
        str(tmp_path / "network.yaml"),
        "--node",
        "n1",
        "--cluster",
        "--kubeconfig",
        str(tmp_path / "kubeconfig"),
        "--within",
        "1",
    ]


def test_the_nodes_of_the_api_are_asked(words: list[str]) -> None:
    sh("ip addr add 10.244.2.0/32 dev lo && ip addr add 10.244.3.0/32 dev lo")
    done = CliRunner().invoke(verify, words, standalone_mode=False, catch_exceptions=False)
    assert done.stdout.splitlines() == ["ok      n2 10.244.2.0", "ok      n3 10.244.3.0"]
    assert done.return_value == 0


def test_one_that_is_silent_is_named(words: list[str]) -> None:
    sh("ip addr add 10.244.2.0/32 dev lo")
    done = CliRunner().invoke(verify, words, standalone_mode=False, catch_exceptions=False)
    assert "silent  n3 10.244.3.0" in done.stdout
    assert done.return_value == 1


def test_an_api_that_does_not_answer_is_not_an_empty_cluster(words: list[str], server: SmallApi) -> None:
    with server.down(), pytest.raises(CannotGoOn, match=r"127\.0\.0\.1"):
        CliRunner().invoke(verify, words, standalone_mode=False, catch_exceptions=False)
