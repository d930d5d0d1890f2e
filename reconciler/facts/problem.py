"""Where a problem with the nodes is told: the line of network.yaml that can be changed, else whoever named the node."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.facts.model import Node
from reconciler.spec.load import Loaded, nearest
from reconciler.spec.problems import Path, Place, Problem

SHOWN = 3  # names in one sentence


def problem_at(loaded: Loaded, path: Path, message: str, remedy: str = "", *, warning: bool = False, node: Node | None = None) -> Problem:
    """A problem with a setting, or with a node that may come from a manifest."""
    place = nearest(loaded.places, path)
    if node is not None and (place is None or (node.where and not node.where.startswith(f"{place.file}:"))):
        place = Place(node.where or loaded.name)
    return Problem(place or Place(loaded.name, 1), path, message, remedy=remedy, severity="warning" if warning else "error")


def named(nodes: Sequence[Node]) -> str:
    """The first few by name, and how many more."""
    more = len(nodes) - SHOWN
    return ", ".join(node.name for node in nodes[:SHOWN]) + (f" and {more} more" if more > 0 else "")
