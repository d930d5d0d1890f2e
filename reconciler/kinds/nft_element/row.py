"""One element of a named set in a table of ours (nft(8), SETS)."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin, Ref
from reconciler.kinds.nft.row import FAMILY
from reconciler.kinds.spelling import Name, Phrase, address, mac


def spell(words: tuple[str, ...]) -> tuple[str, ...]:
    """The parts of a value as nft prints them, with dots between. Raises ValueError."""
    parts = tuple(" ".join(words).split())
    if len(parts) % 2 == 0 or any(dot != "." for dot in parts[1::2]):
        raise ValueError(f'found {" ".join(words)!r}; allowed: one value, or several with dots between: [198.51.100.13, ".", "14789"]')
    return tuple(word if number % 2 else _part(word) for number, word in enumerate(parts))


def _part(word: str) -> str:
    if word.isascii() and word.isdigit():
        if int(word) > 0xFFFF:
            raise ValueError(f"found {word}; allowed: a port of 0 to 65535")
        return str(int(word))
    return mac(word) if word.count(":") == 5 and "::" not in word else address(word)


class NftElementKey(NamedTuple):
    """An element is its value; there is nothing else to it."""

    netns: str
    family: Annotated[str, FAMILY]  # of the table
    table: Name
    set: Name
    value: Annotated[tuple[str, ...], Phrase(spell)]  # ("10.0.1.12",), ("198.51.100.13", ".", "14789"): addresses, ports, MACs


class NftElement(NamedTuple):
    """An element of a set of plain values: no interval, no timeout, no map."""

    key: NftElementKey
    origin: tuple[Origin, ...] = ()


def element(netns: str, family: str, table: str, name: str, *value: str | int, origin: tuple[Origin, ...] = ()) -> NftElement:
    """An element from the parts of its value in their one spelling: "198.51.100.13", 14789."""
    words = (str(value[0]),) if len(value) == 1 else tuple(" . ".join(map(str, value)).split(" "))
    return NftElement(NftElementKey(netns, family, table, name, words), origin)


@lru_cache(maxsize=256)
def in_table(netns: str, family: str, table: str) -> tuple[Ref, ...]:
    """What every element of a table needs, as one value that all of them share."""
    return (Ref("nft", (netns, family, table)),)
