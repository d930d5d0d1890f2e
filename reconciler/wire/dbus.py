"""A D-Bus method call as bytes, and what comes back (D-Bus specification, "Message Protocol"). Little-endian, protocol version 1."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

CALL, RETURN, ERROR = 1, 2, 3
_PATH, _INTERFACE, _MEMBER, _DESTINATION, _SIGNATURE, _UNIX_FDS = 1, 2, 3, 6, 8, 9
_FIXED = struct.Struct("<BBBBIII")  # endianness, type, flags, version, body length, serial, length of the fields
HEADER = _FIXED.size
_NUMBERS = {"y": "B", "u": "I", "i": "i", "t": "Q", "b": "I", "h": "I"}  # b: 0 or 1; h: an index into the descriptors that come along
_ALIGNMENT = {"s": 4, "o": 4, "a": 4, "g": 1, "v": 1, "(": 8, "y": 1, "t": 8}  # of all others: 4


class Variant(NamedTuple):
    """A value that says its type."""

    signature: str
    value: Any


class Message(NamedTuple):
    """What came: its type, and the text of an error."""

    type: int
    text: str


def call(path: str, interface: str, member: str, signature: str, arguments: Sequence[Any], *, to: str, descriptors: int = 0) -> bytes:
    """A method call of serial 1; `descriptors` come along with it (SCM_RIGHTS)."""
    body = bytearray()
    for one, argument in zip(types(signature), arguments, strict=True):
        _put(body, one, argument)
    fields: list[tuple[int, Variant]] = [
        (_PATH, Variant("o", path)),
        (_INTERFACE, Variant("s", interface)),
        (_MEMBER, Variant("s", member)),
        (_DESTINATION, Variant("s", to)),
        (_SIGNATURE, Variant("g", signature)),
    ]
    if descriptors:
        fields.append((_UNIX_FDS, Variant("u", descriptors)))
    head = bytearray(struct.pack("<BBBBII", ord("l"), CALL, 0, 1, len(body), 1))
    _put(head, "a(yv)", fields)
    _align(head, 8)
    return bytes(head + body)


def length(head: bytes) -> int:
    """Of the whole message, from its first HEADER bytes. Raises ValueError."""
    endianness, _, _, version, body, _, fields = map(int, _FIXED.unpack(head))
    if endianness != ord("l") or version != 1 or body + fields > 1 << 20:
        raise ValueError("no D-Bus message of this byte order and size")
    return HEADER + fields + -fields % 8 + body


def parse(message: bytes) -> Message:
    """A whole one."""
    _, kind, _, _, body, _, _ = _FIXED.unpack_from(message)
    text = ""
    if kind == ERROR and body >= 4:  # by convention its first argument is a text
        at = len(message) - body
        (size,) = struct.unpack_from("<I", message, at)
        text = message[at + 4 : at + 4 + size].decode(errors="replace")
    return Message(kind, text)


def types(signature: str) -> Iterator[str]:
    """The complete types that a signature is made of."""
    start = depth = 0
    for end, letter in enumerate(signature):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and letter != "a":
            yield signature[start : end + 1]
            start = end + 1


def _align(out: bytearray, to: int) -> None:
    out += bytes(-len(out) % to)


def _put(out: bytearray, signature: str, value: Any) -> None:
    _align(out, _ALIGNMENT.get(signature[0], 4))
    match signature[0]:
        case "s" | "o":
            text = value.encode()
            out += struct.pack("<I", len(text)) + text + b"\0"
        case "g":
            out += bytes([len(value)]) + value.encode() + b"\0"
        case "v":
            _put(out, "g", value.signature)
            _put(out, value.signature, value.value)
        case "(":
            for one, part in zip(types(signature[1:-1]), value, strict=True):
                _put(out, one, part)
        case "a":
            _put_array(out, signature[1:], value)
        case letter:
            out += struct.pack("<" + _NUMBERS[letter], value)


def _put_array(out: bytearray, item: str, values: Sequence[Any]) -> None:
    """Its length counts neither itself nor the padding before the first item."""
    at = len(out)
    out += bytes(4)
    _align(out, _ALIGNMENT.get(item[0], 4))
    start = len(out)
    for one in values:
        _put(out, item, one)
    struct.pack_into("<I", out, at, len(out) - start)
