"""NetworkPolicies that nobody enforces are a mistake of whoever runs the cluster, and no tenant's way to stop it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from reconciler.cli.plans import validate
from reconciler.facts.policies import policies_of, unenforced
from reconciler.spec.load import load_texts

SPEC = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"


def policy(name: Any, namespace: Any = "media", kind: str = "NetworkPolicy", version: str = "networking.k8s.io/v1") -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def told(spec: str, *things: dict[str, Any], warning: bool = False) -> list[str]:
    loaded = load_texts([(spec.encode(), "network.yaml")])
    return [f"{one.severity} {one}" for one in unenforced(loaded, policies_of((thing, "facts.yaml") for thing in things), warning=warning)]


def test_one_is_named_with_what_to_do() -> None:
    (said,) = told(SPEC, policy("deny-all"))
    assert said.startswith("error network.yaml:")
    assert "NetworkPolicy media/deny-all is in the cluster, and plumbline enforces no NetworkPolicy" in said
    assert "say policy: external where another program on the nodes does, or delete it" in said


def test_many_are_one_sentence() -> None:
    (said,) = told(SPEC, *(policy(f"p{number}") for number in range(9)))
    assert "media/p0, NetworkPolicy media/p1, NetworkPolicy media/p2 and 6 more are in the cluster" in said


def test_it_is_told_at_the_line_that_says_otherwise() -> None:
    (said,) = told(f"{SPEC}policy: none\n", policy("deny-all"))
    assert said.startswith("error network.yaml:3:")


def test_somebody_else_may_enforce_them() -> None:
    assert told(f"{SPEC}policy: external\n", policy("deny-all")) == []


def test_a_tenant_is_only_warned_of_by_the_daemon() -> None:
    (said,) = told(SPEC, policy("deny-all"), warning=True)
    assert said.startswith("warning ")


def test_only_policies_of_kubernetes_count() -> None:
    """Those of another group came with whoever enforces them."""
    assert told(SPEC, policy("a", version="crd.projectcalico.org/v1"), {"kind": "Node", "metadata": {"name": "n1"}}) == []
    (said,) = told(SPEC, policy("a", None, "AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1"))
    assert "AdminNetworkPolicy a is" in said


@pytest.mark.parametrize("name", [None, 7, "a\nb", "$(reboot)", "x" * 300, {"a": 1}])
def test_names_that_are_none_are_not_shown(name: Any) -> None:
    assert policies_of([(policy(name), "")]) == ("NetworkPolicy media",)
    assert policies_of([({"kind": "NetworkPolicy", "metadata": name}, "")]) == ("NetworkPolicy without a name",)


def test_validate_refuses(tmp_path: Path) -> None:
    (tmp_path / "network.yaml").write_text(SPEC)
    (tmp_path / "facts.yaml").write_text(yaml.safe_dump(policy("deny-all")))
    words = [str(tmp_path / "network.yaml"), "--facts", str(tmp_path / "facts.yaml")]
    done = CliRunner().invoke(validate, words, standalone_mode=False)
    assert done.return_value == 1
    assert "media/deny-all" in done.stderr
    (tmp_path / "network.yaml").write_text(f"{SPEC}policy: external\n")
    assert CliRunner().invoke(validate, words, standalone_mode=False).return_value == 0
