"""One rule of ours at the head of somebody else's chain (nft(8))."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.nft.row import FAMILY, Words, rule
from reconciler.kinds.spelling import Name

PREFIX = "plumbline-"


class NftRuleKey(NamedTuple):
    """A rule is known by its chain and its comment, which begins with "plumbline-"."""

    netns: str
    family: Annotated[str, FAMILY]
    table: Name
    chain: Name
    comment: str  # "plumbline-pods-in"


class NftRule(NamedTuple):
    """The rule's words, as nft prints them, without the comment."""

    key: NftRuleKey
    rule: Words
    handle: int = 0  # the kernel's number for it
    origin: tuple[Origin, ...] = ()


def nft_rule(netns: str, family: str, table: str, chain: str, name: str, text: str) -> NftRule:
    """A rule from its text; `name` tells rules of one chain apart ("pods-in")."""
    return NftRule(NftRuleKey(netns, family, table, chain, PREFIX + name), rule(text))
