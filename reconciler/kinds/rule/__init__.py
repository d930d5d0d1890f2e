"""Kind `rule`: rules of policy routing."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind
from reconciler.engine.model import Owner, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.rule.decode import REQUEST, decode
from reconciler.kinds.rule.row import NONE, Rule, RuleKey, mark
from reconciler.kinds.spelling import BadValue, family_of, mark_only

__all__ = ["KIND", "NONE", "Rule", "RuleKey", "mark"]

RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE = 8, 19  # include/uapi/linux/rtnetlink.h


class RuleKind(Kind[Rule]):
    """Known as ours by protocol 94, beside equal rules of others.

    A rule may name a device that is not there; the kernel lets it wait. What a
    delete does not say, the kernel takes as "any": without a protocol it would
    remove whichever rule comes first.
    """

    name = "rule"
    rank = 80
    row = Rule
    grammar = (("ip", "rule", "add"), ("ip", "rule", "del"), ("ip", "-6", "rule", "add"), ("ip", "-6", "rule", "del"))
    shares_keys = True
    events = (RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE)

    def observe(self, io: Reader, scope: Scope) -> Iterable[Rule]:
        return [row for netns in scope.netns for row in io.decoded(netns, REQUEST, decode)]

    def owner(self, row: Rule, seen: Seen) -> Owner:
        return Owner.OURS if row.protocol == PROTOCOL else Owner.FOREIGN

    def normal(self, row: Rule) -> Rule:
        key = row.key
        mark_only("protocol", row.protocol, PROTOCOL, "the protocol")
        if row.other:
            raise BadValue("tells what a plan cannot state: leave it out", "other")
        if key.family not in (4, 6):
            raise BadValue(f"found {key.family}; allowed: 4 or 6", "family")
        for name, text in (("src", key.src), ("dst", key.dst)):
            if text and family_of(text) != key.family:
                raise BadValue(f"{text} is not of family {key.family}", name)
        if (row.action == "lookup") is not bool(row.table):
            raise BadValue("a rule that looks up names its table, and no other does", "table")
        if (row.action == "goto") is not bool(row.goto):
            raise BadValue("a rule that goes on elsewhere names the priority to go to, and no other does", "goto")
        return row

    def replaces(self, old: Rule, new: Rule) -> str | None:
        return "the kernel has no update of a rule"


KIND = RuleKind()
