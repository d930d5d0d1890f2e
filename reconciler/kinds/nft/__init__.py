"""Kind `nft`: tables of nftables, each whole."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind, ObservationFailed, Reader, Scope
from reconciler.engine.model import Owner, Seen
from reconciler.kinds.nft.decode import decode
from reconciler.kinds.nft.elements import canonical
from reconciler.kinds.nft.row import OWN, Chain, Nft, NftKey, NftSet, chain, nft, own_table, priority, rule
from reconciler.kinds.nft.tool import holds_nothing_for_us

__all__ = ["KIND", "Chain", "Nft", "NftKey", "NftSet", "chain", "nft", "priority", "rule"]


class NftKind(Kind[Nft]):
    """Known as ours by its name, "plumbline" or "plumbline-…", and by the comment "plumbline".

    Tables with other names are never looked at. A difference makes the whole
    table anew, in one transaction: no packet sees a table that is half there.
    """

    name = "nft"
    rank = 85
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

    def observe(self, io: Reader, scope: Scope) -> Iterable[Nft]:
        try:
            return [row for netns in scope.netns for row in _tables(io, netns)]
        except ObservationFailed as failure:
            if holds_nothing_for_us(failure) and not scope.wanted.of(self.name):
                return []
            raise

    def same(self, old: Nft, new: Nft) -> bool:
        return not self.differs(old, new)

    def differs(self, old: Nft, new: Nft) -> tuple[str, ...]:
        return super().differs(old, _normal(new))

    def owner(self, row: Nft, seen: Seen) -> Owner:
        return Owner.OURS if row.comment == OWN else Owner.FOREIGN

    def impossible(self, row: Nft, seen: Seen) -> str:
        if not own_table(row.key.table):
            return f"table {row.key.table}: tables that plumbline makes are called plumbline or plumbline-NAME"
        return ""


def _tables(io: Reader, netns: str) -> Iterable[Nft]:
    for line in io.tool(netns, ("nft", "list", "tables")).splitlines():
        _, family, table = line.split()[:3]
        if own_table(table):
            yield decode(netns, family, table, io.tool(netns, ("nft", "-s", "-y", "list", "table", family, table)))


def _normal(row: Nft) -> Nft:
    """A wanted row that somebody wrote word by word, in the order and form that a seen one has."""
    chains = (one._replace(rules=tuple(canonical(words) for words in one.rules)) for one in row.chains)
    return row._replace(chains=tuple(sorted(chains)), sets=tuple(sorted(row.sets)))


KIND = NftKind()
