"""One nftables table with all that is in it but the elements of its sets (nft(8))."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.nft.elements import canonical

OWN = "plumbline"  # a table of ours is called this, or "plumbline-…", and has this as its comment
_NAMED = {"raw": -300, "mangle": -150}  # valid in every hook of ip, ip6 and inet
_AT_HOOK = {("prerouting", -100): "dstnat", ("postrouting", 100): "srcnat"}

Words = tuple[str, ...]


class NftKey(NamedTuple):
    """A table."""

    netns: str
    family: str  # ip, ip6, inet, bridge, netdev, arp
    table: str


class Chain(NamedTuple):
    """A chain and its rules, each as nft prints it, word by word; base chains have a type and a hook."""

    name: str
    type: str = ""
    hook: str = ""
    priority: Words = ()  # as `priority()` gives it
    policy: str = ""
    device: str = ""
    rules: tuple[Words, ...] = ()


class NftSet(NamedTuple):
    """The declaration of a named set or map, without its elements."""

    name: str
    type: Words  # ("ipv4_addr", ".", "inet_service"); of a map ("ipv4_addr", ":", "verdict")
    flags: str = ""  # "interval", "dynamic,timeout"
    what: str = "set"  # set | map


class Nft(NamedTuple):
    """A table. The order of chains and sets is no difference: `nft()` sorts them."""

    key: NftKey
    chains: tuple[Chain, ...] = ()
    sets: tuple[NftSet, ...] = ()
    other: tuple[Words, ...] = ()  # seen only: what a plan cannot state; a wanted row has none
    comment: str = OWN
    origin: tuple[Origin, ...] = ()


def own_table(name: str) -> bool:
    return name == OWN or name.startswith(OWN + "-")


def rule(text: str) -> Words:
    """A rule as its words. Write it as `nft -s list table` prints it, quotes left out; sets in any order."""
    return canonical(tuple(text.split()))


def priority(number: int, hook: str) -> Words:
    """A priority in words that need no leading minus: a name, a number, or "mangle + 5".

    Raises ValueError below raw (-300), which is before connection tracking and all that nft names.
    """
    named = _AT_HOOK.get((hook, number))
    if named:
        return (named,)
    if number >= 0:
        return (str(number),)
    for name, base in sorted(_NAMED.items(), key=lambda pair: -pair[1]):
        if number >= base:
            return (name,) if number == base else (name, "+", str(number - base))
    raise ValueError(f"priority {number} is below -300 (raw)")


def chain(name: str, *rules: str, type: str = "", hook: str = "", at: int = 0, policy: str = "accept", device: str = "") -> Chain:
    """A chain of rules written as text; `at` is the priority of a base chain."""
    if not hook:
        return Chain(name, rules=tuple(rule(text) for text in rules))
    return Chain(name, type, hook, priority(at, hook), policy, device, tuple(rule(text) for text in rules))


def nft(netns: str, family: str, table: str, chains: Iterable[Chain], sets: Iterable[NftSet] = ()) -> Nft:
    """A table of ours; `table` is "plumbline" or begins with "plumbline-"."""
    return Nft(NftKey(netns, family, table), tuple(sorted(chains)), tuple(sorted(sets)))
