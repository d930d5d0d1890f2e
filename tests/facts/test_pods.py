"""Pod manifests as the API gives them, and as people get them wrong."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.facts.model import Pod
from reconciler.facts.pods import BadPod, parse_pod, pods_of

WHOLE: dict[str, Any] = {
    "kind": "Pod",
    "metadata": {"name": "a", "namespace": "media", "uid": "u-1", "labels": {"x": "y"}, "annotations": {"n": "v"}},
    "spec": {"nodeName": "n1"},
    "status": {"phase": "Running", "podIP": "10.244.1.10", "podIPs": [{"ip": "10.244.1.10"}, {"ip": "FD00::0010"}]},
}


def test_all_of_it() -> None:
    found = parse_pod(WHOLE, "pods.yaml")
    where = "pods.yaml (Pod media/a)"
    assert found == Pod("media", "a", "u-1", "n1", ("10.244.1.10", "fd00::10"), {"x": "y"}, {"n": "v"}, False, "Running", where)
    assert (found.address(4), found.address(6), found.key) == ("10.244.1.10", "fd00::10", "media/a")


def test_what_is_absent_is_not_wrong() -> None:
    found = parse_pod({"kind": "Pod", "metadata": {"name": "a"}, "status": {"podIPs": [{}]}})
    assert (found.key, found.node, found.addresses, found.host_network) == ("default/a", "", (), False)
    assert parse_pod({**WHOLE, "spec": {"hostNetwork": True}}).host_network


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metadata": {}}, "metadata.name is missing"),
        ({"metadata": {"name": "a", "labels": {"vxlan.openvnf.org": True}}}, 'vxlan.openvnf.org is no text; write "true" in quotes'),
        ({"metadata": {"name": "a", "annotations": []}}, "annotations is no mapping"),
        ({"status": {"podIP": "10.1"}}, "is no address"),
        ({"status": {"podIP": "127.0.0.1"}}, "cannot be the address of a pod"),
        ({"status": {"podIPs": "10.0.0.1"}}, "podIPs is no list"),
    ],
)
def test_mistakes(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadPod, match=says.replace("(", r"\(")):
        parse_pod({**WHOLE, **change})


def test_a_static_pod_has_the_uid_that_the_runtime_knows() -> None:
    """What the API has is its mirror, with a uid of its own."""
    told: dict[str, Any] = {
        "metadata": {"name": "a-n1", "uid": "of-the-mirror", "annotations": {"kubernetes.io/config.mirror": "aad812c6"}}
    }
    assert parse_pod(told).uid == "aad812c6"
    told["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "../aad812c6"}
    with pytest.raises(BadPod, match=r"metadata\.uid: '\.\./aad812c6' is none"):
        parse_pod(told)


def test_a_bad_pod_is_left_out_and_told_and_no_pods_is_not_known() -> None:
    bad = {**WHOLE, "metadata": {"name": "b", "labels": {"x": 1}}}
    pods, wrong = pods_of([(WHOLE, "f"), ({"kind": "Node"}, "f"), (bad, "f"), ({**WHOLE, "spec": {}}, "g")])
    assert pods is not None
    assert [pod.key for pod in pods] == ["media/a"]
    assert "left out" in wrong[0]
    assert "said otherwise before" in wrong[1]
    assert pods_of([({"kind": "Node"}, "f")]) == (None, [])
