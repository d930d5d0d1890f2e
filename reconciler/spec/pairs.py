"""veths by hand are stated at both ends: one that is stated at one end only would be half ours, and nobody's to repair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reconciler.spec.problems import Path, Place, Problem

SELECTOR = "nodeSelector"
Links = Mapping[str, Mapping[str, Any]]  # a name for people → the row as it is written


def pair_problems(links: Links, place: Callable[[Path], Place]) -> Iterator[Problem]:
    """What is wrong with the veths among the links, each told once, at the end that says it."""
    for handle, end in links.items():
        if end.get("type") != "veth" or end.get("adopt"):
            continue
        path: Path = ("resources", "link", handle)
        name, peer = end.get("name"), end.get("peer")
        if not peer:
            remedy = f"say peer: NAME, and state that end too: {{name: NAME, type: veth, peer: {name}}}"
            yield Problem(place(path), path, "a veth is a pair, and its other end is not said", remedy=remedy)
            continue
        at = (*path, "peer")
        ends = [other for other in links.values() if other.get("name") == peer]
        if not ends:
            remedy = f"add to resources.link: {peer}: {{name: {peer}, type: veth, peer: {name}}}"
            yield Problem(place(at), at, f"{peer} is stated nowhere: a veth is a pair of links", remedy=remedy)
        elif not any(other.get("type") == "veth" and other.get("peer") == name for other in ends):
            found = ends[0]
            said = f"type: {found['type']}" if found.get("type") != "veth" else f"peer: {found.get('peer') or '(none)'}"
            yield Problem(
                place(at), at, f"{peer} says {said}, and is no other end of {name}", remedy=f"say type: veth and peer: {name} there"
            )
        elif all(other.get(SELECTOR, {}) != end.get(SELECTOR, {}) for other in ends):
            yield Problem(
                place(path), path, f"{name} and {peer} have different node selectors", remedy="both ends are made on one node: say the same"
            )
