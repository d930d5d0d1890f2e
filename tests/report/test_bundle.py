"""A bundle holds what is needed to look again, and no secret, wherever one was."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.daemon.status import Status, as_json
from reconciler.report.bundle import Bundle, write_new
from reconciler.report.bundle_facts import bare
from reconciler.report.bundle_redact import TAKEN, Redactor
from reconciler.spec.load import load_text
from tests.api.server import SmallApi
from tests.cli.test_cli import QUICKSTART, plumbline
from tests.cluster import objects
from tests.namespaces import sh
from tests.safety.node import SPEC, uplink

REPOSITORY = Path(__file__).parents[2]
WIREGUARD = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
PUBLIC = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6Ing5In0.eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2VhY2NvdW50In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
FASTOPEN = "5ec4e701-5ec4e702-5ec4e703-5ec4e704"
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBkg4LVWM9nuwNSk3yByxZpYRTBnVJk5\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"PrivateKey = {WIREGUARD}", WIREGUARD),
        (f"wg says {WIREGUARD} and goes on", WIREGUARD),
        (f"Authorization: Bearer {JWT}", JWT),
        (f"a log line with {JWT} in it", JWT),
        (f"x: |\n  {PEM}", "MHcCAQEEIBkg4LVWM9nuwNSk3yByxZpYRTBnVJk5"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk", "b3BlbnNzaC1rZXk"),
        ("password: hunter2", "hunter2"),
        ("bgp_password=hunter2 next", "hunter2"),
        ('"md5Password": "hunter 2, with a \\" in it"', "hunter 2"),
        ("neighbor 10.0.0.1 password hunter2", "hunter2"),
        ("the password is hunter2", "hunter2"),
        ("{user: a, apiKey: 'hunter2'}", "hunter2"),
        ("sysctl -w net.ipv6.conf.all.stable_secret=2001:db8::1:2", "2001:db8::1:2"),
        ("net.ipv4.tcp_fastopen_key = 01234567-89abcdef-01234567-89abcdef", "89abcdef"),
        ("https://admin:hunter2@example.org/x", "hunter2"),
        ("client-key-data: LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQo=", "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQo"),
        ("aws_access_key_id = AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("push with ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_abcdef"),
        ("kubeadm join --token abcdef.0123456789abcdef", "0123456789abcdef"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
        ("Basic YWRtaW46aHVudGVyMg==", "YWRtaW46aHVudGVyMg"),
    ],
)
def test_secrets_go_by_their_names_and_by_their_shapes(text: str, secret: str) -> None:
    redactor = Redactor()
    assert secret in text
    assert secret not in redactor.text(text)
    assert redactor.found.total() >= 1
    assert secret not in json.dumps(Redactor().document({"line": text, "lines": [text]}))


@pytest.mark.parametrize("folder", ["tests/golden", "examples", "docs"])
def test_plans_and_specs_lose_nothing(folder: str) -> None:
    """But the WireGuard keys of examples, and what docs say of secrets."""
    for path in sorted((REPOSITORY / folder).rglob("*")):
        if path.suffix in (".txt", ".yaml") and "argocd" not in str(path) and "flux" not in str(path) and "ci" not in path.parts:
            text = path.read_text()
            assert Redactor().text(text) == text, path


@pytest.mark.parametrize(
    "text",
    [
        "privateKey: /etc/wireguard/wg0.key", '"preshared_key": "set"', "# digest 449496fa233cd2c01a425c34240c8b1aacc0234cfbbb082c0009919deda7dd81",
        '"netns_cookie": 4097, "secret": false', "bridge fdb replace 1a:8a:99:25:9c:09 dev plumb0 dst 10.0.2.13 self permanent",
        "nft add rule inet plumbline output ip saddr 10.244.0.0/16 counter masquerade", "/var/lib/kubelet/pods/6F9619FF-8B86-D011-B42D-00CF4FC964FF/volumes/x",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_a_key_becomes_another_key_the_same_everywhere() -> None:
    redactor = Redactor()
    once = redactor.text(f"peer {PUBLIC}")
    assert re.fullmatch("peer [A-Za-z0-9+/]{43}=", once)
    assert PUBLIC not in once
    assert Redactor().document({"publicKey": PUBLIC})["publicKey"] == once.removeprefix("peer ")
    assert redactor.text(once) == once


def test_known_secrets_go_wherever_they_are() -> None:
    redactor = Redactor(["correct horse", "short"])
    assert redactor.text("a correct horse is in a short sentence") == f"a {TAKEN} is in a short sentence"


def test_rows_and_staged_contents() -> None:
    content = base64.b64encode(f"[Interface]\nPrivateKey = {WIREGUARD}\nName = wg0\n".encode()).decode()
    document = {
        "content": {"base64": content}, "row": {"key": {"name": "net.ipv6.conf.all.stable_secret"}, "value": "2001:db8::5"},
        "token": {"value": ["hunter2", {"x": "hunter2"}]}, "binary": {"base64": base64.b64encode(bytes(range(256))).decode()}, "preshared_key": "set",
    }  # fmt: skip
    said = Redactor().document(document)
    assert base64.b64decode(said["content"]["base64"]) == f"[Interface]\nPrivateKey = {TAKEN}\nName = wg0\n".encode()
    assert said["row"]["value"] == TAKEN
    assert "hunter2" not in json.dumps(said)
    assert (said["binary"], said["preshared_key"]) == (document["binary"], "set")


YAML = f"""\
# the password of the switch: hunter2
apiVersion: plumbline.dev/v1alpha1   # hunter2
kind: ClusterNetwork
metadata: {{name: "a # b"}} # hunter2
nodes:
  n1: {{address: 10.0.1.11/24, labels: {{token: "hunter2", role: edge}}}}
