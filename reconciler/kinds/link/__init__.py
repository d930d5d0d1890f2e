"""Kind `link`: network devices."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.engine.kind import Kind
from reconciler.engine.model import Claim, Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.link.bridge import Bridge, BridgePort
from reconciler.kinds.link.claims import claims
from reconciler.kinds.link.decode import REQUEST, decode
from reconciler.kinds.link.gre import Gre, Ip6gre
from reconciler.kinds.link.ipip import Ip6tnl, Ipip, Sit
from reconciler.kinds.link.ipvlan import Ipvlan
from reconciler.kinds.link.macvlan import Macvlan
from reconciler.kinds.link.row import Link, LinkKey
from reconciler.kinds.link.stated import made, problem
from reconciler.kinds.link.types import TYPES, Type
from reconciler.kinds.link.vlan import Qos, Vlan
from reconciler.kinds.link.vrf import Vrf
from reconciler.kinds.link.vxlan import Vxlan
from reconciler.kinds.marks import GROUP
from reconciler.kinds.spelling import BadValue, mark_only

__all__ = [
    "KIND",
    "Bridge",
    "BridgePort",
    "Gre",
    "Ip6gre",
    "Ip6tnl",
    "Ipip",
    "Ipvlan",
    "Link",
    "LinkKey",
    "Macvlan",
    "Qos",
    "Sit",
    "Vlan",
    "Vrf",
    "Vxlan",
]

RTNLGRP_LINK = 1  # include/uapi/linux/rtnetlink.h
IPV6_MIN_MTU = 1280  # RFC 8200, section 5
ENSLAVED = 35  # rank: after addresses
ON_A_LINK = frozenset({"address", "neighbour", "nexthop", "route"})


class LinkKind(Kind[Link]):
    """Known as ours by link group 94, which `ip link add` sets in the call that makes the link.

    The alias `plumbline:INTENT` follows in a line of its own and only describes.
    A NIC ("physical"), or a link with `adopt`, is managed as far as it is stated,
    never marked and never deleted.
    """

    name = "link"
    rank = 20
    row = Link
    grammar = (("ip", "link", "add"), ("ip", "link", "set"), ("ip", "link", "del"))
    uncompared = 3
    rechecked = True
    events = (RTNLGRP_LINK,)

    def observe(self, io: Reader, scope: Scope) -> Iterable[Link]:
        return [row for netns in scope.netns for row in io.decoded(netns, REQUEST, decode)]

    def owner(self, row: Link, seen: Seen) -> Owner:
        return Owner.OURS if row.group == GROUP else Owner.FOREIGN

    def identity(self, row: Link) -> int | None:
        return row.ifindex

    def adopts(self, row: Link) -> bool:
        return row.adopt or row.type == "physical"

    def makes(self, row: Link) -> bool:
        return not self.adopts(row)

    def needs(self, row: Link) -> tuple[Ref, ...]:
        netns = row.key.netns
        names = [row.master, row.parent]
        if row.peer and row.peer < row.key.name:  # the end whose name sorts first makes both
            names.append(row.peer)
        return tuple(Ref("link", (netns, name)) for name in names if name)

    def claims(self, row: Link) -> tuple[Claim, ...]:
        return tuple(claims(row))

    def differs(self, old: Link, new: Link) -> tuple[str, ...]:
        found = super().differs(old, new)
        return tuple(name for name in found if name != "type") if new.type == "physical" else found

    def replaces(self, old: Link, new: Link) -> str | None:
        if new.type not in (None, "physical", old.type):
            return f"a {old.type} cannot become a {new.type}"
        if new.peer is not None and new.peer != old.peer:
            return "the peer of a veth cannot change in place"
        known = TYPES.get(old.type or "", Type())
        if known.below and new.parent not in (None, old.parent):
            return f"the device below a {old.type} cannot change in place"
        if known.dev and new.parent == "" and old.parent:
            return f"a {old.type} device cannot let go of the device that its packets leave by"
        if known.fixed is not None and type(old.info) is type(new.info):
            return known.fixed(old.info, new.info)
        return None

    def loses(self, old: Link, new: Link) -> frozenset[str]:
        if old.up and new.up is False:
            return ON_A_LINK
        lost: set[str] = set()
        if new.mac not in (None, old.mac):
            lost.add("neighbour")
        if isinstance(new.mtu, int) and isinstance(old.mtu, int) and new.mtu < IPV6_MIN_MTU <= old.mtu:
            lost |= ON_A_LINK
        return frozenset(lost)

    def normal(self, row: Link) -> Link:
        if self.adopts(row):
            if row.group == GROUP:
                raise BadValue(f"group {GROUP} says that plumbline made the link, and would delete it: an adopted one has another", "group")
            return row
        if row.group is not None:
            mark_only("group", row.group, GROUP, "the link group")
        if why := problem(row):
            raise BadValue(why.message, why.field)
        return made(row)._replace(group=GROUP, alias=row.alias if row.alias is not None else "plumbline:resources")

    def impossible(self, row: Link, seen: Seen) -> str:
        if row.type == "veth" and not row.peer and not self.adopts(row):
            return f"{row.key.name}: a veth is a pair: say `peer`, and state the other end as a link of its own"
        return ""

    def advice(self, row: Link, failure: str) -> str:
        if "Unknown device type" in failure or "not supported" in failure:
            module = TYPES.get(row.type or "", Type()).module or row.type
            return f"this kernel has no {row.type} devices: try `modprobe {module}`, or use a kernel that is built with them"
        return ""

    def without(self, row: Link, parent: Ref) -> Link | None:
        name = parent.key[1]
        outlives = bool(TYPES.get(row.type or "", Type()).endpoints)  # an IP tunnel stays when the device that it leaves by goes
        if row.peer == name or (row.parent == name and not outlives):
            return None
        if row.master == name:
            row = row._replace(master="", port=None)
        return row._replace(parent="") if row.parent == name else row

    def rank_of(self, row: Link) -> int:
        """Somebody else's device changes its bridge once addresses are in place: what the node is spoken to by stays there meanwhile."""
        return ENSLAVED if row.master is not None and self.adopts(row) else self.rank

    def met(self, old: Link, new: Link) -> Link:
        joins = new.master and new.master != old.master
        return old._replace(port=BridgePort()) if joins and new.port is not None else old

    def fresh(self, row: Link) -> Link | None:
        info = type(row.info)() if row.info is not None else None
        port = BridgePort() if row.port is not None else None
        return Link(row.key, row.type, 0, "", None, None, False, "", "", row.peer, info, port)


KIND = LinkKind()
