"""Mistakes in what people wrote, told so that they can act."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

Path = tuple[str | int, ...]
MOST = 100  # mistakes that are looked for; whoever has more mends these first


class Place(NamedTuple):
    """Where something stands; lines and columns count from 1, 0 is unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join(str(part) for part in self if part)


class Problem(NamedTuple):
    """One mistake: where, in which setting, what was found, what is allowed, what to do."""

    place: Place
    path: Path
    message: str
    allowed: str = ""
    remedy: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        name = dotted(self.path)
        text = f"{self.place}: {name + ': ' if name else ''}{self.message}"
        if self.allowed:
            text += f"; allowed: {self.allowed}"
        return f"{text}; {self.remedy}" if self.remedy else text


class SpecError(Exception):
    """What a person must mend before anything can be planned; all mistakes that were found, in the file's order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        found = sorted(problems, key=lambda problem: (problem.place.file, problem.place.line, problem.place.column))
        if len(found) > MOST:
            found = [
                *found[:MOST],
                Problem(found[MOST].place, (), "there are more mistakes from here on", remedy="mend those before first"),
            ]
        self.problems = found
        super().__init__("\n".join(str(problem) for problem in self.problems))


def dotted(path: Path) -> str:
    """A path as people write it: nodes.n1.podCIDRs[0]."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
