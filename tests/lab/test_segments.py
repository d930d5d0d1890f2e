"""The reference's example with packets, and members that come and go."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler import lab as labs
from reconciler.lab.nodes import apply_all, plan_node, read_network
from reconciler.lab.state import Lab
from tests.namespaces import sh

pytestmark = pytest.mark.lab
EXAMPLE = Path(__file__).parents[2] / "examples" / "segments"


def netns(lab: Lab, pod: str) -> str:
    return next(one.netns for one in lab.topology.pods if one.name == pod)


def ping(lab: Lab, pod: str, address: str) -> str:
    return sh(f"nsenter --net=/run/netns/{netns(lab, pod)} ping -n -c 3 -i 0.2 -W 2 {address} || true")


def flooded(lab: Lab, pod: str, device: str) -> set[str]:
    shown = sh(f"bridge -n {netns(lab, pod)} fdb show dev {device}")
    return set(re.findall(r"00:00:00:00:00:00 dst (\S+)", shown))


def test_pods_of_two_segments_reach_each_other_through_the_gateway(name: str) -> None:
    built = labs.up(EXAMPLE / "network.yaml", name, [EXAMPLE / "pods.yaml"])
    assert built.converged, {node: result.errors for node, result in built.results.items()}
    for pod, address in (("default/a", "192.168.12.2"), ("default/b", "192.168.11.2")):
        answers = ping(built.lab, pod, address)
        assert answers.count("ttl=63") == 3, answers
    assert flooded(built.lab, "default/a", "vxeth1") == {"10.244.1.11"}
    assert flooded(built.lab, "default/gw", "vxeth2") == {"10.244.2.10"}
    network = read_network(EXAMPLE / "network.yaml", [EXAMPLE / "pods.yaml"])
    assert all(plan_node(built.lab, network, node).empty for node in ("n1", "n2"))


def test_members_come_and_go_and_the_section_goes(name: str, tmp_path: Path) -> None:
    text = (EXAMPLE / "pods.yaml").read_text()
    facts, spec = tmp_path / "pods.yaml", tmp_path / "network.yaml"
    third = "vxeth1\n        up ip=192.168.11.3/29"
    facts.write_text(text.replace("vxeth2\n        up\n        ip=192.168.12.2/29\n        route=192.168.11.0/29:192.168.12.1", third))
    spec.write_text((EXAMPLE / "network.yaml").read_text())
    assert third in facts.read_text()
    lab = labs.up(spec, name, [facts]).lab
    assert flooded(lab, "default/a", "vxeth1") == {"10.244.1.11", "10.244.2.10"}
    assert ping(lab, "default/a", "192.168.11.3").count("ttl=64") == 3, "members on two nodes"
    assert ping(lab, "default/a", "192.168.11.1").count("ttl=64") == 3, "members on one node"

    facts.write_text(text)
    results = apply_all(lab, read_network(spec, [facts]))
    assert [error for result in results.values() for error in result.errors] == []
    assert flooded(lab, "default/a", "vxeth1") == {"10.244.1.11"}, "b left"
    assert "vxeth1" not in sh(f"ip -n {netns(lab, 'default/b')} link")

    facts.write_text(text.replace('labels: {run: gw, vxlan.openvnf.org: "true"}', "labels: {run: gw}"))
    assert all(result.converged for result in apply_all(lab, read_network(spec, [facts])).values())
    assert "vxeth" not in sh(f"ip -n {netns(lab, 'default/gw')} link"), "a running pod left every segment"
    assert flooded(lab, "default/a", "vxeth1") == set()

    facts.write_text(text)
    spec.write_text(re.sub(r"\nsegments:\n(  .*\n)+", "\n", spec.read_text()))
    assert all(result.converged for result in apply_all(lab, read_network(spec, [facts])).values())
    for pod in ("default/a", "default/b", "default/gw"):
        assert "vxeth" not in sh(f"ip -n {netns(lab, pod)} link")


def test_a_segment_over_ipv6_with_both_families_inside(name: str, tmp_path: Path) -> None:
    (tmp_path / "network.yaml").write_text(
        "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nmetadata: {name: six}\n"
        'nodes:\n  n1: {address: "fd00:1::11/64", podCIDRs: ["fd00:10:1::/64"]}\n  n2: {address: "fd00:1::12/64", podCIDRs: ["fd00:10:2::/64"]}\n'
        'fabric: {podNetwork: ["fd00:10::/32"]}\nsegments: {vx: {vni: 7, podOverrides: [defaultRoute]}}\n'
    )
    pods = [
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: p{number}\n  annotations:\n    plumbline.dev/segments: |\n"
        f"      vx: {{ip: [192.168.9.{number}/24, 'fd00:9::{number}/64']{routes}}}\n"
        f"spec: {{nodeName: n{number}}}\nstatus: {{podIP: 'fd00:10:{number}::10'}}\n"
        for number, routes in ((1, ", routes: [{to: 10.77.0.0/16, via: 192.168.9.2}, {to: 'fd00:77::/64', via: 'fd00:9::2'}]"), (2, ""))
    ]
    (tmp_path / "pods.yaml").write_text("---\n".join(pods))
    built = labs.up(tmp_path / "network.yaml", name, [tmp_path / "pods.yaml"])
    assert built.converged, {node: result.errors for node, result in built.results.items()}
    for address in ("192.168.9.2", "fd00:9::2"):
        assert ping(built.lab, "default/p1", address).count("ttl=64") == 3
    assert "fd00:77::/64 via fd00:9::2 dev vx proto 94" in sh(f"ip -n {netns(built.lab, 'default/p1')} -6 route")
    network = read_network(tmp_path / "network.yaml", [tmp_path / "pods.yaml"])
    assert all(plan_node(built.lab, network, node).empty for node in ("n1", "n2"))

    sh(f"ip -n {netns(built.lab, 'default/p2')} link del vx")  # p1 has just spoken with it, and remembers its MAC
    assert all(result.converged for result in apply_all(built.lab, network).values())
    for address in ("192.168.9.2", "fd00:9::2"):
        assert ping(built.lab, "default/p1", address).count("ttl=64") == 3
