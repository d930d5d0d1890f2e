"""A graph as Mermaid's text, for places that draw it themselves (https://mermaid.js.org/syntax/flowchart.html). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from reconciler.engine.text import visible
from reconciler.report.graph import Graph, Group, Spot, Star, Via, names

CARDS = 24  # nodes that are drawn one by one
_PLAIN = re.compile(r"[^A-Za-z0-9 .,:/_()…–·-]")
_ARROWS: dict[Via, str] = {"direct": "===", "overlay": "-.-", "none": "x--x"}


def mermaid(graph: Graph) -> str:
    """All nodes: those on one "direct" go direct, everybody else by the overlay."""
    return "\n".join(_lines(graph)) + "\n"


def star_mermaid(star: Star) -> str:
    """One node and its peers."""
    lines = ["flowchart LR", f'  me["{_label([star.node.name, *(one.address for one in star.node.addresses)])}"]']
    for index, ray in enumerate(star.rays):
        told = [*_head(ray.group), names([spot.node for spot in ray.group.spots])]
        lines += [f'  g{index}["{_label(told)}"]', f'  me {_ARROWS[ray.via]}|"{_label([f"{ray.via}: {ray.why}"])}"| g{index}']
    return "\n".join(lines) + "\n"


def _lines(graph: Graph) -> Iterator[str]:
    yield "flowchart LR"
    if graph.overlay:
        yield f'  overlay{{{{"{_label(graph.overlay.split(", "))}"}}}}'
    one_by_one = graph.nodes <= CARDS
    for index, group in enumerate(graph.groups):
        yield from _cards(index, group) if one_by_one else _box(index, group)
    for tie in graph.ties:
        if tie.via == "none" or (tie.via == "direct" and tie.a != tie.b):
            a, b = (f"g{end}" for end in (tie.a, tie.b))
            yield f'  {a} {_ARROWS[tie.via]}|"{_label([f"{tie.example[0]} – {tie.example[1]}: {tie.why}"])}"| {b}'


def _cards(index: int, group: Group) -> Iterator[str]:
    yield f'  subgraph g{index}["{_label(_head(group))}"]'
    for number, spot in enumerate(group.spots):
        node = spot.node
        lines = [node.name, *(one.address for one in node.addresses), *(f"pods {cidr}" for cidr in node.pod_cidrs)]
        yield f'    n{index}_{number}["{_label(lines)}"]'
    direct = [number for number, spot in enumerate(group.spots) if spot.direct]
    if direct:
        yield f"    d{index}((direct))"
        yield from (f"    n{index}_{number} === d{index}" for number in direct)
    yield "  end"
    yield from (f"  n{index}_{number} -.- overlay" for number, spot in enumerate(group.spots) if spot.overlay)


def _box(index: int, group: Group) -> Iterator[str]:
    direct = _of(group.spots, "direct")
    lines = [*_head(group), f"{len(group.spots)} nodes", names([spot.node for spot in group.spots])]
    yield f'  g{index}["{_label([*lines, *([f"direct among themselves: {direct}"] if direct else [])])}"]'
    if _of(group.spots, "overlay"):
        yield f"  g{index} -.- overlay"


def _of(spots: Sequence[Spot], via: str) -> int:
    return sum(getattr(spot, via) for spot in spots)


def _head(group: Group) -> list[str]:
    return [*([f"site {group.site}"] if group.site else []), " · ".join(group.subnets) or "subnet not known"]


def _label(lines: Sequence[str]) -> str:
    """Lines of a quoted label. What could end it, or mean something to Mermaid or to HTML, is written as its number."""
    return "<br/>".join(_PLAIN.sub(lambda found: f"#{ord(found[0])};", visible(line)) for line in lines)
