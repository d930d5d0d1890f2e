"""Rows by hand on a node whose / is a folder: nothing of the machine itself is named."""

from __future__ import annotations

from reconciler.facts.merge import build_facts
from reconciler.facts.model import Host
from reconciler.intents import Context, compile_node
from reconciler.kinds import all_kinds
from reconciler.spec.load import load_text

SPEC = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes: {n1: {address: 10.0.1.11/24, podCIDRs: [10.244.1.0/24]}}
resources:
  file: {x: {path: /etc/plumbline/plumbline-x.conf, content: some}}
  ovs_bridge: {x: {name: br0}}
  ovs_port: {x: {name: p0, bridge: br0, type: internal}}
"""
ROOT = "/run/lab/n1"


def test_what_is_found_by_its_path_lies_below_the_nodes_own_root() -> None:
    loaded = load_text(SPEC)
    for root in ("", ROOT):
        facts = build_facts(loaded, [], Host("eth0", 1500, root=root))
        wanted = compile_node(Context(loaded.spec, facts, "n1", loaded.where)).wanted
        assert [row.key.path for row in wanted.rows("file")] == [f"{root}/etc/plumbline/plumbline-x.conf"]
        (bridge,), (port,) = wanted.rows("ovs_bridge"), wanted.rows("ovs_port")
        assert (bridge.key.root, port.key.root) == (root, root)
        assert all_kinds()["ovs_bridge"].ref(bridge) in all_kinds()["ovs_port"].needs(port), "the bridge of the same node"
