"""A node of a cluster of three, whole: the spec, its uplink, and what it should hold."""

from __future__ import annotations

from reconciler.engine.guard import Limits
from reconciler.engine.model import Wanted
from reconciler.engine.reader import Scope
from reconciler.engine.round import Result, Round
from reconciler.facts.merge import build_facts
from reconciler.intents import Context, compile_node
from reconciler.kernel.host import observe_host
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.spec.load import load_text
from tests.namespaces import sh

SPEC = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes:
  n1: {address: [10.0.1.11/24, "fd00:1::11/64"], podCIDRs: [10.244.1.0/24, "fd00:10:244:1::/64"], directRouting: true}
  n2: {address: [10.0.1.12/24, "fd00:1::12/64"], podCIDRs: [10.244.2.0/24, "fd00:10:244:2::/64"], directRouting: true}
  n3: {address: [10.0.2.13/24, "fd00:2::13/64"], podCIDRs: [10.244.3.0/24, "fd00:10:244:3::/64"]}
fabric:
  podNetwork: [10.244.0.0/16, "fd00:10:244::/48"]
sysctls: {net.ipv4.conf.all.rp_filter: 0}
"""


def uplink() -> None:
    """This namespace becomes the host n1: eth0 with its addresses and a gateway."""
    sh(
        "ip link add eth0 type veth peer name gateway && ip link set eth0 up && ip link set gateway up && "
        "ip addr add 10.0.1.11/24 dev eth0 && ip addr add fd00:1::11/64 dev eth0 nodad && ip route add default via 10.0.1.1"
    )


def scope(text: str = SPEC, node: str = "n1", root: str = "") -> Scope:
    """What the node should hold by a spec."""
    loaded = load_text(text, "network.yaml")
    facts = build_facts(loaded, [])
    io = KernelNode()
    facts = facts._replace(host=observe_host(io, facts.nodes[node], root))
    io.close()
    compiled = compile_node(Context(loaded.spec, facts, node, loaded.where))
    assert not compiled.clashes
    return Scope(("",), compiled.wanted, root)


def nothing(root: str = "") -> Scope:
    """What a node should hold that plumbline leaves."""
    return Scope(("",), Wanted(), root)


def converge(wanted: Scope, *, strict: bool = True) -> Result:
    """One round by a plumbline without memory."""
    io = KernelNode()
    try:
        result = Round(io, all_kinds(), limits=Limits(1.0, 1000), name="n1").converge(wanted)
    finally:
        io.close()
    if strict:
        assert result.converged, (result.errors, result.last.actions)
    return result
