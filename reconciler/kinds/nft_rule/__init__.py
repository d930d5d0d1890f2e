"""Kind `nft_rule`: single rules in chains of other people (an accept before their drop)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Seen
from reconciler.engine.reader import Dump, ObservationFailed, Reader, Scope, ToolMissing
from reconciler.kinds.nft.decode import logical_lines, words_of
from reconciler.kinds.nft.elements import canonical
from reconciler.kinds.nft.row import own_table
from reconciler.kinds.nft.tool import has_no_netfilter
from reconciler.kinds.nft_rule.row import PREFIX, NftRule, NftRuleKey, nft_rule
from reconciler.kinds.spelling import BadValue
from reconciler.wire import netlink as wire
from reconciler.wire import nftables

__all__ = ["KIND", "NftRule", "NftRuleKey", "nft_rule"]

_BLOCK_HANDLE = re.compile(r"\{ # handle \d+$", re.MULTILINE)


class _Chain(NamedTuple):
    family: str
    table: str
    name: str


class NftRuleKind(Kind[NftRule]):
    """Known as ours by its comment, in the chains that the spec names and in all that see forwarded packets.

    A chain that does not exist drops nothing, so a rule wanted in it counts as
    being there; the chain itself is somebody else's to make.
    """

    name = "nft_rule"
    rank = 86
    row = NftRule
    grammar = (("nft", "insert", "rule"), ("nft", "replace", "rule"), ("nft", "delete", "rule"))
    uncompared = 2
    poll = 30.0
    told = True
    asks_for = True

    def observe(self, io: Reader, scope: Scope) -> Iterable[NftRule]:
        wanted = scope.wanted.of(self.name)
        try:
            return [row for netns in scope.netns for row in _rules_in(io, netns, list(wanted.values()))]
        except ObservationFailed as failure:
            if not wanted and (has_no_netfilter(failure) or (isinstance(failure, ToolMissing) and not _any(io, scope.netns))):
                return []
            raise

    def owner(self, row: NftRule, seen: Seen) -> Owner:
        return Owner.OURS if row.key.comment.startswith(PREFIX) else Owner.FOREIGN

    def same(self, old: NftRule, new: NftRule) -> bool:
        return not self.differs(old, new)

    def differs(self, old: NftRule, new: NftRule) -> tuple[str, ...]:
        return () if old.rule == canonical(new.rule) else ("rule",)

    def normal(self, row: NftRule) -> NftRule:
        why = self.impossible(row, Seen({}))
        if why:
            raise BadValue(why, "table" if own_table(row.key.table) else "comment")
        return row._replace(rule=canonical(row.rule))

    def impossible(self, row: NftRule, seen: Seen) -> str:
        if own_table(row.key.table):
            return f"table {row.key.table} is ours and made whole: state the rule in its `nft` row"
        if not row.key.comment.startswith(PREFIX):
            return f"{row.key.comment}: a rule of ours is known by a comment that begins with {PREFIX}"
        return ""


def _rules_in(io: Reader, netns: str, wanted: list[NftRule]) -> Iterable[NftRule]:
    mine = [row for row in wanted if row.key.netns == netns]
    named = frozenset(_Chain(*row.key[1:4]) for row in mine)
    there, found = io.of_ruleset(netns, ("nft_rule", named), lambda: _rules(io, netns, named))
    yield from found
    yield from (row for row in mine if _Chain(*row.key[1:4]) not in there)


def _any(io: Reader, netns: Iterable[str]) -> bool:
    """Whether a rule with a comment of ours is anywhere: the kernel tells without a tool, though not in words that could be compared."""
    return any(PREFIX.encode() in buffer for name in netns for buffer in io.nft_dump(name, Dump(nftables.GETRULE, nftables.body())))


def _rules(io: Reader, netns: str, named: frozenset[_Chain]) -> tuple[set[_Chain], list[NftRule]]:
    """The chains that there are, and our rules in those that are looked into."""
    there, forwarding = _chains(io.nft_dump(netns, Dump(nftables.GETCHAIN, nftables.body())))
    found: list[NftRule] = []
    for chain in sorted((named & there) | forwarding):
        text = io.tool(netns, ("nft", "-a", "-s", "-y", "list", "chain", *chain))
        rows = (_row(netns, chain, line) for line in logical_lines(_BLOCK_HANDLE.sub("{", text)))
        found += (row for row in rows if row is not None)
    return there, found


def _chains(buffers: tuple[bytes, ...]) -> tuple[set[_Chain], set[_Chain]]:
    """Every chain in tables that are not ours, and those among them that see forwarded packets."""
    there: set[_Chain] = set()
    forwarding: set[_Chain] = set()
    for message in nftables.messages(buffers, nftables.NEWCHAIN):
        chain = _Chain(message.family, message.text(nftables.TABLE_NAME), message.text(nftables.CHAIN_NAME))
        if own_table(chain.table):
            continue
        there.add(chain)
        hook = wire.nested(message.found.get(nftables.CHAIN_HOOK, b"")).get(nftables.HOOK_NUMBER)
        if hook is not None and wire.be32(hook) == nftables.HOOK_FORWARD and message.family != "netdev":
            forwarding.add(chain)
    return there, forwarding


def _row(netns: str, chain: _Chain, line: str) -> NftRule | None:
    """Our rule out of `WORDS comment "plumbline-…" # handle N`; None for any other line."""
    words = words_of(line)
    if len(words) < 6 or words[-5] != "comment" or words[-3:-1] != ("#", "handle") or not words[-4].startswith(PREFIX):
        return None
    return NftRule(NftRuleKey(netns, *chain, words[-4]), canonical(words[:-5]), int(words[-1]))


KIND = NftRuleKind()
