"""From every kind of fabric to every other on a running lab, with packets under way; what is lost is counted and named."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise

import pytest

from reconciler import lab as labs
from reconciler.lab.nodes import apply_all, text_network
from reconciler.lab.probe import probe, stream
from tests.namespaces import sh

pytestmark = pytest.mark.lab

HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\n"
NODES = """nodes:
  n1: {address: [10.0.1.11/24, "fd00:1::11/64"], podCIDRs: [10.244.1.0/24, "fd00:10:244:1::/64"], directRouting: DIRECT}
  n2: {address: [10.0.1.12/24, "fd00:1::12/64"], podCIDRs: [10.244.2.0/24, "fd00:10:244:2::/64"], directRouting: DIRECT}
  n3: {address: [10.0.2.13/24, "fd00:2::13/64"], podCIDRs: [10.244.3.0/24, "fd00:10:244:3::/64"]}
"""
FABRIC = 'fabric: {podNetwork: [10.244.0.0/16, "fd00:10:244::/48"], mode: MODE, overlay: {OVERLAY}}\n'


def spec(direct: str = "false", mode: str = "auto", overlay: str = "") -> str:
    return HEAD + NODES.replace("DIRECT", direct) + FABRIC.replace("MODE", mode).replace("OVERLAY", overlay)


STATES = {
    "overlay": spec(),
    "direct pair": spec("true"),
    "all overlay by mode": spec("true", "overlay"),
    "another VNI": spec("false", overlay="vni: 5000"),
    "another port": spec("false", overlay="vni: 5000, port: 8472"),
    "IPv6 underlay": spec("false", overlay="underlay: ipv6"),
    "another ttl and MTU": spec("false", overlay="underlay: ipv6, ttl: 32, mtu: 1400"),
    "another device": spec("true", overlay="device: other0"),
}
# Each kind of change at least once in each direction; the rest of the square follows from the laws.
ORDER = [
    "overlay", "direct pair", "all overlay by mode", "direct pair", "overlay", "another VNI", "another port", "overlay",
    "IPv6 underlay", "another ttl and MTU", "IPv6 underlay", "direct pair", "another device", "another VNI", "direct pair", "IPv6 underlay", "overlay",
]  # fmt: skip
# What concerns no pair's path loses nothing: direct and overlay are swapped route by route, in place.
LOSSLESS = {
    ("overlay", "direct pair"),
    ("direct pair", "overlay"),
    ("all overlay by mode", "direct pair"),
    ("direct pair", "all overlay by mode"),
}


def test_every_transition(namespaces_can_be_made: None, record_property: Callable[[str, object], None]) -> None:
    name = f"t{os.getpid()}-trans"
    networks = {state: text_network(text) for state, text in STATES.items()}
    lab = labs.raise_lab(name, [network.cluster for network in networks.values()])
    told = []
    try:
        assert all(result.converged for result in apply_all(lab, networks[ORDER[0]]).values())
        for before, after in pairwise(ORDER):
            with stream(lab.topology, every=0.02) as counted:
                results = apply_all(lab, networks[after])
            assert all(result.converged for result in results.values()), {node: result.errors for node, result in results.items()}
            assert all(len(result.plans) <= 2 for result in results.values()), f"{before} → {after} took more than one round"
            assert all(failure is None for result in results.values() for _, failure in result.outcomes)
            assert probe(lab.topology, within=5.0).ok, f"{before} → {after}"
            told.append(f"{before} → {after}: {counted.lost} of {counted.sent} packets lost")
            if (before, after) in LOSSLESS:
                assert counted.lost == 0, told[-1]
        for machine in lab.topology.machines:
            left = sh(f"ip -n {machine.netns} -o link show group 94; ip -n {machine.netns} nexthop | wc -l")
            assert "other0" not in left
        print("\n".join(told))
        record_property("transitions", told)
    finally:
        labs.down(name)


def test_a_node_leaves_and_another_joins(namespaces_can_be_made: None) -> None:
    name = f"t{os.getpid()}-join"
    joined = STATES["overlay"].replace(
        "fabric:", '  n4: {address: [10.0.2.14/24, "fd00:2::14/64"], podCIDRs: [10.244.4.0/24, "fd00:10:244:4::/64"]}\nfabric:'
    )
    without = "\n".join(line for line in joined.splitlines() if "n3:" not in line) + "\n"
    networks = [text_network(text) for text in (STATES["overlay"], joined, without)]
    lab = labs.raise_lab(name, [network.cluster for network in networks])
    try:
        apply_all(lab, networks[0])
        with stream(lab.topology, nodes=["n1", "n2"]) as counted:
            results = apply_all(lab, networks[1])
            assert {len(results[node].outcomes) for node in ("n1", "n2", "n3")} == {8}, "exactly the rows of the one that joins"
            results = apply_all(lab, networks[2])
            assert {len(results[node].outcomes) for node in ("n1", "n2")} == {8}, "exactly the rows of the one that leaves"
        assert counted.lost == 0
        assert probe(lab.topology, nodes=["n1", "n2", "n4"], within=5.0).ok
        assert "10.0.2.13" not in sh(f"bridge -n {lab.topology.machine('n1').netns} fdb")
    finally:
        labs.down(name)
