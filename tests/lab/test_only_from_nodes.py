"""Forged VXLAN packets on a running lab: none reaches a pod with `onlyFromNodes`, every one without it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from reconciler import lab as labs
from reconciler.kernel.netns import inside
from reconciler.kernel.node import KernelNode
from reconciler.lab.nodes import Network, apply_all, apply_node, text_network
from reconciler.lab.probe import probe, stream
from reconciler.lab.state import Lab
from reconciler.lab.topology import Pod
from tests.lab.forged import Ear, Forgery
from tests.namespaces import sh

pytestmark = pytest.mark.lab

VNI = 4096
SPEC = """apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes:
  n1: {address: [10.0.1.11/24, "fd00:1::11/64"], podCIDRs: [10.244.1.0/24]}
  n2: {address: [10.0.1.12/24, "fd00:1::12/64"], podCIDRs: [10.244.2.0/24]MORE}
  n3: {address: [10.0.2.13/24, "fd00:2::13/64"], podCIDRs: [10.244.3.0/24]}
EDGEfabric: {podNetwork: [10.244.0.0/16], overlay: {underlay: FAMILY, onlyFromNodes: ONLY}}
"""
EDGE = '  edge: {address: 192.168.7.20/24, podCIDRs: [10.244.4.0/24], site: edge, publicAddress: "198.51.100.13:14789"}\n'
PUBLIC = ', publicAddress: ["203.0.113.9", "2001:db8::9"]'  # of n2: n2's own table is made anew, the others have an element more
HERE = {"ipv4": ("10.0.1.11", "10.0.1.12", "10.0.2.13"), "ipv6": ("fd00:1::11", "fd00:1::12", "fd00:2::13")}


def network(family: str, only: bool = True, more: str = "") -> Network:
    text = SPEC.replace("FAMILY", family).replace("ONLY", str(only).lower()).replace("MORE", more)
    return text_network(text.replace("EDGE", EDGE if family == "ipv4" else ""))


class Running(NamedTuple):
    lab: Lab
    family: str
    on: Network
    off: Network
    forgeries: list[Forgery]
    ears: dict[str, Ear]

    def all_converge(self, wanted: Network) -> None:
        results = apply_all(self.lab, wanted)
        assert all(result.converged for result in results.values()), {node: result.errors for node, result in results.items()}


@pytest.fixture(scope="module", params=["ipv4", "ipv6"])
def running(request: pytest.FixtureRequest, namespaces_can_be_made: None) -> Iterator[Running]:
    family: str = request.param
    on, off = network(family), network(family, only=False)
    name = f"t{os.getpid()}-only{family[-1]}"
    try:
        lab = labs.raise_lab(name, [on.cluster])
        for machine in lab.topology.machines:
            # The kernel's own default. Where a distribution says otherwise, some forgeries would be stopped by that already.
            sh(f"ip netns exec {machine.netns} sh -c 'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done'")
        with ExitStack() as opened:
            pods = {pod.node: pod for pod in lab.topology.pods}
            ears = {node: Ear(pod) for node, pod in pods.items()}
            for ear in ears.values():
                opened.callback(ear.close)
            yield Running(lab, family, on, off, list(_forgeries(lab, family, pods)), ears)
    finally:
        labs.down(name)


def _forgeries(lab: Lab, family: str, pods: dict[str, Pod]) -> Iterator[Forgery]:
    one, two, three = HERE[family]
    at = {machine.name: machine.netns for machine in lab.topology.machines}
    target, outside = pods["n2"], lab.topology.outside
    yield Forgery("a host outside", outside, "", two, 4789, target, at["n2"], "input")
    yield Forgery("a neighbour on the wire", lab.topology.router, "", two, 4789, target, at["n2"], "input")
    if family == "ipv4":  # the pods here have no IPv6 address, so they reach IPv6 nodes with made-up sources only
        yield Forgery("a pod on the node itself", target.netns, "", two, 4789, target, at["n2"], "input")
        yield Forgery("a pod of another node, masqueraded as that node", pods["n1"].netns, "", two, 4789, target, at["n1"], "forward")
        yield Forgery("a pod through a NAT", pods["n1"].netns, "", "198.51.100.13", 14789, pods["edge"], at["n1"], "forward")
        yield Forgery("a made-up node over the overlay", pods["n1"].netns, three, "10.244.2.0", 4789, target, at["n2"], "input")
        yield Forgery("a made-up node to the bridge's address", target.netns, one, "10.244.2.1", 4789, target, at["n2"], "input")
    yield Forgery("a pod on the node itself as another node", target.netns, one, two, 4789, target, at["n2"], "input")
    yield Forgery("a pod of another node as a third one", pods["n1"].netns, three, two, 4789, target, at["n1"], "forward")


def _routed(running: Running) -> None:
    """Pods without IPv6 have no way to send it: their nodes are given one, as a pod with a raw socket finds one."""
    if running.family == "ipv6":
        for pod in running.lab.topology.pods:
            node = running.lab.topology.machine(pod.node).netns
            sh(
                f"ip -n {node} addr replace fd00:99::1/64 dev {pod.bridge} nodad; ip netns exec {node} sysctl -qw net.ipv6.conf.all.forwarding=1"
            )
            sh(
                f"ip -n {pod.netns} addr replace fd00:99::2/64 dev eth0 nodad; ip -n {pod.netns} -6 route replace default via fd00:99::1 dev eth0"
            )


def test_on_none_reaches_a_pod_off_every_one_does(running: Running) -> None:
    _routed(running)
    for wanted in (running.on, running.off, running.on):
        running.all_converge(wanted)
        assert probe(running.lab.topology, within=5.0).ok, "the cluster's own packets pass"
        for forged in running.forgeries:
            ear = running.ears[forged.pod.node]
            if wanted is running.off:
                forged.send(VNI)
                assert ear.heard(forged.name, within=5.0), f"{forged.name}: this proof cannot fail, the packet goes nowhere anyway"
                continue
            before = forged.dropped()
            forged.send(VNI)
            end = time.monotonic() + 5
            while forged.dropped() == before:
                assert time.monotonic() < end, f"{forged.name}: not stopped at {forged.dropped_at} in {forged.chain}"
            assert not ear.heard(forged.name), forged.name


def test_switched_and_made_anew_under_traffic(running: Running) -> None:
    """Off, on, and a table that is made anew with its elements: no packet meets a set that is not full."""
    running.all_converge(running.on)
    anew = network(running.family, more=PUBLIC)
    with stream(running.lab.topology, nodes=["n1", "n2", "n3"], every=0.005) as counted:
        for wanted in (running.off, running.on, anew, running.on):
            running.all_converge(wanted)
    assert counted.lost == 0, f"{counted.lost} of {counted.sent} packets lost"


def test_a_table_and_its_elements_are_one_transaction(running: Running) -> None:
    running.all_converge(running.on)
    machine = running.lab.topology.machine("n2")

    def generation() -> int:
        node = KernelNode()
        try:
            return inside(machine.netns, lambda: node._ask_netfilter("", lambda asked: asked.generation())).number  # type: ignore[union-attr]
        finally:
            node.close()

    before = generation()
    result = apply_node(running.lab, network(running.family, more=PUBLIC), "n2")
    kinds = [outcome.action.change.kind for outcome in result.outcomes]
    assert kinds.count("nft") == 1
    assert kinds.count("nft_element") >= 2
    assert generation() == before + 1
