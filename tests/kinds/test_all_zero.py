"""All-zero and multicast MACs have many destinations: each is a row, seen and repaired by itself."""

from __future__ import annotations

import pytest

from reconciler.engine.merge import merge
from reconciler.engine.reader import Scope
from reconciler.engine.round import Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.kinds.fdb import entry
from reconciler.kinds.link import Link, LinkKey, Vxlan
from reconciler.kinds.marks import GROUP
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
ZERO = "00:00:00:00:00:00"


def scope(*destinations: str) -> Scope:
    link = Link(LinkKey("", "vx0"), "vxlan", GROUP, "plumbline:test", up=True, info=Vxlan(id=5, local="10.0.0.1"))
    wanted, clashes = merge(all_kinds(), [link, *(entry("", "vx0", ZERO, dst) for dst in destinations)])
    assert not clashes
    return Scope(("",), wanted)


def test_each_destination_is_a_row(netns: str) -> None:
    node = KernelNode()
    engine = Round(node, all_kinds(), name="n1")
    assert engine.converge(scope("10.0.0.2", "10.0.0.3")).converged
    assert sh("bridge fdb show dev vx0").count(ZERO) == 2
    sh(f"bridge fdb del {ZERO} dev vx0 dst 10.0.0.3; bridge fdb append {ZERO} dev vx0 dst 10.0.0.9")
    drift, _ = engine.plan(scope("10.0.0.2", "10.0.0.3"))
    lines = [str(line) for action in drift.actions for line in action.lines]
    assert lines == [f"bridge fdb append {ZERO} dev vx0 dst 10.0.0.3 self permanent", f"bridge fdb del {ZERO} dev vx0 dst 10.0.0.9 self"]
    assert engine.converge(scope("10.0.0.2", "10.0.0.3")).converged
    assert engine.converge(scope()).converged
    assert ZERO not in sh("bridge fdb show dev vx0")
    node.close()
