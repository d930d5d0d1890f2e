"""The plain manifests and the Kustomize base: strict, the same as each other, as little privilege as it takes. Without Helm."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.charts.manifests import DEPLOY, ROOT, objects, the
from tests.charts.structure import mistakes

PLAIN = objects((DEPLOY / "plumbline.yaml").read_text())
FOLDERS = sorted(path.parent for path in DEPLOY.glob("*/kustomization.yaml"))


def of_folder(folder: Any) -> list[dict[str, Any]]:
    """What Kustomize makes of a folder that does nothing but list its files."""
    said = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(said) == {"apiVersion", "kind", "resources"}, "more than a list: this reader no longer does what Kustomize does"
    return [one for name in said["resources"] for one in objects((folder / name).read_text())]


def daemon(things: list[dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = the(things, "DaemonSet")["spec"]["template"]["spec"]
    return pod


def test_every_object_is_what_kubernetes_takes() -> None:
    wrong = [mistake for folder in FOLDERS for one in of_folder(folder) for mistake in mistakes(one)]
    assert wrong == []


def test_a_misspelt_field_is_seen() -> None:
    """The check itself: what an API server would drop without a word."""
    (one,) = objects((DEPLOY / "cleanup" / "daemonset.yaml").read_text())
    one["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    assert any("readOnlyRootFileSystem" in mistake for mistake in mistakes(one))
    with pytest.raises(yaml.YAMLError, match="twice"):
        objects("a: 1\na: 2\n")


def test_plain_manifests_are_the_base() -> None:
    assert of_folder(DEPLOY / "base") == PLAIN


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_kustomize_reads_the_folders(folder: Any) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not here: Kustomize itself is not asked")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr

    def key(one: dict[str, Any]) -> tuple[str, str]:
        return one["kind"], one["metadata"]["name"]

    assert sorted(objects(done.stdout), key=key) == sorted(of_folder(folder), key=key)


def test_no_two_objects_of_one_name() -> None:
    names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in PLAIN]
    assert len(set(names)) == len(names)


def test_bindings_name_what_is_there() -> None:
    for one in PLAIN:
        if one["kind"].endswith("RoleBinding"):
            assert the(PLAIN, one["roleRef"]["kind"], one["roleRef"]["name"])
            assert the(PLAIN, "ServiceAccount")["metadata"]["name"] == one["subjects"][0]["name"] == daemon(PLAIN)["serviceAccountName"]


def test_the_daemon_has_what_it_needs_and_no_more() -> None:
    pod = daemon(PLAIN)
    (container,) = pod["containers"]
    assert container["securityContext"]["capabilities"]["add"] == ["NET_ADMIN", "NET_RAW", "BPF", "PERFMON"]
    paths = {volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    assert paths == {"/proc/sys/net", "/var/lib/plumbline", "/etc/cni/net.d", "/opt/cni/bin", "/sys/fs/bpf", "/sys/fs/cgroup"}
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["priorityClassName"] == "system-node-critical"
    assert all(probe["httpGet"]["host"] == "127.0.0.1" for name, probe in container.items() if name.endswith("Probe"))
    assert "--listen=127.0.0.1:9474" in container["args"]


def test_verbs_on_what_is_not_ours_are_reading() -> None:
    """Nobody else's objects are ever written: our own kind, Leases and Events in one namespace each, and nothing more."""
    for one in PLAIN:
        for rule in one.get("rules", ()) if one["kind"].endswith("Role") else ():
            writes = set(rule["verbs"]) - {"get", "list", "watch"}
            assert not writes or rule["apiGroups"] in (["plumbline.dev"], ["coordination.k8s.io"], ["events.k8s.io"]), rule
            assert not {"secrets", "*"} & {*rule["resources"], *rule["verbs"], *rule["apiGroups"]}
            assert one["kind"] == "Role" or not writes or rule["apiGroups"] == ["plumbline.dev"], rule


def test_the_cleanup_takes_the_daemons_place() -> None:
    """Same name and selector: a rolling update ends the daemon on a node before anything is cleaned there."""
    (instead,) = of_folder(DEPLOY / "cleanup")
    there = the(PLAIN, "DaemonSet")
    assert instead["metadata"]["name"] == there["metadata"]["name"]
    assert instead["metadata"]["namespace"] == there["metadata"]["namespace"]
    assert instead["spec"]["selector"] == there["spec"]["selector"]
    (cleanup,) = instead["spec"]["template"]["spec"]["initContainers"]
    (container,) = there["spec"]["template"]["spec"]["containers"]
    assert cleanup["args"] == ["cleanup", "--yes"]
    assert cleanup["securityContext"] == container["securityContext"]
    assert cleanup["volumeMounts"] == container["volumeMounts"]


def test_no_registry_is_named() -> None:
    for path in (*DEPLOY.rglob("*.yaml"), *(ROOT / "charts").rglob("*.yaml")):
        for image in re.findall(r"^\s*(?:- )?image: (\S+)$", path.read_text(), re.MULTILINE):
            assert "/" not in image, f"{path}: {image}"
