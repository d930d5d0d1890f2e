"""Shapes and words of an SVG 1.1 picture, light or dark as the reader's system is (https://www.w3.org/TR/SVG11/)."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from reconciler.engine.text import visible

CHAR, LINE = 7.3, 18  # pixels: of one character and of one line, at 12 pixels of a monospaced font
NARROWEST = 420
LONGEST = 44  # characters of one word that is others' to choose
_STYLE = """\
text { font: 12px ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; fill: #1c2128; }
.title { font-size: 15px; font-weight: bold; } .head, .name { font-weight: bold; } .soft { fill: #57606a; }
.paper { fill: #fff; }
.box { fill: #f3f5f8; stroke: #c3cad3; } .card { fill: #fff; stroke: #c3cad3; } .bus { fill: #e5effc; stroke: #0a58b8; }
.direct, .overlay, .none { fill: none; stroke-width: 2; } .direct { stroke: #1a7f37; } .overlay { stroke: #0a58b8; stroke-dasharray: 6 4; }
.none { stroke: #cf222e; stroke-dasharray: 2 4; } .dot { fill: #1a7f37; }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e8ed; } .soft { fill: #9aa5b1; } .paper { fill: #0f1318; } .box { fill: #181d24; stroke: #3a4451; }
  .card { fill: #10151b; stroke: #3a4451; } .bus { fill: #12233d; stroke: #78b4ff; } .direct { stroke: #56c47e; } .dot { fill: #56c47e; }
  .overlay { stroke: #78b4ff; } .none { stroke: #ff8f8f; }
}"""

Point = tuple[int, int]


def clipped(text: str, most: int = LONGEST) -> str:
    """Not longer than a picture has room for."""
    shown = visible(text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def width(text: str) -> int:
    """Pixels of one line."""
    return round(len(text) * CHAR)


class Drawing:
    """Grows downwards; `text` closes it. Whatever is written into it stays text."""

    def __init__(self, wide: int, title: str) -> None:
        self._title = clipped(title, 80)
        self.width = max(wide, NARROWEST, round(len(self._title) * CHAR * 1.25) + 48)
        self._parts: list[str] = []
        self.words(24, 32, self._title, "title")

    def box(self, x: int, y: int, wide: int, high: int, sort: str = "box") -> None:
        self._parts.append(f'<rect class="{sort}" x="{x}" y="{y}" width="{wide}" height="{high}" rx="6"/>')

    def words(self, x: int, y: int, text: str, sort: str = "", anchor: str = "start") -> None:
        how = f' class="{sort}"' if sort else ""
        self._parts.append(f'<text{how} x="{x}" y="{y}" text-anchor="{anchor}">{escape(visible(text))}</text>')

    def block(self, x: int, y: int, wide: int, high: int, lines: Sequence[str], title: str) -> None:
        """A card with lines, the first of them its name; `title` is what a pointer that rests on it is told."""
        self._parts.append(f"<g><title>{escape(visible(title))}</title>")
        self.box(x, y, wide, high, "card")
        for index, line in enumerate(lines):
            self.words(x + 10, y + LINE * (index + 1), line, "" if index else "name")
        self._parts.append("</g>")

    def line(self, a: Point, b: Point, sort: str) -> None:
        self._parts.append(f'<path class="{sort}" d="M{a[0]} {a[1]}L{b[0]} {b[1]}"/>')

    def curve(self, a: Point, b: Point, sort: str, title: str) -> None:
        """From left to right."""
        half = (a[0] + b[0]) // 2
        path = f"M{a[0]} {a[1]}C{half} {a[1]} {half} {b[1]} {b[0]} {b[1]}"
        self._parts.append(f'<path class="{sort}" d="{path}"><title>{escape(visible(title))}</title></path>')

    def rail(self, x: int, at: Sequence[int], edge: int) -> None:
        """What joins those who go direct: one line, and from it one to each of them."""
        if len(at) > 1:
            self.line((x, at[0]), (x, at[-1]), "direct")
        for y in at:
            self.line((x, y), (edge, y), "direct")
            self._parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="3.5"/>')

    def bus(self, x: int, y: int, wide: int, high: int, lines: Sequence[str]) -> None:
        self.box(x, y, wide, high, "bus")
        middle = y + high // 2 - LINE * (len(lines) - 1) // 2 + 4
        for index, line in enumerate(lines):
            self.words(x + wide // 2, middle + LINE * index, line, "" if index else "name", "middle")

    def text(self, high: int) -> str:
        size = f'width="{self.width}" height="{high}" viewBox="0 0 {self.width} {high}"'
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<title>{escape(self._title)}</title>\n<style>\n{_STYLE}\n</style>'
        )
        return "\n".join([head, f'<rect class="paper" width="{self.width}" height="{high}"/>', *self._parts, "</svg>", ""])
