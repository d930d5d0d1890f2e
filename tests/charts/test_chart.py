"""The chart: every value documented, checked and used; what it makes of them; its alerts and panels name metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from reconciler.kernel.pods import CONTAINERD, CRIO
from tests.charts.manifests import CHART, DEPLOY, KUBERNETES, ROOT, objects, run_helm, template, the
from tests.charts.structure import mistakes

METRICS = (ROOT / "docs" / "metrics.md").read_text()  # made from the code, and held to it by a test of its own
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
EVERYTHING = (
    "metrics.serviceMonitor.enabled=true",
    "metrics.prometheusRule.enabled=true",
    "metrics.dashboard.enabled=true",
    'http.listen="node"',
    "features.segments=true",
    "features.cniPlugin=true",
    "cluster.configmapWatch=true",
)


OBJECTS = {"appArmorProfile", "seccompProfile"}  # of Kubernetes, with fields of its own


def leaves(said: Any, schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Every value with its path and schema; a mapping whose keys are the user's is one value."""
    if isinstance(said, dict) and "properties" in schema and path not in OBJECTS:
        assert set(said) <= set(schema["properties"]), f"{path}: not in the schema"
        for name, value in said.items():
            yield from leaves(value, schema["properties"][name], f"{path}.{name}".lstrip("."))
    else:
        yield path, said, schema


LEAVES = list(leaves(VALUES, SCHEMA))
# Another value than the default, for each: that it changes what comes out shows that it is used.
OTHERWISE: dict[str, Any] = {
    "fullnameOverride": "lot", "image.repository": "mirror.example/lot", "image.tag": "9", "image.digest": "sha256:" + "0" * 64,
    "image.pullPolicy": "Always", "image.pullSecrets": [{"name": "mirror"}],
    "config.existing": "elsewhere", "config.network": {"kind": "ClusterNetwork"}, "config.file": "kind: ClusterNetwork\n",
    "cluster.apiServers": ["https://10.0.0.5:6443"], "facts.existing": "nodes",
    "host.cniConfDir": "/k3s/etc/cni/net.d", "host.cniBinDir": "/k3s/bin", "host.stateDir": "/data/plumbline", "http.listen": "node",
    "http.port": 9999, "resync": 30, "extraEnv": [{"name": "A", "value": "b"}], "extraVolumes": [{"name": "a", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "a", "mountPath": "/a"}], "appArmorProfile": {"type": "Unconfined"},
    "seccompProfile": {"type": "Localhost", "localhostProfile": "plumbline.json"}, "resources": {"limits": {"cpu": "1"}},
    "priorityClassName": "mine", "tolerations": [{"operator": "Exists", "key": "a"}], "nodeSelector": {"a": "b"},
    "affinity": {"nodeAffinity": {}}, "podAnnotations": {"a": "b"}, "podLabels": {"a": "b"}, "maxUnavailable": "10%",
    "terminationGracePeriodSeconds": 200, "serviceAccount.annotations": {"a": "b"}, "verify.within": 9, "verify.nodeName": "n1",
    "metrics.serviceMonitor.interval": "5s", "metrics.serviceMonitor.labels": {"a": "b"}, "metrics.prometheusRule.labels": {"a": "b"},
    "metrics.dashboard.labels": {"a": "b"}, "host.netnsDir": "/var/run/netns", "host.containerdDir": "/run/k3s/containerd",
    "host.crioDir": "/run/containers/storage",
}  # fmt: skip
MONITOR = ('http.listen="node"', "metrics.serviceMonitor.enabled=true")
WITH = {  # what has to be on for a value to matter
    "host.netnsDir": ("features.segments=true",),
    "host.containerdDir": ("features.segments=true",),
    "host.crioDir": ("features.segments=true",),
    "features.cniPlugin": ("features.segments=true",),
    "metrics.serviceMonitor.enabled": MONITOR[:1],
    "metrics.serviceMonitor.interval": MONITOR,
    "metrics.serviceMonitor.labels": MONITOR,
    "metrics.prometheusRule.labels": ("metrics.prometheusRule.enabled=true",),
    "metrics.dashboard.labels": ("metrics.dashboard.enabled=true",),
}


def test_the_schema_takes_the_defaults() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(VALUES)


