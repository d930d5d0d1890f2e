"""YAML text → plain data and the place of everything in it, in bounded time and memory.

Built from libyaml's events, so that duplicate keys, aliases and depth are seen
before they can do harm. Scalars follow the YAML 1.2 core schema, except that the
YAML 1.1 words for booleans (on, off, yes, no) are refused: other tools in the
chain read them as booleans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from reconciler.spec.problems import MOST, Path, Place, Problem, SpecError

MAX_BYTES = 1 << 20  # what a ConfigMap can hold
MAX_DEPTH = 32
MAX_VALUES = 500_000  # after aliases are expanded
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL = {"", "~", "null", "Null", "NULL"}


class Ambiguous(str):
    """on, off, yes, no: text here, a boolean to other YAML readers."""


_AMBIGUOUS = {word for low in ("on", "off", "yes", "no", "y", "n") for word in (low, low.capitalize(), low.upper())}


class Document(NamedTuple):
    """Plain data, and the place of each key (for a list, of each item) by path."""

    data: Any
    places: dict[Path, Place]


def read_document(content: bytes, name: str) -> Document:
    """Parse one YAML document. Raises SpecError."""
    text = _decoded(content, name)
    try:
        builder = _Builder(name, yaml.parse(text, Loader=_LOADER))
        return builder.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name)
        raise SpecError([Problem(place, (), f"not valid YAML: {error.problem or error.context}", remedy=_hint(text, mark))]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError([Problem(Place(name), (), f"not valid YAML: {error}")]) from None


def _hint(text: str, mark: Any) -> str:
    if mark is not None and mark.line >= text.count("\n"):
        return "the file seems to end too early"
    return "check the indentation, quotes and brackets there and on the line before"


def _decoded(content: bytes, name: str) -> str:
    def refuse(message: str, line: int = 0, remedy: str = "") -> SpecError:
        return SpecError([Problem(Place(name, line), (), message, remedy=remedy)])

    if len(content) > MAX_BYTES:
        raise refuse(f"{len(content):,} bytes; a ConfigMap holds at most {MAX_BYTES:,}", remedy="give nodes as manifests (--facts) instead")
    if b"\0" in content:
        raise refuse("not a text file: it has NUL bytes", content[: content.index(b"\0")].count(b"\n") + 1)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refuse(f"not UTF-8: byte 0x{content[error.start]:02x}", content[: error.start].count(b"\n") + 1, "save it as UTF-8") from None
    if not text.strip():
        raise refuse("the file is empty", remedy="the smallest one has apiVersion and kind: see examples/quickstart/network.yaml")
    return text


class _Builder:
    """Turns events into data. Collects problems, and gives up only where it cannot go on."""

    def __init__(self, name: str, events: Iterator[Any]) -> None:
        self._name = name
        self._events = events
        self._places: dict[Path, Place] = {}
        self._problems: list[Problem] = []
        self._anchors: dict[str, tuple[Any, int]] = {}  # value, and how many values it holds
        self._values = 0

    def document(self) -> Document:
        data: Any = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._fail(event, (), "a second document", "one document a file; remove what follows the ---")
                data = self._value(next(self._events), ())
        if documents == 0:
            self._problems.append(Problem(Place(self._name), (), "there is nothing but comments in the file"))
        if self._problems:
            raise SpecError(self._problems)
        return Document(data, self._places)

    def _place(self, event: Any) -> Place:
        return Place(self._name, event.start_mark.line + 1, event.start_mark.column + 1)

    def _fail(self, event: Any, path: Path, message: str, remedy: str = "") -> None:
        raise SpecError([*self._problems, Problem(self._place(event), path, message, remedy=remedy)])

    def _count(self, event: Any, path: Path, how_many: int = 1) -> None:
        self._values += how_many
        if self._values > MAX_VALUES:
            self._fail(event, path, f"more than {MAX_VALUES:,} values once aliases are expanded", "write it without aliases of aliases")

    def _value(self, event: Any, path: Path) -> Any:
        self._count(event, path)
        if len(path) > MAX_DEPTH:
            self._fail(event, path[:3], f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            if anchor not in self._anchors:
                self._fail(event, path, f"alias *{anchor} names no anchor before it")
            value, size = self._anchors[anchor]
            self._count(event, path, size)
            return value
        before = self._values
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, path)
        elif isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(path)
        else:
            value = self._sequence(path)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._values - before)
        return value

    def _mapping(self, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._fail(event, path, "a key must be a plain word", "a value with { or [ that is meant as text needs quotes")
            key = event.value
            place = self._place(event)
            here = (*path, key)
            if key == "<<" and not event.style:
                self._problems.append(Problem(place, path, "merge keys (<<) are not part of YAML 1.2", remedy="repeat the keys"))
            if key in mapping:
                self._problems.append(
                    Problem(place, here, f"said twice; first at line {self._places[here].line}", remedy="keep one of the two")
                )
                if len(self._problems) > MOST:
                    raise SpecError(self._problems)
                self._value(next(self._events), (*path, f"{key} (again)"))
                continue
            self._places[here] = place
            mapping[key] = self._value(next(self._events), here)
        return mapping

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            here = (*path, len(items))
            self._places[here] = self._place(event)
            items.append(self._value(event, here))
        return items

    def _scalar(self, event: Any, path: Path) -> Any:
        text: str = event.value
        if event.tag and event.tag not in ("!", "tag:yaml.org,2002:str"):
            self._problems.append(Problem(self._place(event), path, f"tag {event.tag} is not allowed here", remedy="write the plain value"))
            return text
        if event.style or event.tag:
            return text
        return plain(text)


def plain(text: str) -> Any:
    """The value of an unquoted scalar. Digits and colons (MAC addresses, times) stay text."""
    if text in _NULL:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if text in _AMBIGUOUS:
        return Ambiguous(text)
    if _INTEGER.fullmatch(text) and len(text) < 20:
        octal = text.lstrip("+-").startswith("0") and text.lstrip("+-") != "0"
        return text if octal else int(text)
    if _HEXADECIMAL.fullmatch(text) and len(text) < 20:
        return int(text, 16)
    if _FLOAT.fullmatch(text) and len(text) < 32:
        return float(text)
    return text
