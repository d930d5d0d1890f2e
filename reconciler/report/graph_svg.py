"""A graph as SVG: subnets as boxes left and right of the overlay, which everybody who needs it is joined to. Pure, and the same each time.

A line for each pair would be a ball of wool at thirty nodes. What a picture has to say takes fewer: whoever stands on
one rail goes direct, and everybody else by the overlay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reconciler.facts.model import Node
from reconciler.report.graph import Graph, Group, Star, Tie, Via, names
from reconciler.report.graph_draw import CHAR, LINE, Drawing, clipped, width

CARDS = 24  # nodes that are drawn one by one; of more, each subnet is told in a few lines
BOXES = 60  # subnets that are drawn
NOTES = 10
EDGE, GAP, INSIDE = 24, 22, 12  # around the picture, between boxes, within them
RAIL, STUB, BUS = 18, 34, 190
_WORDS: dict[Via, str] = {"direct": "direct: plain routes, no tunnel", "overlay": "overlay", "none": "no way"}
_ORDER: tuple[Via, ...] = ("none", "direct", "overlay")


class _Block(NamedTuple):
    """Some lines about one node, or about all of a subnet."""

    lines: tuple[str, ...]
    title: str
    direct: bool
    overlay: bool

    @property
    def height(self) -> int:
        return LINE * len(self.lines) + INSIDE


class _Box(NamedTuple):
    head: tuple[str, ...]
    blocks: tuple[_Block, ...]

    @property
    def height(self) -> int:
        return LINE * len(self.head) + INSIDE + sum(block.height + 8 for block in self.blocks) + 6

    @property
    def width(self) -> int:
        return max(width(line) for line in (*self.head, *(line for block in self.blocks for line in block.lines))) + 4 * INSIDE + RAIL


def svg(graph: Graph) -> str:
    """All nodes."""
    boxes = _boxes(graph)
    left, right = _columns(boxes)
    wide = [max((box.width for box in column), default=0) for column in (left, right)]
    bus = BUS if graph.overlay else 0
    stub = STUB if graph.overlay else GAP // 2
    middle = EDGE + wide[0] + stub
    across = middle + bus + (stub + wide[1] if right else 0) + EDGE
    head = f"{clipped(graph.title)}: {_count(graph.nodes, 'node')}, {_count(len(graph.groups), 'subnet')}"
    notes = [_note(tie) for tie in sorted(graph.ties, key=lambda tie: (_ORDER.index(tie.via), tie.a, tie.b))]
    drawing = Drawing(max([across, *(width(text) + 2 * EDGE + 60 for _, text in notes[:NOTES])]), head)
    top = _legend(drawing, {tie.via for tie in graph.ties}, graph.overlay)
    ends = [_column(drawing, left, EDGE, wide[0], top, middle, outer=EDGE, tall=_tall(left, right))]
    if right:
        ends.append(_column(drawing, right, middle + bus + stub, wide[1], top, middle + bus, outer=across - EDGE, tall=_tall(left, right)))
    below = max(ends)
    if graph.overlay:
        drawing.bus(middle, top, bus, below - GAP - top, graph.overlay.split(", "))
    return drawing.text(_notes(drawing, notes, below))


def star_svg(star: Star) -> str:
    """One node and its peers."""
    me = _card(star.node, direct=False, overlay=False)
    count = sum(len(ray.group.spots) for ray in star.rays)
    most = CARDS if count <= CARDS else 4
    boxes = [_Box((*_head(ray.group), f"{ray.via}: {clipped(ray.why, 76)}"), tuple(_listed(ray.group, most))) for ray in star.rays[:BOXES]]
    mine = _Box((), (me,))
    wide = max((box.width for box in boxes), default=0)
    from_x = EDGE + mine.width
    at_x = from_x + 120
    drawing = Drawing(at_x + wide + EDGE, f"{clipped(star.title, 24)}: {clipped(star.node.name, 24)} and its {_count(count, 'peer')}")
    top = _legend(drawing, {ray.via for ray in star.rays}, star.overlay)
    tall = sum(box.height + GAP for box in boxes)
    y = top + max(0, (tall - GAP - mine.height) // 2)
    drawing.box(EDGE, y, mine.width, mine.height)
    drawing.block(EDGE + INSIDE, y + INSIDE, mine.width - 2 * INSIDE, me.height, me.lines, me.title)
    at_y = top
    for box, ray in zip(boxes, star.rays, strict=False):
        drawing.curve((from_x, y + mine.height // 2), (at_x, at_y + box.height // 2), ray.via, ray.why)
        _draw(drawing, box, at_x, at_y, wide)
        at_y += box.height + GAP
    if len(star.rays) > BOXES:
        drawing.words(at_x, at_y + LINE, f"and {len(star.rays) - BOXES} more", "soft")
        at_y += 2 * LINE
    return drawing.text(max(at_y, y + mine.height + GAP))


# -- what stands in boxes -------------------------------------------------------------------------


def _boxes(graph: Graph) -> list[_Box]:
    shown = graph.groups[:BOXES]
    if graph.nodes <= CARDS:
        return [
            _Box(_head(group), tuple(_card(spot.node, direct=spot.direct, overlay=spot.overlay) for spot in group.spots)) for group in shown
        ]
    boxes = [_Box(_head(group), (_summary(group),)) for group in shown]
    rest = graph.groups[BOXES:]
    if rest:
        nodes = sum(len(group.spots) for group in rest)
        block = _Block((f"{_count(nodes, 'node')}",), "", direct=False, overlay=any(spot.overlay for group in rest for spot in group.spots))
        boxes.append(_Box((f"{len(rest)} more subnets",), (block,)))
    return boxes


def _head(group: Group) -> tuple[str, ...]:
    subnets = group.subnets or ("subnet not known",)
    return (
        *((f"site {clipped(group.site)}",) if group.site else ()),
        " · ".join(subnets) if width(" · ".join(subnets)) < 360 else subnets[0],
    )


def _card(node: Node, *, direct: bool, overlay: bool) -> _Block:
    addresses = [one.address for one in node.addresses] + [f"public {end.address}" for end in node.public_addresses]
    lines = (clipped(node.name), *_joined(addresses), *_joined([f"pods {cidr}" for cidr in node.pod_cidrs]))
    return _Block(lines, f"{node.name}, {node.where}" if node.where else node.name, direct, overlay)


def _joined(words: Sequence[str]) -> tuple[str, ...]:
    """In one line where they are short, else in one each."""
    line = " · ".join(words)
    return (line,) if line and width(line) < 300 else tuple(map(clipped, words))


def _summary(group: Group) -> _Block:
    direct, overlay = (sum(getattr(spot, via) for spot in group.spots) for via in ("direct", "overlay"))
    told = clipped(names([spot.node for spot in group.spots]))
    lines = [_count(len(group.spots), "node"), told]
    if direct:
        lines.append(f"direct among themselves: {'all' if direct == len(group.spots) else direct}")
    return _Block(tuple(lines), told, direct > 0, overlay > 0)


def _listed(group: Group, most: int) -> list[_Block]:
    nodes = [spot.node for spot in group.spots]
    lines = [_count(len(nodes), "node")]
    lines += [clipped(f"{node.name}  {' '.join(one.address for one in node.addresses)}", 60) for node in nodes[:most]]
    if len(nodes) > most:
        lines.append(f"and {len(nodes) - most} more, to {clipped(nodes[-1].name)}")
    return [_Block(tuple(lines), names(nodes), direct=False, overlay=False)]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# -- where it stands --------------------------------------------------------------------------------


def _columns(boxes: Sequence[_Box]) -> tuple[list[_Box], list[_Box]]:
    """In their order, both about as high."""
    half, height = sum(box.height + GAP for box in boxes) / 2, 0.0
    for index, box in enumerate(boxes):
        height += box.height + GAP
        if height >= half - box.height / 4:
            return list(boxes[: index + 1]), list(boxes[index + 1 :])
    return list(boxes), []


def _tall(*columns: Sequence[_Box]) -> int:
    return max(sum(box.height + GAP for box in column) for column in columns)


def _column(drawing: Drawing, boxes: Sequence[_Box], x: int, wide: int, top: int, bus: int, *, outer: int, tall: int) -> int:
    """Boxes one below the other, with their rails on the outer side and their stubs to the overlay; how far down it goes."""
    y = top + (tall - _tall(boxes)) // 2
    left, inset = outer <= x, RAIL if any(block.direct for box in boxes for block in box.blocks) else 0
    for box in boxes:
        rail = x + INSIDE + 4 if left else x + wide - INSIDE - 4
        at = _draw(drawing, box, x, y, wide, inset=(inset if left else 0, 0 if left else inset))
        direct = [middle for block, middle in zip(box.blocks, at, strict=True) if block.direct]
        if direct:
            edge = x + INSIDE + RAIL if left else x + wide - INSIDE - RAIL
            drawing.rail(rail, direct, edge)
        for block, middle in zip(box.blocks, at, strict=True):
            if block.overlay:
                drawing.line((x + wide - INSIDE if left else x + INSIDE, middle), (bus, middle), "overlay")
        y += box.height + GAP
    return top + tall


def _draw(drawing: Drawing, box: _Box, x: int, y: int, wide: int, inset: tuple[int, int] = (0, 0)) -> list[int]:
    """One box with its blocks; the middle of each block."""
    drawing.box(x, y, wide, box.height)
    for index, line in enumerate(box.head):
        drawing.words(x + INSIDE, y + LINE * (index + 1), line, "head")
    at, middles = y + LINE * len(box.head) + INSIDE, []
    for block in box.blocks:
        drawing.block(x + INSIDE + inset[0], at, wide - 2 * INSIDE - sum(inset), block.height, block.lines, block.title)
        middles.append(at + block.height // 2)
        at += block.height + 8
    return middles


def _legend(drawing: Drawing, used: set[Via], overlay: str) -> int:
    x = EDGE
    y = EDGE + 2 * LINE
    for via in ("direct", "overlay", "none"):
        if via in used:
            text = overlay if via == "overlay" and overlay else _WORDS[via]
            if x > EDGE and x + 34 + width(text) > drawing.width - EDGE:
                x, y = EDGE, y + LINE
            drawing.line((x, y - 4), (x + 26, y - 4), via)
            drawing.words(x + 34, y, text, "soft")
            x += 34 + width(text) + round(4 * CHAR)
    return y + LINE


def _note(tie: Tie) -> tuple[Via, str]:
    more = f" (and {_count(tie.pairs - 1, 'more pair')})" if tie.pairs > 1 else ""
    a, b = (clipped(name, 24) for name in tie.example)
    return tie.via, f"{a} – {b}: {clipped(tie.why, 76)}{more}"


def _notes(drawing: Drawing, notes: Sequence[tuple[Via, str]], y: int) -> int:
    for via, text in notes[:NOTES]:
        drawing.line((EDGE, y + LINE - 4), (EDGE + 26, y + LINE - 4), via)
        drawing.words(EDGE + 34, y + LINE, text, "soft")
        y += LINE
    if len(notes) > NOTES:
        drawing.words(EDGE + 34, y + LINE, f"and {len(notes) - NOTES} more", "soft")
        y += LINE
    return y + (LINE // 2 if notes else 0)
