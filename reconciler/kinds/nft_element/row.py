"""One element of a named set in a table of ours (nft(8), SETS)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from reconciler.engine.model import Origin, Ref
from reconciler.kinds.nft.row import Words
from reconciler.wire.ip import normal_address


class NftElementKey(NamedTuple):
    """An element is its value; there is nothing else to it."""

    netns: str
    family: str  # of the table: ip, ip6, inet, bridge, netdev, arp
    table: str
    set: str
    value: Words  # ("10.0.1.12",), ("198.51.100.13", ".", "14789"): addresses, ports, MACs


class NftElement(NamedTuple):
    """An element of a set of plain values: no interval, no timeout, no map."""

    key: NftElementKey
    origin: tuple[Origin, ...] = ()


def element(netns: str, family: str, table: str, set: str, *value: str | int) -> NftElement:
    """An element from its parts, "198.51.100.13", 14789. Raises ValueError."""
    return NftElement(NftElementKey(netns, family, table, set, words(str(part) for part in value)))


def words(parts: Iterable[str]) -> Words:
    """The parts of a value as nft prints them, with dots between. Raises ValueError."""
    found: list[str] = []
    for part in parts:
        found += (".", _normal(part)) if found else (_normal(part),)
    return tuple(found)


def _normal(part: str) -> str:
    if part.isascii() and part.isdigit():
        if int(part) > 0xFFFF:
            raise ValueError(f"{part} is no port: 0 to 65535")
        return str(int(part))
    octets = part.split(":")
    if len(octets) == 6 and all(len(octet) == 2 for octet in octets):
        return bytes.fromhex(part.replace(":", "")).hex(":")
    return normal_address(part)


@lru_cache(maxsize=256)
def in_table(netns: str, family: str, table: str) -> tuple[Ref, ...]:
    """What every element of a table needs, as one value that all of them share."""
    return (Ref("nft", (netns, family, table)),)
