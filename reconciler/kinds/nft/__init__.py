"""Kind `nft`: tables of nftables, each whole."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind, ObservationFailed, Reader, Scope, ToolMissing
from reconciler.engine.model import Owner, Seen
from reconciler.kinds.nft.decode import decode
from reconciler.kinds.nft.elements import canonical
from reconciler.kinds.nft.row import OWN, Chain, Nft, NftKey, NftSet, chain, nft, priority, rule

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
        """Without nft on the node, and none wanted, there are no rows.

        The answer is "nothing that we could remove" and not "nothing there": no
        line is planned from it, and whoever wants a table is told what to install.
        """
        try:
            return [row for netns in scope.netns for row in _tables(io, netns)]
        except ToolMissing:
            if scope.wanted.of(self.name):
                raise
            return []
        except ObservationFailed as failure:
            if "Protocol not supported" in str(failure) and not scope.wanted.of(self.name):
                return []  # a kernel without netfilter holds no table
            raise

    def same(self, old: Nft, new: Nft) -> bool:
        return not self.differs(old, new)

    def differs(self, old: Nft, new: Nft) -> tuple[str, ...]:
        return super().differs(old, _normal(new))

    def owner(self, row: Nft, seen: Seen) -> Owner:
        return Owner.OURS if row.comment == OWN else Owner.FOREIGN

    def impossible(self, row: Nft, seen: Seen) -> str:
        if not _own(row.key.table):
            return f"table {row.key.table}: tables that plumbline makes are called plumbline or plumbline-NAME"
        return ""


def _tables(io: Reader, netns: str) -> Iterable[Nft]:
    for line in io.tool(netns, ("nft", "list", "tables")).splitlines():
        _, family, table = line.split()[:3]
        if _own(table):
            yield decode(netns, family, table, io.tool(netns, ("nft", "-s", "-y", "list", "table", family, table)))


def _normal(row: Nft) -> Nft:
    """A wanted row that somebody wrote word by word, in the order and form that a seen one has."""
    chains = (one._replace(rules=tuple(canonical(words) for words in one.rules)) for one in row.chains)
    return row._replace(chains=tuple(sorted(chains)), sets=tuple(sorted(row.sets)))


def _own(table: str) -> bool:
    return table == OWN or table.startswith(OWN + "-")


KIND = NftKind()
