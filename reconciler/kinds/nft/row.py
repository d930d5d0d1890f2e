"""One nftables table with all that is in it but the elements of its sets (nft(8))."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.nft.elements import canonical
from reconciler.kinds.spelling import Device, Name, Phrase, Several, Text, one_of

OWN = "plumbline"  # a table of ours is called this, or "plumbline-…", and has this as its comment
_NAMED = {"raw": -300, "mangle": -150}  # valid in every hook of ip, ip6 and inet
_AT_HOOK = {("prerouting", -100): "dstnat", ("postrouting", 100): "srcnat"}

_STANDARD = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
_BRIDGE = {"dstnat": -300, "filter": -200, "out": 100, "srcnat": 300}
_PRIORITY = re.compile(r"(?P<name>[a-z]+)?(?P<number>[+-]?[0-9]{1,9})?")

Words = Several
FAMILY = one_of("ip", "ip6", "inet", "bridge", "netdev", "arp")


def offset(said: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a priority, signs and all; `stated_priority` makes the one spelling of them, once the hook is known."""
    if not re.fullmatch(r"[a-z0-9 +-]*", text := " ".join(said)):
        raise ValueError(f"found {text!r}; allowed: a number or a name, perhaps with an offset: mangle + 5")
    return tuple(text.split())


def flags(text: str) -> str:
    """Flags of a set in nft's order of writing."""
    known = one_of("constant", "interval", "timeout", "dynamic")
    return ",".join(sorted({known.spell(one.strip()) for one in text.split(",")}))


class NftKey(NamedTuple):
    """A table."""

    netns: str
    family: Annotated[str, FAMILY]
    table: Name


class Chain(NamedTuple):
    """A chain and its rules, each as nft prints it, word by word; base chains have a type and a hook."""

    name: Name
    type: Annotated[str, one_of("filter", "nat", "route")] = ""
    hook: Annotated[str, one_of("prerouting", "input", "forward", "output", "postrouting", "ingress", "egress")] = ""
    priority: Annotated[tuple[str, ...], Phrase(offset)] = ()  # as `priority()` gives it
    policy: Annotated[str, one_of("accept", "drop")] = ""
    device: Device = ""
    rules: tuple[Words, ...] = ()


class NftSet(NamedTuple):
    """The declaration of a named set or map, without its elements."""

    name: Name
    type: Words  # ("ipv4_addr", ".", "inet_service"); of a map ("ipv4_addr", ":", "verdict")
    flags: Annotated[str, Text(flags)] = ""  # "interval", "dynamic,timeout"
    what: Annotated[str, one_of("set", "map")] = "set"


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


def stated_priority(said: Words, hook: str, family: str) -> Words:
    """A priority as people write it (nft(8)): a number, a name, a name with an offset. Raises ValueError."""
    text = "".join(said) or "0"
    found = _PRIORITY.fullmatch(text)
    names = _BRIDGE if family == "bridge" else _STANDARD
    if found is None or (found["name"] and found["name"] not in names):
        raise ValueError(f"found {' '.join(said)!r}; allowed: a number, or {', '.join(names)}, perhaps with an offset: mangle + 5")
    return priority(names.get(found["name"] or "", 0) + int(found["number"] or 0), hook)


def chain(name: str, *rules: str, type: str = "", hook: str = "", at: int = 0, policy: str = "accept", device: str = "") -> Chain:
    """A chain of rules written as text; `at` is the priority of a base chain."""
    if not hook:
        return Chain(name, rules=tuple(rule(text) for text in rules))
    return Chain(name, type, hook, priority(at, hook), policy, device, tuple(rule(text) for text in rules))


def nft(netns: str, family: str, table: str, chains: Iterable[Chain], sets: Iterable[NftSet] = ()) -> Nft:
    """A table of ours; `table` is "plumbline" or begins with "plumbline-"."""
    return Nft(NftKey(netns, family, table), tuple(sorted(chains)), tuple(sorted(sets)))