sysctls:
  net.ipv6.conf.all.stable_secret: "hunter2"
resources:
  file:
    frr:
      path: /etc/cni/net.d/plumbline-x
      content: |   # hunter2
        router bgp 64512
         neighbor 10.0.0.1 password hunter2
        # not a comment of YAML
    wg:
      path: /etc/cni/net.d/plumbline-y
      content: "PrivateKey = {WIREGUARD}\\n"
    secret: |
      hunter2
      hunter2
limits: {{maxDeletes: 30%}}
"""


def test_a_file_keeps_its_lines_and_loses_its_comments_and_secrets() -> None:
    said = Redactor().yaml(YAML)
    assert "hunter2" not in said
    assert WIREGUARD not in said
    before, after = yaml.safe_load(YAML), yaml.safe_load(said)
    assert after["metadata"]["name"] == "a # b"
    assert (
        after["resources"]["file"]["frr"]["content"] == f"router bgp 64512\n neighbor 10.0.0.1 password {TAKEN}\n# not a comment of YAML\n"
    )
    assert (after["limits"], after["nodes"]["n1"]["address"]) == (before["limits"], "10.0.1.11/24")
    for line in ("sysctls:", "resources:", "limits: {maxDeletes: 30%}"):
        assert said.splitlines().index(line) == YAML.splitlines().index(line), "errors name lines"


@pytest.mark.parametrize(
    "text",
    [
        "a: [\n# hunter2\nb: }",
        "a: b: c # hunter2",
        "\t# hunter2",
        "[" * 900 + "# hunter2",
        "x: &a [*a] # hunter2",
        "%BAD # hunter2\n---",
        "a: \x00# hunter2",
    ],
)
def test_a_file_that_is_not_yaml_loses_all_that_may_be_a_comment(text: str) -> None:
    assert "hunter2" not in Redactor().yaml(text)


WORDS = st.text("abc d:#'\"\\\n-[]{}|>&*!%@`0,", max_size=8)
TREES = st.recursive(
    WORDS | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(
    TREES,
    st.sampled_from(["password", "psk", "bgpPassword", "api_key", "net.ipv6.conf.all.stable_secret"]),
    WORDS,
    st.booleans(),
    st.sampled_from([None, '"', "'", "|", ">"]),
)
def test_whatever_stands_under_a_secrets_name_goes_and_the_rest_is_as_it_was(
    tree: Any, name: str, around: str, flow: bool, style: str | None
) -> None:
    secret = f"q{around}Zx7hunter2Qw"
    text = yaml.dump(
        {"first": tree, name: {"a": [secret], "b": secret}, "last": tree}, default_flow_style=flow, default_style=style, sort_keys=False
    )
    said = yaml.safe_load(Redactor().yaml(text))
    assert "hunter2" not in json.dumps(said)
    assert (said["first"], said["last"]) == (tree, tree) or style is not None, "numbers become text where everything is quoted"
    assert "hunter2" not in Redactor().yaml(text)


# -- Kubernetes objects ------------------------------------------------------------------------------

POD = {
    "apiVersion": "v1", "kind": "Pod",
    "metadata": {"name": "a", "namespace": "default", "uid": "u", "labels": {"vxlan.openvnf.org": "true"}, "managedFields": [{"x": "hunter2"}],
                 "annotations": {"vxlan.openvnf.org/networks": "red", "kubectl.kubernetes.io/last-applied-configuration": "hunter2", "plumbline.dev/site": "x"}},
    "spec": {"nodeName": "n1", "containers": [{"env": [{"name": "PASSWORD", "value": "hunter2"}], "args": ["hunter2"]}], "volumes": ["hunter2"]},
    "status": {"phase": "Running", "podIPs": [{"ip": "10.244.1.5"}], "message": "hunter2"},
}  # fmt: skip
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hunter2"}, "data": {"a": "aHVudGVyMg=="}}


def test_of_objects_what_is_read_and_nothing_else() -> None:
    said = bare(
        [POD, SECRET, {"kind": "ConfigMap", "data": {"x": "hunter2"}}, {"kind": ["hunter2"]}],
        ["plumbline.dev/", "vxlan.openvnf.org/networks"],
    )
    assert "hunter2" not in json.dumps(said)
    [pod] = said["items"]
    assert pod["metadata"]["annotations"] == {"vxlan.openvnf.org/networks": "red", "plumbline.dev/site": "x"}
    assert (pod["spec"], pod["status"]) == ({"nodeName": "n1"}, {"phase": "Running", "podIPs": [{"ip": "10.244.1.5"}]})


@pytest.mark.parametrize(
    "thing",
    [
        {"kind": "Pod"},
        {"kind": "Node", "metadata": "x", "spec": [], "status": None},
        {"kind": "Service", "spec": {"ports": "x"}},
        {"kind": "Pod", "metadata": {"annotations": []}},
    ],
)
def test_odd_objects_do_no_harm(thing: dict[str, Any]) -> None:
    assert json.dumps(bare([thing], ["plumbline.dev/"]))


# -- the command ----------------------------------------------------------------------------------------


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert all(member.isfile() and member.mode == 0o600 and member.uid == 0 for member in members)
        assert len({member.name.partition("/")[0] for member in members}) == 1, "everything below one folder"
        return {member.name.partition("/")[2]: archive.extractfile(member).read().decode() for member in members}  # type: ignore[union-attr]


@contextmanager
def daemon(said: dict[str, Any]) -> Iterator[str]:
    """Something that answers as a daemon does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(said if self.path == "/status" else {"lines": ["password: hunter2", f"Bearer {JWT}"]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.kernel
def test_secrets_everywhere_and_none_of_them_in_the_bundle(netns: str, tmp_path: Path) -> None:
    """In comments, values, labels, files, sysctls, pods, annotations, the daemon's words, the environment."""
    sh("ip link set lo up")
    uplink()
    sh(f"echo {FASTOPEN} > /proc/sys/net/ipv4/tcp_fastopen_key")
    root = tmp_path / "root"
    (root / "etc/cni/net.d").mkdir(parents=True)
    (root / "etc/cni/net.d/plumbline-old.conf").write_text("token: hunter2\n")
    (root / "etc/cni/net.d/10-plumbline.conflist").write_text(json.dumps({"kubeconfig": {"password": "hunter2"}, "x": WIREGUARD}))
    file = tmp_path / "network.yaml"
    file.write_text(
        f"# password: hunter2\n{SPEC}  net.ipv4.tcp_fastopen_key: {FASTOPEN} # hunter2\n".replace(
            "sysctls: {net.ipv4.conf.all.rp_filter: 0}", "sysctls:"
        )
        + f"resources: {{file: {{a: {{path: /etc/cni/net.d/plumbline-a, content: 'psk = {WIREGUARD}'}}}}}}\n"
    )
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n3", "labels": {"api-token": "hunter2"}, "annotations": {"x/y": "hunter2"}},
    }
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [POD, node, SECRET]}))
    said = as_json(
        Status(
            "n1",
            str(file),
            errors=(f"line failed: wg set wg0 private-key {WIREGUARD}",),
            conflicts=("SECRET=hunter2", "swordfish-swordfish"),
        )
    )
    out = tmp_path / "b.tar.gz"
    with daemon(said) as url:
        shown = plumbline(
            "bundle",
            "--config",
            str(file),
            "--facts",
            str(facts),
            "--node",
            "n1",
            "--root",
            str(root),
            "--url",
            url,
            "--out",
            str(out),
            env={"MY_TOKEN": "swordfish-swordfish"},
        )
    inside = contents(out)
    assert set(inside) == {
        "README.txt",
        "config/network.yaml",
        "facts.json",
        "plan.txt",
        "plan.json",
        "snapshot.json",
        "status.json",
        "status-more.json",
        "versions.json",
    }
    everything = "\n".join([*inside.values(), shown.stdout, shown.stderr])
    everything += "\n".join(base64.b64decode(one).decode("utf-8", "replace") for one in re.findall(r'"base64": "([^"]*)"', everything))
    for secret in ("hunter2", "swordfish", WIREGUARD, JWT, FASTOPEN, FASTOPEN[:8], base64.b64encode(b"hunter2").decode()[:9]):
        assert secret not in everything
    assert "net.ipv4.tcp_fastopen_key" in inside["config/network.yaml"], "that it is there is no secret"
    assert "WireGuard key" in inside["README.txt"]
    assert "10.244.1.5" in inside["facts.json"]


