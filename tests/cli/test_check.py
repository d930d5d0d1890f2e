"""`plumbline check`: what it says of a host, what it advises, how it ends. It changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.checks.finding import Finding, Looked
from reconciler.cli.checks.kernel import LINKS
from reconciler.cli.checks.reach import reach
from reconciler.cli.checks.sysctls import sysctls
from reconciler.cli.checks.tools import least_versions, strictest, version_in
from reconciler.engine.model import Observed, Plan, Seen, Wanted
from reconciler.facts.merge import build_facts
from reconciler.facts.model import Host, HostRoute
from reconciler.intents import Context, compile_node
from reconciler.kernel.node import KernelNode
from reconciler.kernel.trial import tried
from reconciler.kinds.address import Address, AddressKey
from reconciler.kinds.rule import Rule, RuleKey
from reconciler.spec.load import load_text
from tests.cli.test_cli import plumbline
from tests.namespaces import sh
from tests.safety.node import SPEC, converge, scope, uplink

ALL = "ip -d link; ip addr show scope global | sed 's/tentative //'; ip route show table all | grep -v fe80; ip rule; nft list ruleset; sysctl net.ipv4 net.ipv6 2>/dev/null | grep -v stat_refs"


def write(tmp_path: Path, text: str = SPEC) -> str:
    path = tmp_path / "network.yaml"
    path.write_text(text)
    return str(path)


def found(*words: str, status: int = 0) -> dict[str, list[dict[str, str]]]:
    document = json.loads(plumbline("check", *words, "-o", "json", status=status).stdout)
    assert set(document) == {"node", "fit", "findings"}
    assert document["fit"] is (status == 0)
    by_level: dict[str, list[dict[str, str]]] = {}
    for one in document["findings"]:
        assert set(one) == {"level", "area", "what", "evidence", "remedy"}
        by_level.setdefault(one["level"], []).append(one)
    return by_level


@pytest.mark.kernel
def test_a_fit_host_before_and_after_apply_and_nothing_is_changed(netns: str, tmp_path: Path) -> None:
    uplink()
    before = sh(ALL)
    shown = plumbline("check", write(tmp_path), "--node", "n1", "--root", str(tmp_path)).stdout
    assert sh(ALL) == before
    for words in (
        "1500 (eth0) − 50 (IPv4 20, UDP 8, VXLAN 8, Ethernet 14) = 1450 for plumb0",
        "net.ipv4.ip_forward is 0; apply sets it to 1",
        "this kernel has vxlan devices, nexthop objects",
        "5.3 or newer is needed, for ip nexthop",
        "1 peers directly, on the subnet of eth0",
        "1 peers by the overlay",
        "UDP port 4789 is free for VXLAN, or held by it",
        "nobody else manages, shadows or drops what is ours here",
        "changes pending",
    ):
        assert words in shown
    converge(scope())
    again = plumbline("check", write(tmp_path), "--node", "n1", "--root", str(tmp_path)).stdout
    assert "nothing to change" in again
    assert "net.ipv4.ip_forward is 1\n" in again


@pytest.mark.kernel
def test_opponents_are_problems_with_evidence_and_remedy(netns: str, tmp_path: Path) -> None:
    uplink()
    (tmp_path / "proc/77").mkdir(parents=True)
    (tmp_path / "proc/77/comm").write_text("systemd-network\n")
    sh("ip link add flannel.1 type vxlan id 4096 dstport 4789 local 10.0.1.11")
    told = found(write(tmp_path), "--node", "n1", "--root", str(tmp_path), status=1)
    areas = {one["area"]: one for one in told["problem"]}
    assert areas["systemd-networkd"]["evidence"].startswith("process 77; no file says ManageForeignRoutes=no")
    assert "systemctl restart systemd-networkd" in areas["systemd-networkd"]["remedy"]
    assert "flannel" in areas["vxlan-device"]["what"]
    shown = plumbline("check", write(tmp_path), "--node", "n1", "--root", str(tmp_path), status=1).stdout
    assert "\n        → mkdir -p /etc/systemd/networkd.conf.d && printf" in shown
    assert shown.startswith("problem "), "what must be mended comes first"


@pytest.mark.kernel
def test_what_a_conflict_holds_up_is_counted_and_not_listed(netns: str, tmp_path: Path) -> None:
    uplink()
    many = "".join(f"  m{number}: {{address: 10.0.3.{number + 1}, podCIDRs: [10.244.{number + 10}.0/24]}}\n" for number in range(60))
    sh("ip link add plumb0 type bridge")
    told = found(write(tmp_path, SPEC.replace("fabric:", many + "fabric:")), "--node", "n1", status=1)
    plan = [one["what"] for one in told["problem"] if one["area"] == "plan"]
    assert len(plan) == 2
    assert "link plumb0" in plan[0]
    assert "rows cannot be made" in plan[1]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("change", "link", "level", "words"),
    [
        ("", "mtu 1400", "ok", "1400 (eth0) − 50 (IPv4 20, UDP 8, VXLAN 8, Ethernet 14) = 1350 for plumb0"),
        ("overlay: {mtu: 1460}", "", "problem", "plumb0 is to have 1460 bytes, and 1450 fit: 1500 (eth0) − 50"),
        ("overlay: {mtu: 1300}", "", "note", "plumb0 is to have 1300 bytes, and 1450 would fit"),
        ("overlay: {underlay: ipv6}", "", "ok", "1500 (eth0) − 70 (IPv6 40, UDP 8, VXLAN 8, Ethernet 14) = 1430 for plumb0"),
        ("", "mtu 1300", "problem", "1250 bytes between pods are less than IPv6's 1280"),
        ("mode: auto", "mtu 1400 && ip link add cni0 type bridge && ip link set cni0 mtu 1500", "problem", "cni0 takes more than the 1350 bytes that fit"),
    ],
)  # fmt: skip
def test_mtu(netns: str, tmp_path: Path, change: str, link: str, level: str, words: str) -> None:
    uplink()
    if link:
        sh(f"ip link set eth0 {link}")
    text = SPEC.replace("fabric:\n", f"fabric:\n  {change}\n") + "cni: {binDir: /nowhere}\n"
    told = found(write(tmp_path, text), "--node", "n1", status=1)
    assert [one for one in told[level] if one["area"] == "mtu" and words in one["what"]], told


@pytest.mark.kernel
def test_an_mtu_that_is_said_and_not_there(netns: str, tmp_path: Path) -> None:
    uplink()
    told = found(write(tmp_path, SPEC.replace("n1: {", "n1: {mtu: 9000, ")), "--node", "n1", status=1)
    assert "nodes.n1.mtu says 9000, but eth0 takes 1500 bytes: larger packets are lost" in [one["what"] for one in told["problem"]]


@pytest.mark.kernel
def test_another_host_than_the_node_that_is_meant(netns: str, tmp_path: Path) -> None:
    uplink()
    words = "no interface of this host has an address of n2 (10.0.1.12, fd00:1::12): is this n2, or --node another one?"
    told = found(write(tmp_path), "--node", "n2", status=1)
    assert words in [one["what"] for one in told["problem"]]
    assert words in plumbline("apply", write(tmp_path), "--node", "n2", status=1).stderr
    assert words not in plumbline("plan", write(tmp_path), "--node", "n2").stderr, "which is made for an empty node"


@pytest.mark.kernel
def test_link_types_are_tried_and_a_missing_one_is_named(netns: str, tmp_path: Path) -> None:
    uplink()
    there = {
        type_: not tried({"": LINKS.get(type_, [("ip", "link", "add", "t0", "type", type_)])})[""]
        for type_ in ("dummy", "bridge", "ifb", "wireguard")
    }
    links = "".join(f"    x-{type_}: {{name: x-{type_[:6]}, type: {type_}}}\n" for type_ in there)
    told = found(write(tmp_path, SPEC + f"resources:\n  link:\n{links}"), "--node", "n1", status=0 if all(there.values()) else 1)
    missing = [one["what"] for one in told.get("problem", ()) if one["area"] == "kernel"]
    assert missing == [f"this kernel has no {type_} devices" for type_ in sorted(there) if not there[type_]]
    assert sh("ip -o link").count("t0:") == 0


@pytest.mark.kernel
def test_a_tool_that_is_too_old_and_one_that_is_missing(netns: str, tmp_path: Path) -> None:
    uplink()
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("ip", "bridge", "sysctl"):
        (tools / name).symlink_to(str(shutil.which(name)))
    script = '#!/bin/sh\n[ "$1" = -v ] && echo "nftables v0.9.1 (Fearless Fosdick)" && exit\nexec ' + str(shutil.which("nft")) + ' "$@"\n'
    (tools / "nft").write_text(script)
    (tools / "nft").chmod(0o755)
    shown = plumbline("check", write(tmp_path), "--node", "n1", status=1, env={"PATH": f"{tools}:/bin"}).stdout
    assert "nft 0.9.1 is too old: nft needs nft 0.9.8" in shown
    (tools / "nft").unlink()
    shown = plumbline("check", write(tmp_path), "--node", "n1", status=1, env={"PATH": str(tools)}).stdout
    assert "nft is missing" in shown
    assert "could not be told: nft" in shown


@pytest.mark.kernel
def test_without_rights_questions_stay_open_and_none_is_answered_by_guess(netns: str, tmp_path: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    uplink()
    words = [
        "setpriv",
        "--bounding-set=-all",
        "--inh-caps=-all",
        sys.executable,
        "-m",
        "reconciler.cli",
        "check",
        write(tmp_path),
        "--node",
        "n1",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "whether this kernel has vxlan devices" in done.stdout
    assert "could not be told: no namespace to try it in: Operation not permitted; run as root" in done.stdout
    assert "nobody else manages" not in done.stdout


# -- single checks, without a host -------------------------------------------------------------


class Parameters(KernelNode):
    """A kernel that has these parameters and no others."""

    def __init__(self, values: dict[str, int]) -> None:
        super().__init__()
        self.values = {"/proc/sys/" + name.replace(".", "/"): value for name, value in values.items()}

    def read(self, netns: str, path: str) -> bytes | None:
        value = self.values.get(path)
        return None if value is None else b"%d\n" % value


def look(text: str = SPEC, host: Host = Host("eth0", 1500), io: Any = None, addresses: tuple[str, ...] = ()) -> Looked:
    loaded = load_text(text, "network.yaml")
    context = Context(loaded.spec, build_facts(loaded, [])._replace(host=host), "n1", loaded.where)
    seen = Seen({"address": Observed([Address(AddressKey("", "eth0", one)) for one in addresses])})
    return Looked(context, compile_node(context).wanted, Plan("n1", ()), seen, io or Parameters({}), "")


FINE = {
    "net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1, "net.ipv6.conf.eth0.accept_ra": 1,
    "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.neigh.default.gc_thresh3": 1024, "net.ipv6.neigh.default.gc_thresh3": 1024,
    "net.bridge.bridge-nf-call-iptables": 1, "net.bridge.bridge-nf-call-ip6tables": 1,
}  # fmt: skip
STATIC6 = Host("eth0", 1500, (HostRoute(6, "fe80::1", "eth0", "static"),))
RA = Host("eth0", 1500, (HostRoute(6, "fe80::1", "eth0", "ra"),))


def judged(values: dict[str, int | None], text: str = SPEC, host: Host = STATIC6) -> list[Finding]:
    there = {name: value for name, value in {**FINE, **values}.items() if value is not None}
    return [one for one in sysctls(look(text + "cni: {}\n", host, Parameters(there))) if one.level != "ok"]


NO_RP = SPEC.replace("sysctls: {net.ipv4.conf.all.rp_filter: 0}\n", "")


@pytest.mark.parametrize(
    ("values", "text", "host", "level", "words"),
    [
        ({"net.ipv6.conf.all.forwarding": None}, SPEC, STATIC6, "problem", "IPv6 is switched off, and pods have it"),
        ({"net.ipv4.conf.all.rp_filter": 1}, NO_RP, STATIC6, "note", "rp_filter is strict on plumb0"),
        ({"net.ipv4.conf.default.rp_filter": 1}, SPEC, STATIC6, "note", "rp_filter is strict on plumb0"),
        ({"net.ipv4.conf.plumb0.rp_filter": 2, "net.ipv4.conf.all.rp_filter": 1}, NO_RP, STATIC6, "", ""),
        ({}, SPEC, Host("eth0", 1500), "note", "net.ipv6.conf.eth0.accept_ra is 1, and no IPv6 default route"),
        ({}, SPEC, RA, "", ""),  # the plan sets accept_ra to 2
        ({"net.bridge.bridge-nf-call-iptables": None}, SPEC, STATIC6, "note", "net.bridge.bridge-nf-call-iptables is not there: with kube-proxy"),
        ({"net.bridge.bridge-nf-call-ip6tables": 0}, SPEC, STATIC6, "note", "net.bridge.bridge-nf-call-ip6tables is 0: with kube-proxy"),
        ({"net.ipv4.neigh.default.gc_thresh3": 100}, SPEC, STATIC6, "problem", "gc_thresh3 is 100, and this node resolves more: 1 nodes on this subnet + 110 pods = 111"),
        ({"net.ipv4.neigh.default.gc_thresh3": None}, SPEC, STATIC6, "note", "seen in the host's own namespace only"),
    ],
)  # fmt: skip
def test_sysctls(values: dict[str, int | None], text: str, host: Host, level: str, words: str) -> None:
    told = judged(values, text, host)
    assert [one.level for one in told] == ([level] if level else [])
    assert all(words in one.what for one in told)
    assert all("sysctls: {net." in one.remedy for one in told if "seen in" not in one.what and "switched off" not in one.what)


def test_every_peer_s_path_is_looked_at_and_not_the_first_one_s_only() -> None:
    nodes = {"n1": "10.0.1.11/24", "n2": "10.0.1.12/24", "n3": "10.0.1.200/24", "n4": "10.0.2.14/24", "n5": "10.0.1.15"}
    lines = "".join(f"  {name}: {{address: {address}, podCIDRs: [10.244.{name[1]}.0/24]}}\n" for name, address in nodes.items())
    text = f"apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes:\n{lines}fabric: {{mode: direct}}\n"
    told = list(reach(look(text, addresses=("10.0.1.11/25",))))
    assert [(one.level, one.what.partition(":")[0]) for one in told] == [
        ("problem", "no path to n4, n5"),
        ("problem", "on no subnet of eth0, so the kernel refuses direct routes there"),
        ("ok", "1 peers directly, on the subnet of eth0"),
    ]
    assert told[1].what.endswith(": n3")
    assert told[1].evidence == "eth0 has 10.0.1.11/25"


def test_the_least_versions_of_what_is_wanted() -> None:
    assert version_in("ip utility, iproute2-6.1.0, libbpf 1.1.2") == (6, 1, 0)
    assert version_in("6.18.44-fc-v657") == (6, 18, 44)
    assert version_in("iproute2-ss170501") is None
    key = RuleKey("", 4, 100)
    rule = strictest(least_versions(Wanted({"rule": {key: Rule(key)}})), "kernel")
    assert rule is not None
    assert (rule.version, rule.why) == ((4, 17, 0), "rule")
    assert strictest(least_versions(Wanted()), "kernel") is None


@pytest.mark.kernel
def test_what_the_file_leaves_undone_on_this_host_is_told(netns: str, tmp_path: Path) -> None:
    uplink()
    file = write(tmp_path, SPEC + "segments: {media: {vni: 101}}\n")
    notes = found(file, "--node", "n1", "--root", str(tmp_path))["note"]
    assert any("which pods there are is not known, so none joins a segment" in one["what"] for one in notes)