def test_every_value_is_documented() -> None:
    """In the schema by a description, in values.yaml by a default; and the schema knows no value that has none."""
    assert [path for path, _, schema in LEAVES if not schema.get("description")] == []

    def known(schema: dict[str, Any], path: str = "") -> Iterator[str]:
        for name, one in schema["properties"].items():
            if schema.get("additionalProperties") is False and "properties" in one and name not in OBJECTS:
                yield from known(one, f"{path}{name}.")
            else:
                yield f"{path}{name}"

    assert set(known(SCHEMA)) - {"global"} == {path for path, _, _ in LEAVES}


def test_every_value_is_named_in_a_template() -> None:
    """Without Helm: a value that no template names does nothing."""
    text = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    assert [path for path, _, _ in LEAVES if not re.search(rf"\.Values\.{re.escape(path)}\b", text)] == []
    named = {match.rstrip(".") for match in re.findall(r"\.Values\.([A-Za-z.]+)", text)}
    assert named - {path for path, _, _ in LEAVES} == set(), "a template names a value that does not exist"


@pytest.mark.parametrize("typo", ["htpp.port=1", "http.prot=1", "features.segment=true", "image.tags=1", "metrics.dashboard.enable=true"])
def test_typing_mistakes_are_refused(typo: str) -> None:
    path, _, value = typo.partition("=")
    said: Any = json.loads(value)
    for name in reversed(path.split(".")):
        said = {name: said}
    with pytest.raises(jsonschema.ValidationError, match="Additional properties"):
        jsonschema.Draft7Validator(SCHEMA).validate(said)


@pytest.mark.parametrize("wrong", [
    {"http": {"listen": "everywhere"}}, {"http": {"port": 0}}, {"image": {"digest": "latest"}}, {"resync": 0}, {"dryRun": "yes"},
    {"host": {"stateDir": "state"}}, {"host": {"cniConfDir": "/a, type: Socket"}}, {"cluster": {"apiServers": ["10.0.0.5"]}}, {"maxUnavailable": "all"},
], ids=str)  # fmt: skip
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(SCHEMA).validate(wrong)


def metrics_of(expression: str) -> set[str]:
    return set(re.findall(r"\b((?:plumbline|process)_[a-z_]+)\b", expression))


def metrics_there_are() -> set[str]:
    found = set()
    for name, kind in re.findall(r"^\| `([a-z_]+)` \| (\w+) \|", METRICS, re.MULTILINE):
        found |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return found