UNDERLAY = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes: {n1: {address: 10.0.1.11/24, interface: eth0}}
underlay: {breth0: {uplink: eth0}}
"""


@pytest.mark.kernel
@pytest.mark.parametrize("spec", [SPEC, UNDERLAY], ids=["fabric", "underlay"])
def test_a_bundle_is_a_test_case(netns: str, tmp_path: Path, spec: str) -> None:
    """What was planned on the node is planned again from what is in it."""
    uplink()
    file = tmp_path / "network.yaml"
    file.write_text(spec)
    sh("ip link add plumb9 group 94 type bridge; ip route add blackhole 10.99.0.0/16 proto 94")
    out = tmp_path / "b.tar.gz"
    plumbline(
        "bundle", "--config", str(file), "--node", "n1", "--root", str(tmp_path / "root"), "--url", "http://127.0.0.1:1", "--out", str(out)
    )
    shutil.unpack_archive(out, tmp_path / "there")
    [folder] = (tmp_path / "there").iterdir()
    again = plumbline("plan", str(folder / "config/network.yaml"), "--node", "n1", "--snapshot", str(folder / "snapshot.json")).stdout
    planned = (folder / "plan.txt").read_text()
    assert "ip route del blackhole 10.99.0.0/16" in planned
    assert ("ip addr del 10.0.1.11/24 dev eth0" in planned) == (spec == UNDERLAY)
    assert [line for line in again.splitlines() if line[:1] in "+-~?!"] == [line for line in planned.splitlines() if line[:1] in "+-~?!"]
    assert "left out: status.json" in (folder / "README.txt").read_text(), "no daemon runs here"


def test_it_overwrites_nothing_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    out, dangling = tmp_path / "b.tar.gz", tmp_path / "link"
    dangling.symlink_to(tmp_path / "elsewhere")
    umask = os.umask(0)
    try:
        plumbline("bundle", "--url", "http://127.0.0.1:1", "--out", str(out))
    finally:
        os.umask(umask)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before = out.read_bytes()
    assert (
        "b.tar.gz is there already, and stays as it is: choose another name with --out"
        in plumbline("bundle", "--out", str(out), status=1).stderr
    )
    for path in (out, dangling, tmp_path):
        with pytest.raises(FileExistsError):
            write_new(path, b"x")
    assert out.read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()


def test_what_cannot_be_had_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "network.yaml"
    broken.write_text("apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nfabrik: {token: hunter2}\n")
    shown = plumbline("bundle", "--config", str(broken), "--url", "http://127.0.0.1:1", "--out", str(tmp_path / "b.tar.gz"))
    inside = contents(tmp_path / "b.tar.gz")
    assert "network.yaml:3:1: fabrik: unknown key; did you mean fabric?" in inside["problems.txt"]
    assert yaml.safe_load(inside["config/network.yaml"])["fabrik"] == {"token": TAKEN}
    assert {"README.txt", "config/network.yaml", "problems.txt", "snapshot.json", "versions.json"} == set(inside)
    assert "left out: status.json: http://127.0.0.1:1/status: Connection refused; is the daemon running" in shown.stdout
    assert f"written: {tmp_path / 'b.tar.gz'} (readable by you alone; nothing was sent)" in shown.stdout
    assert shown.stderr == ""
    missing = plumbline("bundle", "--config", str(tmp_path / "nope.yaml"), "--out", str(tmp_path / "c.tar.gz"), status=1)
    assert "nope.yaml: no such file or folder" in missing.stderr
    assert not (tmp_path / "c.tar.gz").exists()


CLUSTER = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
fabric: {podNetwork: [10.244.0.0/16]}
segments: {red: {vni: 101, allow: {namespaces: [default]}}}
services: {}
"""


