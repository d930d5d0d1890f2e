"""Kind `nft_element`: elements of named sets, each a row of its own."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.engine.reader import Dump, ObservationFailed, Reader, Scope
from reconciler.kinds.nft import AFTER_LINKS
from reconciler.kinds.nft.row import OWN, own_table
from reconciler.kinds.nft.tool import has_no_netfilter
from reconciler.kinds.nft_element.decode import PlainSet, elements, plain_sets
from reconciler.kinds.nft_element.row import NftElement, NftElementKey, element, in_table
from reconciler.kinds.spelling import BadValue
from reconciler.wire import nftables

__all__ = ["KIND", "NftElement", "NftElementKey", "element"]


class NftElementKind(Kind[NftElement]):
    """Known as ours by its table: in a set of plain values of a table of ours, what nothing wants is drift.

    Sets of intervals or maps, and those that rules fill (`dynamic`, `timeout`),
    are never looked into. A table that is made anew loses its elements; they are
    made again in the transaction that makes it, so that no packet meets the one
    without the others (`joins`).
    """

    name = "nft_element"
    rank = 15
    row = NftElement
    grammar = (("nft", "add", "element"), ("nft", "delete", "element"))
    poll = 30.0
    told = True
    asks_for = True
    joins = "nft"

    def observe(self, io: Reader, scope: Scope) -> Iterable[NftElement]:
        found: list[NftElement] = []
        try:
            for netns in scope.netns:
                found += io.of_ruleset(netns, self.name, lambda netns=netns: _elements(io, netns))  # type: ignore[misc]
        except ObservationFailed as failure:
            if has_no_netfilter(failure) and not scope.wanted.of(self.name):
                return []
            raise
        return found

    def owner(self, row: NftElement, seen: Seen) -> Owner:
        ours = any(table.comment == OWN for table in seen.at("nft", in_table(*row.key[:3])[0].key))
        return Owner.OURS if ours else Owner.FOREIGN

    def needs(self, row: NftElement) -> tuple[Ref, ...]:
        return in_table(*row.key[:3])

    def rank_of(self, row: NftElement) -> int:
        """Right behind its table."""
        return AFTER_LINKS if row.key.family == "netdev" else self.rank

    def normal(self, row: NftElement) -> NftElement:
        if not own_table(row.key.table):
            raise BadValue(f"table {row.key.table} is not ours: state elements of tables called plumbline or plumbline-NAME", "table")
        return row


def _elements(io: Reader, netns: str) -> list[NftElement]:
    """The elements of all plain sets, by raw netlink: `nft` takes several times as long to print ten thousand."""
    sets = list(plain_sets(io.nft_dump(netns, Dump(nftables.GETSET, nftables.body()))))
    return [row for one in sets for row in elements(netns, one, io.nft_dump(netns, _all_of(one)))]


def _all_of(one: PlainSet) -> Dump:
    named = {"table": (nftables.TABLE_NAME, one.table), "set": (nftables.ELEMENTS_SET, one.name)}
    return Dump(nftables.GETSETELEM, nftables.body(nftables.NUMBERS[one.family], **named))


KIND = NftElementKind()
