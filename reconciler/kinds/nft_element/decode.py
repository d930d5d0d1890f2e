"""Sets and their elements out of nfnetlink's dumps (linux/netfilter/nf_tables.h: nft_set_attributes, nft_set_elem_attributes)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from reconciler.kinds.nft.row import own_table
from reconciler.kinds.nft_element.row import NftElement, NftElementKey
from reconciler.wire import netlink as wire
from reconciler.wire import nftables

# Sets whose elements are rows: an interval has two keys, a map more than keys, and what times out was put there by a rule.
_OTHERS = nftables.SET_ANONYMOUS | nftables.SET_INTERVAL | nftables.SET_MAP | nftables.SET_TIMEOUT | nftables.SET_EVAL | nftables.SET_OBJECT
_PART: dict[str, tuple[int, Callable[[bytes], str]]] = {  # bytes in the kernel, without padding
    "ipv4_addr": (4, wire.address),
    "ipv6_addr": (16, wire.address),
    "ether_addr": (6, wire.mac),
    "inet_service": (2, lambda raw: str(wire.be16(raw))),
}


class PlainSet(NamedTuple):
    """A set whose elements are rows, and what a key of it is made of."""

    family: str
    table: str
    name: str
    types: tuple[str, ...]
    length: int  # of a key, bytes


def plain_sets(buffers: tuple[bytes, ...]) -> Iterator[PlainSet]:
    """The sets of plain values in tables that bear our name. Raises Malformed."""
    for message in nftables.messages(buffers, nftables.NEWSET):
        table, types = message.text(nftables.TABLE_NAME), nftables.basic_types(message.number(nftables.SET_KEY_TYPE))
        if own_table(table) and types is not None and not message.number(nftables.SET_FLAGS) & _OTHERS:
            yield PlainSet(message.family, table, message.text(nftables.SET_NAME), types, message.number(nftables.SET_KEY_LENGTH))


def elements(netns: str, one: PlainSet, buffers: tuple[bytes, ...]) -> list[NftElement]:
    """Every element of a set. Raises Malformed."""
    if sum(_widths(one)) != one.length:
        raise wire.Malformed(f"set {one.name} of {' . '.join(one.types)} has keys of {one.length} bytes")
    keys: list[bytes] = []
    for message in nftables.messages(buffers, nftables.NEWSETELEM):
        keys += nftables.keys(message.found.get(nftables.ELEMENTS, b""), one.length)
    return [_row(netns, one, key) for key in keys]


def _widths(one: PlainSet) -> list[int]:
    """Bytes of each part of a key; in a concatenation each fills whole registers of 4."""
    sizes = [_PART[name][0] for name in one.types]
    return sizes if len(sizes) == 1 else [(size + 3) & ~3 for size in sizes]


@lru_cache(maxsize=1 << 16)
def _row(netns: str, one: PlainSet, key: bytes) -> NftElement:
    """The very same row for the same bytes: a set is dumped whole when one element changes, and nothing else is looked at again."""
    words: list[str] = []
    start = 0
    for name, width in zip(one.types, _widths(one), strict=True):
        size, read = _PART[name]
        words += (".", read(key[start : start + size])) if words else (read(key[start : start + size]),)
        start += width
    return NftElement(NftElementKey(netns, one.family, one.table, one.name, tuple(words)))
