"""Rounds by a plumbline without memory; only the templates, which are the same for all, are compiled once."""

from __future__ import annotations

from functools import cache

from reconciler.engine.guard import Limits
from reconciler.engine.reader import Scope
from reconciler.engine.render import Renderer
from reconciler.engine.round import Node, Result, Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds


@cache
def templates() -> Renderer:
    """Of every kind, each compiled when it is first used."""
    return Renderer(all_kinds())


def engine(node: Node) -> Round:
    made = Round(node, all_kinds(), limits=Limits(1.0, 1000), name="n1")
    made._renderer = templates()
    return made


def settle(wanted: Scope) -> Result:
    """A round in which nothing goes wrong."""
    node = KernelNode()
    try:
        result = engine(node).converge(wanted)
    finally:
        node.close()
    assert result.converged, (result.errors, result.last.actions)
    return result
