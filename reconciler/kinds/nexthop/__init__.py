"""Kind `nexthop`: nexthop objects, which make thousands of gateways on one device cheap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from zlib import crc32

from reconciler.engine.kind import Kind
from reconciler.engine.model import Key, Origin, Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.needs import on_link
from reconciler.kinds.nexthop.decode import REQUEST, decode
from reconciler.kinds.nexthop.row import Nexthop, NexthopKey
from reconciler.kinds.spelling import BadValue, mark_only

__all__ = ["KIND", "Nexthop", "NexthopKey", "nexthop", "preferred_id"]

RTNLGRP_NEXTHOP = 32  # include/uapi/linux/rtnetlink.h
BASE = 0x5E000000  # 0x5e is 94; the low 24 bits are a hash of the key


def nexthop(key: NexthopKey, *, onlink: bool, origin: tuple[Origin, ...]) -> Nexthop:
    """A nexthop with the number that it will have nearly always: nothing is left to `assign` then."""
    return Nexthop(key, onlink, 0, PROTOCOL, preferred_id(key), origin)


def preferred_id(key: NexthopKey) -> int:
    """The id a nexthop has unless something else holds it: the same on every start."""
    return BASE | (crc32(f"{key.dev} {key.via}".encode()) & 0xFFFFFF)


class NexthopKind(Kind[Nexthop]):
    """Known as ours by protocol 94. Other rows name it by its id, so its ref is the id."""

    name = "nexthop"
    rank = 60
    row = Nexthop
    grammar = (("ip", "nexthop", "add"), ("ip", "nexthop", "replace"), ("ip", "nexthop", "del"))
    uncompared = 2
    detach_first = True
    shares_keys = True  # two nexthops may lead to the same place under two ids
    events = (RTNLGRP_NEXTHOP,)

    def observe(self, io: Reader, scope: Scope) -> Iterable[Nexthop]:
        if len(scope.netns) == 1:
            return io.rows(scope.netns[0], REQUEST, decode)
        return [row for netns in scope.netns for row in io.rows(netns, REQUEST, decode)]

    def owner(self, row: Nexthop, seen: Seen) -> Owner:
        return Owner.OURS if row.protocol == PROTOCOL else Owner.FOREIGN

    def ref(self, row: Nexthop) -> Ref:
        return Ref("nexthop", (row.key.netns, row.id))

    def needs(self, row: Nexthop) -> tuple[Ref, ...]:
        return on_link(row.key.netns, row.key.dev)

    def normal(self, row: Nexthop) -> Nexthop:
        mark_only("protocol", row.protocol, PROTOCOL, "the protocol")
        if row.blackhole not in (0, 4, 6):
            raise BadValue(f"found {row.blackhole}; allowed: 4 or 6, the family that it swallows", "blackhole")
        if bool(row.blackhole) is bool(row.key.dev):
            raise BadValue("a nexthop has either a device or is a blackhole", "dev")
        return row

    def handles(self, rows: Iterable[Nexthop]) -> Mapping[Key, int]:
        return {row.key: row.id for row in rows}

    def assign(self, wanted: Iterable[Nexthop], seen: Sequence[Nexthop]) -> Iterable[Nexthop]:
        """The id of the seen nexthop of ours, else the preferred one, else the next that nobody uses."""
        mine = {row.key: row.id for row in reversed(seen) if row.protocol == PROTOCOL}  # the first, as the diff keeps the first
        wanted = list(wanted)
        others = [row for row in wanted if mine.get(row.key) != row.id]
        if not others:
            return wanted
        taken = {(row.key[0], row.id) for row in seen}
        numbers: dict[Key, int] = {}
        for row in others:
            number = mine.get(row.key)
            if number is None:
                number = row.id or preferred_id(row.key)
                while (row.key.netns, number) in taken:
                    number = BASE | ((number + 1) & 0xFFFFFF)
                taken.add((row.key.netns, number))
            numbers[row.key] = number
        return [row if numbers.get(row.key, row.id) == row.id else _numbered(row, numbers[row.key]) for row in wanted]


def _numbered(row: Nexthop, number: int) -> Nexthop:
    return Nexthop(row.key, row.onlink, row.blackhole, row.protocol, number, row.origin)


KIND = NexthopKind()