def test_alerts_and_panels_name_metrics_that_there_are() -> None:
    alerts = [rule["expr"] for group in yaml.safe_load((CHART / "alerts.yaml").read_text()) for rule in group["rules"]]
    dashboard = json.loads((CHART / "dashboards" / "plumbline.json").read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(alerts) > 5
    assert len(panels) > 10
    named = {one: metrics_of(one) for one in (*alerts, *panels)}
    assert [one for one, names in named.items() if not names] == []
    assert set().union(*named.values()) - metrics_there_are() == set()


def test_what_is_worth_an_alert_has_one() -> None:
    worth = set(re.findall(r"^\| `(.+?)`.* \|", METRICS.partition("## Worth an alert")[2], re.MULTILINE))
    alerts = {rule["expr"] for group in yaml.safe_load((CHART / "alerts.yaml").read_text()) for rule in group["rules"]}
    assert worth - alerts == set()


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    panels = json.loads((CHART / "dashboards" / "plumbline.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


# -- with Helm itself -----------------------------------------------------------------------------


def test_helm_finds_nothing_to_say() -> None:
    done = run_helm("lint", "--strict", "--kube-version", KUBERNETES, str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_helm_refuses_a_typing_mistake() -> None:
    done = run_helm("template", "plumbline", str(CHART), "--kube-version", KUBERNETES, "--set", "htpp.port=1")
    assert done.returncode != 0
    assert "htpp" in done.stderr


def test_the_checked_in_manifests_are_what_helm_makes(tmp_path: Any) -> None:
    """`make manifests` where this fails."""
    from deploy.generate import write
    from tests.charts.manifests import helm

    write(helm(), tmp_path)
    made = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*.yaml")}
    kept = {str(path.relative_to(DEPLOY)): path.read_text() for path in DEPLOY.rglob("*.yaml")}
    assert made == kept


@pytest.mark.parametrize(
    "settings", [(), EVERYTHING, ("uninstall.cleanup=true",), ("cluster.watch=false", 'facts.existing="nodes"')], ids=str
)
def test_everything_that_helm_makes_is_what_kubernetes_takes(settings: tuple[str, ...]) -> None:
    assert [mistake for one in objects(template(*settings)) for mistake in mistakes(one)] == []


@pytest.mark.parametrize("path", [path for path, _, _ in LEAVES])
def test_every_value_changes_what_comes_out(path: str) -> None:
    default = {one: value for one, value, _ in LEAVES}[path]
    other = (not default) if isinstance(default, bool) else OTHERWISE[path]
    ground = WITH.get(path, ())
    assert template(*ground, f"{path}={json.dumps(other)}") != template(*ground)


def test_network_yaml_from_a_file_is_kept_to_the_letter() -> None:
    text = "# a comment\napiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nmetadata: {name: a}\n"
    made = objects(template(f"config.file={json.dumps(text)}"))
    assert the(made, "ConfigMap", "plumbline-network")["data"]["network.yaml"] == text


def test_network_yaml_from_values_says_the_same() -> None:
    said = {"apiVersion": "plumbline.dev/v1alpha1", "kind": "ClusterNetwork", "nodes": {"n1": {"address": "10.0.1.11/24"}}}
    made = objects(template(f"config.network={json.dumps(said)}"))
    assert yaml.safe_load(the(made, "ConfigMap", "plumbline-network")["data"]["network.yaml"]) == said


def test_prometheus_reaches_what_it_is_to_scrape() -> None:
    done = run_helm("template", "plumbline", str(CHART), "--kube-version", KUBERNETES, "--set", "metrics.serviceMonitor.enabled=true")
    assert done.returncode != 0
    assert "http.listen: node" in done.stderr
    made = objects(template(*EVERYTHING))
    (container,) = the(made, "DaemonSet")["spec"]["template"]["spec"]["containers"]
    assert "--listen=[$(NODE_IP)]:9474" in container["args"]
    service = the(made, "Service", "plumbline-metrics")
    assert service["spec"]["selector"].items() <= the(made, "DaemonSet")["spec"]["template"]["metadata"]["labels"].items()
    assert the(made, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()


@pytest.mark.parametrize(("settings", "added"), [
    ((), ["NET_ADMIN", "NET_RAW", "BPF", "PERFMON"]),
    (("features.services=false",), ["NET_ADMIN", "NET_RAW"]),
    (("features.services=false", "features.segments=true"), ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "NET_BROADCAST"]),
], ids=str)  # fmt: skip
def test_features_bring_their_privileges_and_no_others(settings: tuple[str, ...], added: list[str]) -> None:
    (container,) = the(objects(template(*settings)), "DaemonSet")["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": added}


def test_the_plugin_brings_its_installer_which_can_write_one_folder() -> None:
    pod = the(objects(template(*EVERYTHING)), "DaemonSet")["spec"]["template"]["spec"]
    (installer,) = pod["initContainers"]
    assert installer["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert installer["volumeMounts"] == [{"name": "cni-bin", "mountPath": "/host/opt/cni/bin"}]
    assert {"name": "run", "mountPath": "/run/plumbline"} in pod["containers"][0]["volumeMounts"]
    done = run_helm("template", "plumbline", str(CHART), "--kube-version", KUBERNETES, "--set", "features.cniPlugin=true")
    assert done.returncode != 0


@pytest.mark.parametrize(
    ("settings", "pattern"), [((), CONTAINERD), (('host.crioDir="/run/containers/storage"',), CRIO)], ids=["containerd", "CRI-O"]
)
def test_the_runtimes_folder_is_where_the_daemon_looks(settings: tuple[str, ...], pattern: str) -> None:
    (container,) = the(objects(template("features.segments=true", *settings)), "DaemonSet")["spec"]["template"]["spec"]["containers"]
    (place,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "runtime"]
    assert pattern.startswith(f"{place}/*")


@pytest.mark.parametrize("settings", [("features.segments=true", "features.cniPlugin=true"), ("features.services=true",)])
def test_no_folder_has_to_be_there_that_another_pod_would_make(settings: tuple[str, ...]) -> None:
    """Ours may be the first pod since the node booted: one that waits for a folder would wait for ever."""
    spec = the(objects(template(*settings)), "DaemonSet")["spec"]["template"]["spec"]
    needed = [one["hostPath"]["path"] for one in spec["volumes"] if one.get("hostPath", {}).get("type") == "Directory"]
    assert needed
    assert all(path.startswith(("/proc/", "/sys/")) for path in needed), needed


def test_without_the_api_there_is_no_token() -> None:
    made = objects(template("cluster.watch=false"))
    assert the(made, "DaemonSet")["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    assert [one["kind"] for one in made if "Role" in one["kind"]] == []
