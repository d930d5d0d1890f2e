"""Kind `nft`: tables of nftables, each whole."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Seen
from reconciler.engine.reader import Dump, ObservationFailed, Reader, Scope
from reconciler.kinds.nft.decode import decode
from reconciler.kinds.nft.elements import canonical
from reconciler.kinds.nft.row import OWN, Chain, Nft, NftKey, NftSet, chain, nft, own_table, priority, rule, stated_priority
from reconciler.kinds.nft.tool import has_no_netfilter
from reconciler.kinds.spelling import BadValue
from reconciler.wire import nftables

__all__ = ["KIND", "Chain", "Nft", "NftKey", "NftSet", "chain", "nft", "priority", "rule"]


_NOT_OURS = "table {}: tables that plumbline makes are called plumbline or plumbline-NAME"


AFTER_LINKS = 85
_LIST = ("nft", "-s", "-t", "-y", "list", "table")  # without counters and elements; priorities as numbers


class NftKind(Kind[Nft]):
    """Known as ours by its name, "plumbline" or "plumbline-…", and by the comment "plumbline".

    Tables with other names are never looked at. A difference makes the whole
    table anew, in one transaction: no packet sees a table that is half there.
    The elements of its sets are rows of `nft_element`; they are lost with the
    old table and made again in the same transaction.
    """

    name = "nft"
    rank = 15  # before the links, and gone after them: what is filtered or masqueraded never goes without
    row = Nft
    grammar = (
        ("nft", "create", "table"),
        ("nft", "add", "chain"),
        ("nft", "add", "rule"),
        ("nft", "add", "set"),
        ("nft", "add", "map"),
        ("nft", "delete", "table"),
    )
    uncompared = 2
    poll = 30.0
    told = True
    asks_for = True
    joins = "nft"

    def observe(self, io: Reader, scope: Scope) -> Iterable[Nft]:
        found: list[Nft] = []
        try:
            for netns in scope.netns:
                found += io.of_ruleset(netns, self.name, lambda netns=netns: list(_tables(io, netns)))  # type: ignore[misc]
            return found
        except ObservationFailed as failure:
            if has_no_netfilter(failure) and not scope.wanted.of(self.name):
                return []
            raise

    def same(self, old: Nft, new: Nft) -> bool:
        return not self.differs(old, new)

    def differs(self, old: Nft, new: Nft) -> tuple[str, ...]:
        return super().differs(old, _normal(new))

    def owner(self, row: Nft, seen: Seen) -> Owner:
        return Owner.OURS if row.comment == OWN else Owner.FOREIGN

    def normal(self, row: Nft) -> Nft:
        if not own_table(row.key.table):
            raise BadValue(_NOT_OURS.format(row.key.table), "table")
        if row.other:
            raise BadValue("tells what a plan cannot state: leave it out", "other")
        try:
            chains = (
                one._replace(priority=stated_priority(one.priority, one.hook, row.key.family), policy=one.policy or "accept")
                if one.hook
                else one
                for one in row.chains
            )
            return _normal(row._replace(chains=tuple(chains)))
        except ValueError as error:
            raise BadValue(f"priority: {error}", "chains") from None

    def rank_of(self, row: Nft) -> int:
        """A table whose chains hang on devices comes after these."""
        return AFTER_LINKS if row.key.family == "netdev" else self.rank

    def loses(self, old: Nft, new: Nft) -> frozenset[str]:
        return frozenset({"nft_element"})

    def impossible(self, row: Nft, seen: Seen) -> str:
        return "" if own_table(row.key.table) else _NOT_OURS.format(row.key.table)


def _tables(io: Reader, netns: str) -> Iterable[Nft]:
    """Most namespaces hold no table of ours, which the kernel itself tells: a node without the tool needs it only where there is one."""
    for message in nftables.messages(io.nft_dump(netns, Dump(nftables.GETTABLE, nftables.body())), nftables.NEWTABLE):
        table = message.text(nftables.TABLE_NAME)
        if own_table(table):
            yield decode(netns, message.family, table, io.tool(netns, (*_LIST, message.family, table)))


def _normal(row: Nft) -> Nft:
    """A wanted row that somebody wrote word by word, in the order and form that a seen one has."""
    chains = (one._replace(rules=tuple(canonical(words) for words in one.rules)) for one in row.chains)
    return row._replace(chains=tuple(sorted(chains)), sets=tuple(sorted(row.sets)))


KIND = NftKind()
