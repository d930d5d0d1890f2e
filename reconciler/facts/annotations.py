"""What pods say of the segments that they join: the reference's grammar, and plumbline's own. Pure.

kube-vxlan-controller's annotation is a list of networks with options::

    vxeth0, vxeth1 dev=tun0
    vxeth2
      up
      ip=192.168.10.1/24
      route=192.168.11.0/24:192.168.10.254

Blanks (and tabs) around commas vanish; the text splits at commas and newlines; a piece that
begins with a blank continues the options of the network before it; options are separated by
blanks; a bare name means true. Of an option said twice the last one counts.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from reconciler.spec.document import read_document
from reconciler.spec.problems import SpecError, dotted
from reconciler.spec.segments import PodSegment, SegmentName

MAX_BYTES = 1 << 18  # what all annotations of an object may have together (Kubernetes: 256 KiB)
_COMMA = re.compile(r"[ \t]*,[ \t]*")
_PIECE = re.compile(r"[,\n]+")
_SEGMENTS: TypeAdapter[dict[str, PodSegment]] = TypeAdapter(dict[SegmentName, PodSegment])

Options = dict[str, str | bool]


class BadAnnotation(Exception):
    """An annotation that cannot be read; says what is wrong in it and what is allowed. `network`: which one, "" for the whole."""

    def __init__(self, message: str, network: str = "") -> None:
        super().__init__(message)
        self.network = network


class Network(NamedTuple):
    """One network of the reference's annotation: its name and the options that the pod says, as written."""

    name: str
    options: Options


def read_networks(text: str) -> list[Network]:
    """The reference's annotation (see above). Every text is one: what makes no sense shows later, network by network."""
    found: list[Network] = []
    for piece in _PIECE.split(_COMMA.sub(",", text)):
        words = [word for word in piece.split(" ") if word]
        if not words:
            continue
        if not (piece[0] == " " and found):
            found.append(Network(words.pop(0), {}))
        for word in words:
            name, value = _option(word)
            found[-1].options[name] = value
    return found


def _option(word: str) -> tuple[str, str | bool]:
    name, equals, value = word.partition("=")
    if not equals or value == "true":
        return name, True
    return name, False if value == "false" else value


def read_segments(text: str) -> dict[str, PodSegment | BadAnnotation]:
    """plumbline's annotation: a mapping of segments in YAML, or a list of their names.

    Raises BadAnnotation for what is neither; a mistake in one segment stands in that one's place.
    """
    if len(text) > MAX_BYTES:
        raise BadAnnotation(f"is longer than {MAX_BYTES:,} bytes")
    try:
        data = read_document(text.encode("utf-8", "replace"), "annotation").data
    except SpecError as error:
        first = error.problems[0]
        raise BadAnnotation(f"line {first.place.line}: {first.message}") from None
    if data is None:
        return {}
    if isinstance(data, str):
        data = [data]
    if isinstance(data, list) and all(isinstance(one, str) for one in data):
        data = {name: {} for name in data}
    if not isinstance(data, Mapping):
        raise BadAnnotation("is neither a mapping of segments nor a list of their names; allowed: {vxeth1: {ip: 192.168.11.2/29}}")
    return {str(name): _segment(str(name), said) for name, said in data.items()}


def _segment(name: str, said: Any) -> PodSegment | BadAnnotation:
    try:
        return next(iter(_SEGMENTS.validate_python({name: {} if said is None else said}, strict=True).values()))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = first["loc"][1:]
        if first["type"] == "extra_forbidden":
            known = [field.alias or one for one, field in PodSegment.model_fields.items()]
            guess = difflib.get_close_matches(str(path[-1]), known, 1)
            hint = f"did you mean {guess[0]}?" if guess else f"allowed: {', '.join(known)}"
            return BadAnnotation(f"{dotted(path)}: unknown key; {hint}", name)
        message = first["msg"].removeprefix("Value error, ")
        return BadAnnotation(f"{dotted(path)}: {message}" if path and path != ("[key]",) else message, name)