def kubeconfig(path: Path, server: str) -> str:
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "it", "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "it", "user": {"token": "admin"}}], "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }  # fmt: skip
    path.write_text(json.dumps(document))
    return str(path)


def test_what_the_daemon_hears_of_the_api_is_in_it_without_secrets(tmp_path: Path) -> None:
    api = SmallApi()
    joined = {"vxlan.openvnf.org": "true"}
    hidden = {"vxlan.openvnf.org/networks": "red", "vault.example/token": "hunter2"}
    for number in (1, 2):
        api.put("/api/v1/nodes", objects.node(f"n{number}", f"10.0.1.1{number}", f"10.244.{number}.0/24"))
    for name, node, labels in (("here", "n1", {}), ("member", "n2", joined), ("both", "n1", joined), ("nobodys", "n2", {})):
        pod = objects.pod(name, node, labels=labels, **hidden)
        pod["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "hunter2"}]
        api.put("/api/v1/namespaces/default/pods", pod)
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    web = {
        "metadata": {"name": "web"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": ports},
    }
    api.put("/api/v1/namespaces/default/services", web)
    policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
    api.put(policies, {"metadata": {"name": "closed"}, "spec": {"podSelector": {}}})
    api.start()
    file = tmp_path / "network.yaml"
    file.write_text(CLUSTER)
    words = ["bundle", "--config", str(file), "--node", "n1", "--kubeconfig", kubeconfig(tmp_path / "kubeconfig", api.url)]
    watching = as_json(Status("n1", str(file)))
    try:
        with daemon({**watching, "watches": [{"name": "nodes", "objects": 2, "trouble": "", "since": None}]}) as url:
            plumbline(*words, "--url", url, "--out", str(tmp_path / "a.tar.gz"))
        with daemon(watching) as url:
            plumbline(*words, "--url", url, "--out", str(tmp_path / "b.tar.gz"))
            plumbline(*words, "--url", url, "--cluster", "--out", str(tmp_path / "c.tar.gz"))
    finally:
        api.stop()
    shown = plumbline(*words, "--url", "http://127.0.0.1:1", "--cluster", "--out", str(tmp_path / "d.tar.gz")).stdout
    inside = contents(tmp_path / "a.tar.gz")
    assert "hunter2" not in json.dumps(inside)
    assert "problems.txt" not in inside, "a policy that nobody enforces is a warning here, as it is of the daemon"
    told = {(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in json.loads(inside["facts.json"])["items"]}
    assert told == {
        *(("v1", "Node", f"n{number}") for number in (1, 2)), *(("v1", "Pod", name) for name in ("here", "member", "both")),
        ("v1", "Service", "web"),
    }  # fmt: skip
    assert "read (of the Kubernetes API)" in inside["README.txt"]
    assert "10.244.2.0/24" in inside["plan.txt"]
    (tmp_path / "facts.json").write_text(inside["facts.json"])
    again = plumbline("plan", str(file), "--facts", str(tmp_path / "facts.json"), "--node", "n2").stdout
    assert "10.244.1.0/24" in again, "and can be planned with again"
    assert "facts.json" not in contents(tmp_path / "b.tar.gz"), "of a daemon that asks nobody"
    assert contents(tmp_path / "c.tar.gz")["facts.json"] == inside["facts.json"]
    assert "left out: facts.json: " in shown
    assert "facts.json" not in contents(tmp_path / "d.tar.gz")


def test_without_a_name_it_is_called_by_node_and_time_and_a_folder_is_all_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    nodes, rest = QUICKSTART.read_text().split("fabric:", 1)
    (folder / "a.yaml").write_text(nodes)
    (folder / "b.yaml").write_text("apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nfabric:" + rest)
    words = [*plumbline_command(), "bundle", "--config", str(folder), "--node", "n1", "--url", "http://127.0.0.1:1"]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    assert done.returncode == 0, done.stderr
    [made] = tmp_path.glob("plumbline-bundle-n1-2*Z.tar.gz")
    inside = contents(made)
    assert {"config/a.yaml", "config/b.yaml"} <= set(inside)
    assert "plumbline plan config --node n1 --snapshot snapshot.json" in inside["README.txt"]
    versions = json.loads(inside["versions.json"])
    assert versions["tools"]["ip"].startswith("ip utility, iproute2")
    assert versions["kernel"].startswith(os.uname().release)


def plumbline_command() -> list[str]:
    import sys

    return [sys.executable, "-m", "reconciler.cli"]


def test_pieces_that_cannot_be_encoded_do_no_harm() -> None:
    made = Bundle(Redactor())
    made.add_text("a.txt", "odd", "\ud800 and \x00")
    assert made.packed("f", "n1", "now", 0)


def test_the_redacted_example_is_still_valid() -> None:
    assert load_text(Redactor().yaml(SPEC)).spec == load_text(SPEC).spec
