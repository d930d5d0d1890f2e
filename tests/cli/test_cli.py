"""The command as a stranger uses it: a process, its output, its exit status."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.kernel.trial import tried
from tests.namespaces import fresh_namespace, sh
from tests.safety.node import SPEC, uplink

QUICKSTART = Path(__file__).parent.parent.parent / "examples" / "quickstart" / "network.yaml"


def plumbline(*words: str, status: int = 0, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "reconciler.cli", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "network.yaml"
    path.write_text(SPEC)
    return str(path)


def test_version_and_help_name_the_verbs() -> None:
    assert "plumbline, version" in plumbline("--version").stdout
    shown = plumbline("--help").stdout
    for verb in ("validate", "plan", "apply", "run", "check", "verify", "explain", "snapshot", "cleanup", "schema", "lab"):
        assert f"\n  {verb} " in shown


def test_validate(spec: str) -> None:
    assert "valid, 3 nodes" in plumbline("validate", spec).stdout


def test_one_typo_is_answered_with_its_place(spec: str) -> None:
    Path(spec).write_text(SPEC.replace("podNetwork", "podNetwrok"))
    assert "network.yaml:8:3: fabric.podNetwrok: unknown key; did you mean podNetwork?" in plumbline("validate", spec, status=1).stderr


def test_a_missing_file(tmp_path: Path) -> None:
    assert "cannot be read: No such file or directory" in plumbline("plan", str(tmp_path / "no.yaml"), status=1).stderr


def test_an_unknown_node_names_those_there_are(spec: str) -> None:
    assert "its nodes are n1, n2, n3" in plumbline("plan", spec, "--node", "n9", status=64).stderr


def test_wrong_usage_is_64(spec: str) -> None:
    assert "No such option" in plumbline("plan", spec, "--bogus", status=64).stderr
    plumbline("nonsense", status=64)


def test_the_plan_is_plain_when_piped_and_says_against_what(spec: str) -> None:
    shown = plumbline("plan", spec, "--node", "n1").stdout
    assert "\x1b" not in shown
    assert shown.startswith("# n1 · network.yaml ")
    assert "against an empty node" in shown
    assert "‹uplink MTU of n1, less 50›" in shown
    assert "# fabric: node n2 (network.yaml:5)" in shown


def test_detailed_exitcode(spec: str) -> None:
    plumbline("plan", spec, "--node", "n1", "--detailed-exitcode", status=2)


def test_json_is_stable(spec: str) -> None:
    document = json.loads(plumbline("plan", spec, "--node", "n1", "-o", "json").stdout)
    assert set(document) == {"node", "against", "digest", "empty", "actions", "conflicts", "failures", "refusal"}
    assert set(document["actions"][0]) == {"verb", "kind", "key", "lines", "files", "origin", "reason", "held", "about"}


def test_spec_against_spec_shows_only_what_a_change_does(spec: str, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(SPEC.replace("10.0.2.13", "10.0.2.33"))
    shown = plumbline("plan", "--from", spec, str(new), "--all", "-o", "markdown").stdout
    assert "spec against spec" in shown
    assert "| n1 | 1 to create, 1 to change, 1 to delete |" in shown
    assert "bridge fdb replace" in shown
    assert "ip route" not in shown


def test_diff_shows_before_and_after(spec: str, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(SPEC.replace("10.0.2.13", "10.0.2.33"))
    assert "dst: 10.0.2.13 → 10.0.2.33" in plumbline("plan", "--from", spec, str(new), "--node", "n1", "-o", "diff").stdout


def test_plan_all_for_100_nodes_in_a_folder_of_manifests(tmp_path: Path) -> None:
    spec = tmp_path / "network.yaml"
    spec.write_text("apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nfabric: {podNetwork: [10.0.0.0/8]}\n")
    folder = tmp_path / "nodes"
    folder.mkdir()
    for number in range(100):
        node = {
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": f"w{number}"},
            "spec": {"podCIDRs": [f"10.{number}.0.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{number + 1}"}]},
        }  # fmt: skip
        (folder / f"{number}.json").write_text(json.dumps(node))
    shown = plumbline("plan", str(spec), "--all", "--facts", str(folder)).stdout
    assert shown.count("# w") >= 100
    assert shown.count("bridge fdb replace") == 100 * 99


def test_explain_names_the_line_and_the_reason(spec: str) -> None:
    shown = plumbline("explain", spec, "10.244.3.0/24", "--node", "n1").stdout
    assert "ip route add 10.244.3.0/24" in shown
    assert "fabric: node n3 (network.yaml:6)" in shown
    assert "because overlay: directRouting is not on at n3" in shown


def test_schema_is_in_step() -> None:
    checked_in = QUICKSTART.parent.parent.parent / "schema" / "network.schema.json"
    assert plumbline("schema").stdout == checked_in.read_text(), "make schema writes it anew"


def test_examples_fit_the_schema() -> None:
    import jsonschema
    import yaml

    schema = json.loads((QUICKSTART.parent.parent.parent / "schema" / "network.schema.json").read_text())
    for example in QUICKSTART.parent.parent.glob("*/network.yaml"):
        jsonschema.validate(yaml.safe_load(example.read_text()), schema)


@pytest.mark.kernel
def test_apply_twice_then_plan_then_cleanup(netns: str, spec: str, tmp_path: Path) -> None:
    uplink()
    root = tmp_path / "root"
    shown = plumbline("plan", spec, "--node", "n1").stdout
    assert "against this node's kernel" in shown
    digest = shown.strip().rsplit(" ", 1)[1]
    assert "read it again" in plumbline("apply", spec, "--node", "n1", "--expect", "0" * 64, status=3).stderr
    assert "converged" in plumbline("apply", spec, "--node", "n1", "--expect", digest, "--root", str(root)).stdout
    assert "nothing to do" in plumbline("apply", spec, "--node", "n1").stdout
    assert "nothing to do" in plumbline("plan", spec, "--node", "n1", "--detailed-exitcode").stdout
    assert "converged" in plumbline("cleanup", "--yes").stdout
    assert sh("ip -o link show group 94; ip nexthop; ip route show proto 94") == ""


@pytest.mark.kernel
def test_the_lines_run_by_hand_do_what_apply_does(namespaces_can_be_made: None, spec: str, tmp_path: Path) -> None:
    states = []
    for by_hand in (False, True):
        with fresh_namespace():
            uplink()
            if by_hand:
                plumbline("plan", spec, "--node", "n1", "--out", str(tmp_path / "out"))
                sh(str(tmp_path / "out" / "n1.sh"))
            else:
                plumbline("apply", spec, "--node", "n1")
            assert "nothing to do" in plumbline("plan", spec, "--node", "n1").stdout
            states.append(
                sh(
                    "ip -d -o link show group 94 | sed 's/^[0-9]*//'; ip -o addr show dev plumb0 | sed 's/^[0-9]*//;s/tentative //'; bridge fdb show dev plumb0 | sort; "
                    "ip neigh show nud permanent | sort; ip nexthop | sort; ip route | sort; ip -6 route show proto 94 | sort; nft list ruleset; "
                    "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding"
                )
            )
    assert states[0] == states[1]


@pytest.mark.kernel
def test_a_snapshot_stands_for_the_node(netns: str, spec: str, tmp_path: Path) -> None:
    uplink()
    plumbline("apply", spec, "--node", "n1")
    sh("ip route del 10.244.3.0/24 proto 94")
    taken = tmp_path / "snapshot.json"
    taken.write_text(plumbline("snapshot", spec, "--node", "n1").stdout)
    with fresh_namespace():
        shown = plumbline("plan", spec, "--node", "n1", "--snapshot", str(taken)).stdout
    assert "1 to create" in shown
    assert "+ ip route add 10.244.3.0/24" in shown


@pytest.mark.kernel
def test_a_conflict_is_status_3(netns: str, spec: str) -> None:
    uplink()
    sh("ip link add plumb0 type bridge")
    assert "link plumb0 exists and is not ours" in plumbline("apply", spec, "--node", "n1", status=3).stderr


@pytest.mark.kernel
def test_the_guard_is_status_3_and_says_how_to_confirm(netns: str, spec: str, tmp_path: Path) -> None:
    uplink()
    many = "".join(f"  m{number}: {{address: 10.0.3.{number + 1}, podCIDRs: [10.244.{number + 10}.0/24]}}\n" for number in range(60))
    Path(spec).write_text(SPEC.replace("fabric:", many + "fabric:"))
    plumbline("apply", spec, "--node", "n1")
    Path(spec).write_text(SPEC)
    refused = plumbline("apply", spec, "--node", "n1", status=3)
    assert "limits.maxDeletes allows 30%" in refused.stderr
    digest = refused.stdout.split("with: --force ")[1].split()[0]
    assert "converged" in plumbline("apply", spec, "--node", "n1", "--force", digest).stdout


def test_without_iproute2(spec: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to come as far as the tools")
    told = plumbline("apply", spec, "--node", "n1", status=1, env={"PATH": str(tmp_path)}).stderr
    assert "ip and bridge not found; install iproute2" in told


def test_with_an_iproute2_too_old(spec: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to come as far as the tools")
    for tool in ("ip", "bridge"):
        (tmp_path / tool).write_text("#!/bin/sh\necho 'ip utility, iproute2-4.15.0'\n")
        (tmp_path / tool).chmod(0o755)
    told = plumbline("apply", spec, "--node", "n1", status=1, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}).stderr
    assert "iproute2-4.15.0 is too old: plumbline needs iproute2 5.3 or newer" in told


def test_without_root(spec: str) -> None:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"] if os.geteuid() == 0 else []
    for verb, status in (("plan", 0), ("apply", 1)):
        done = subprocess.run(
            [*drop, sys.executable, "-m", "reconciler.cli", verb, spec, "--node", "n1"], capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        if verb == "apply":
            assert "this needs CAP_NET_ADMIN to change the network: run it with sudo" in done.stderr


@pytest.mark.kernel
def test_a_link_type_that_the_kernel_lacks(netns: str, tmp_path: Path) -> None:
    missing = [
        type_ for type_, why in tried({one: [("ip", "link", "add", "t0", "type", one)] for one in ("dummy", "wireguard")}).items() if why
    ]
    if not missing:
        pytest.skip("this kernel has them all")
    spec = tmp_path / "network.yaml"
    spec.write_text(
        "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes: {n1: {}}\n"
        f"resources: {{link: {{x0: {{name: x0, type: {missing[0]}}}}}}}\n"
    )
    told = plumbline("apply", str(spec), "--node", "n1", status=1).stderr
    assert f"this kernel has no {missing[0]} devices: try `modprobe {missing[0]}`" in told
    assert "link x0" in told


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("mode", "theirs", "silent"),
    [("auto", "10.244.2.0/32", "fd00:10:244:2::"), ("auto", "fd00:10:244:2::/128", "10.244.2.0"), ("direct", "10.0.1.12/32", "fd00:1::12")],
)
def test_verify_asks_every_peer_in_every_family(netns: str, tmp_path: Path, mode: str, theirs: str, silent: str) -> None:
    if shutil.which("ping") is None:
        pytest.skip("ping is not installed")
    path = tmp_path / "network.yaml"
    two = "".join(line for line in SPEC.splitlines(keepends=True) if "n3:" not in line)
    path.write_text(two.replace("fabric:\n", f"fabric:\n  mode: {mode}\n"))
    sh(f"ip addr add {theirs} dev lo nodad")  # this namespace answers as n2 would
    shown = plumbline("verify", "--config", str(path), "--node", "n1", "--within", "1", status=1).stdout
    assert f"ok      n2 {theirs.partition('/')[0]}" in shown
    assert f"silent  n2 {silent}" in shown


def test_verify_without_a_fabric_says_so(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text("apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes: {n1: {}, n2: {}}\n")
    told = plumbline("verify", "--config", str(path), "--node", "n1", status=1).stderr
    assert "has no fabric" in told or "ping not found" in told
