"""What a field of a row may hold, and its one spelling: the one that the kernel's answer has too.

A row type says it in the annotation of a field (`mac: Mac`). What people write by
hand passes `spelled`, so that `0A:…` and `0a:…` are no difference that no command
can mend. A field that says nothing holds plain words, or numbers of 32 bits.
What intents make and what a kernel answers is in that spelling already.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar

from reconciler.engine.model import Unknown
from reconciler.wire.ip import normal_address, normal_network, packed

N = TypeVar("N")
IFNAMSIZ = 16  # bytes, with the one that ends it (include/uapi/linux/if.h)
_WORD = re.compile(r"[A-Za-z0-9_./:,%@+=][A-Za-z0-9_./:,%@+=-]*")
_OPERATORS = frozenset({"!=", "{", "}"})  # nft's, as words of their own
_MAC = re.compile(r"[0-9a-f]{2}([:-])[0-9a-f]{2}(\1[0-9a-f]{2}){4}")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class BadValue(ValueError):
    """A value that no row can hold, and in which field ("" for the row as a whole)."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Text(NamedTuple):
    """The annotation of a text: makes the one spelling of it, or raises ValueError with what is allowed."""

    spell: Callable[[str], str]


class Number(NamedTuple):
    """The annotation of a number: what fits into the kernel's field."""

    least: int
    most: int


class Phrase(NamedTuple):
    """The annotation of a tuple of words that are read together."""

    spell: Callable[[tuple[str, ...]], tuple[str, ...]]


def spelled(row: N) -> N:
    """A row with every value in its one spelling. Raises BadValue, which names the field."""
    return typing.cast(N, _named_tuple(row, ""))


def _named_tuple(value: Any, inside: str) -> Any:
    kind: Any = type(value)
    hints = _hints(kind)
    changes = {}
    for name in value._fields:
        if name == "origin":
            continue
        old = getattr(value, name)
        try:
            new = _value(hints[name], old, inside or name)
        except BadValue:
            raise
        except ValueError as error:
            told = f"{name}: {error}" if inside else str(error)
            raise BadValue(told, inside or name) from None
        if new is not old:
            changes[name] = new
    return value._replace(**changes) if changes else value


def _value(hint: Any, value: Any, name: str) -> Any:
    if hasattr(value, "_fields"):
        return _named_tuple(value, "" if name == "key" else name)
    if value is None or isinstance(value, bool | bytes | Unknown):
        return value
    known = [one for one in _extras(hint) if isinstance(one, Text | Number | Phrase)]
    if isinstance(value, tuple):
        words = next((one for one in known if isinstance(one, Phrase)), None)
        inner = words is None and next((typing.get_args(one)[0] for one in _alternatives(hint) if typing.get_origin(one) is tuple), Any)
        return words.spell(value) if words else tuple(_value(inner, one, name) for one in value)
    if isinstance(value, int):
        limits = next((one for one in known if isinstance(one, Number)), U32_LIMITS)
        if not limits.least <= value <= limits.most:
            raise ValueError(f"found {value}; allowed: {limits.least} to {limits.most}")
        return value
    if value == "":
        return value
    text = next((one for one in known if isinstance(one, Text)), PLAIN)
    return text.spell(value)


@cache
def _hints(named_tuple: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(named_tuple, include_extras=True)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) is Annotated:
        return _alternatives(typing.get_args(hint)[0])
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(found for one in typing.get_args(hint) for found in _alternatives(one))
    return (hint,)


def _extras(hint: Any) -> tuple[Any, ...]:
    """What the annotations of a hint, and of the members of a union, say."""
    if typing.get_origin(hint) is Annotated:
        inner, *extras = typing.get_args(hint)
        return (*extras, *_extras(inner))
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(extra for one in typing.get_args(hint) for extra in _extras(one))
    return ()


# -- texts --------------------------------------------------------------------------------------


def word(text: str) -> str:
    """One word of a command line."""
    if not _WORD.fullmatch(text):
        raise ValueError(f"found {text!r}; allowed: one word of letters, digits and _./:,%@+=- that does not begin with -")
    return text


def plain_words(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Words of a command line, however they are divided among the items."""
    found = tuple(" ".join(texts).split(" "))
    for one in found if texts else ():
        if one not in _OPERATORS:
            word(one)
    return found if texts else ()


def free(text: str) -> str:
    """Any text that has bytes (a lone half of a surrogate pair has none)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"found {text[:60]!r}; allowed: any text in Unicode") from None
    return text


def device(text: str) -> str:
    """The name of a network device (dev_valid_name() in the kernel)."""
    word(text)
    if len(text) >= IFNAMSIZ or text in (".", "..") or "/" in text or ":" in text or "%" in text:
        raise ValueError(f"found {text!r}; allowed: the name of a network device, at most {IFNAMSIZ - 1} characters without / : %")
    return text


