"""Which nodes a part of network.yaml is for."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.intents import Context


def selected(context: Context, wanted: Mapping[str, str]) -> bool:
    """Whether this node has all the labels; no labels, every node."""
    if not wanted:
        return True
    node = context.facts.nodes.get(context.node)
    return node is not None and all(node.labels.get(name) == value for name, value in wanted.items())