def name(text: str) -> str:
    """A name in nftables."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"found {text!r}; allowed: a name of letters, digits, _ . - that begins with a letter")
    return text


def mac(text: str) -> str:
    """A MAC address as iproute2 prints it."""
    low = text.lower()
    if not _MAC.fullmatch(low):
        raise ValueError(f"found {text!r}; allowed: a MAC address, 02:00:00:00:00:01")
    return low.replace("-", ":")


def address(text: str) -> str:
    """An address without a prefix length (RFC 5952)."""
    try:
        return normal_address(text)
    except ValueError:
        raise ValueError(f"found {text!r}; allowed: an address, 10.0.0.1 or fd00::1") from None


def network(text: str) -> str:
    """A network; one address is a whole one (/32, /128)."""
    whole = text if "/" in text else f"{text}/{128 if ':' in text else 32}"
    try:
        return normal_network(whole)
    except ValueError as error:
        raise ValueError(f"{error}; allowed: 10.9.0.0/16 or fd00:9::/48") from None


def interface(text: str) -> str:
    """An address with the length of its prefix; one without is a whole one."""
    one, slash, length = text.partition("/")
    bits = 128 if ":" in one else 32
    if slash and not (length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= bits):
        raise ValueError(f"found {text!r}; allowed: an address and a prefix length of 0 to {bits}")
    return f"{address(one)}/{int(length) if slash else bits}"


def number(text: str, *, most: int = 0xFFFFFFFF) -> int:
    """A number in decimal or hexadecimal digits."""
    if not _NUMBER.fullmatch(text) or int(text, 0 if text[:2] in ("0x", "0X") else 10) > most:
        raise ValueError(f"found {text!r}; allowed: a number of 0 to {most}")
    return int(text, 0 if text[:2] in ("0x", "0X") else 10)


def hexadecimal(most: int, zero: str = "") -> Text:
    """A number as iproute2 prints flags and marks."""

    def spell(text: str) -> str:
        found = number(text, most=most)
        return f"{found:#x}" if found else zero

    return Text(spell)


def span(most: int, *, single: bool) -> Text:
    """A range, 80-90; `single`: one number stands for itself."""

    def spell(text: str) -> str:
        low, dash, high = text.partition("-")
        first = number(low, most=most)
        last = number(high, most=most) if dash else first
        if last < first:
            raise ValueError(f"found {text!r}; allowed: a range whose end is not before its beginning")
        return str(first) if first == last and single else f"{first}-{last}"

    return Text(spell)


def one_of(*allowed: str, **also: str) -> Text:
    """One of some words; `also` are other spellings of them."""
    known = {one.lower(): one for one in allowed} | also

    def spell(text: str) -> str:
        found = known.get(text.lower())
        if found is None:
            raise ValueError(f"found {text!r}; allowed: {', '.join(allowed)}")
        return found

    return Text(spell)


def family_of(text: str) -> int:
    """4 or 6, of an address or a network."""
    return 4 if len(packed(text.partition("/")[0])) == 4 else 6


PLAIN = Text(word)
U32_LIMITS = Number(0, 0xFFFFFFFF)
U8 = Annotated[int, Number(0, 0xFF)]
U16 = Annotated[int, Number(0, 0xFFFF)]
Port = Annotated[int, Number(1, 0xFFFF)]
U24 = Annotated[int, Number(0, 0xFFFFFF)]
Vlan = Annotated[int, Number(0, 4094)]
Mac = Annotated[str, Text(mac)]
Ip = Annotated[str, Text(address)]
Network = Annotated[str, Text(network)]
Interface = Annotated[str, Text(interface)]
Device = Annotated[str, Text(device)]
Name = Annotated[str, Text(name)]
FreeText = Annotated[str, Text(free)]  # never part of a line
Several = Annotated[tuple[str, ...], Phrase(plain_words)]
Sorted = Annotated[tuple[str, ...], Phrase(lambda texts: tuple(sorted(set(plain_words(texts)))))]


def keeps_mark(field: str, value: object) -> None:
    """What is adopted keeps the mark of whoever made it. Raises BadValue."""
    if value is not None:
        raise BadValue("what is adopted keeps the one of whoever made it: leave it out", field)


def mark_only(field: str, value: object, ours: object, what: str) -> None:
    """A mark of ours is not for people to choose: without it a row could not be known again. Raises BadValue."""
    if value != ours:
        raise BadValue(f"found {value}; {what} is the mark by which plumbline knows a row as its own: leave {field} out", field)
