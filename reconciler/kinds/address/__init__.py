"""Kind `address`: permanent addresses of links."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_interface

from reconciler.engine.kind import Kind
from reconciler.engine.model import Key, Owner, Ref, Seen
from reconciler.engine.reader import Reader, Scope
from reconciler.kinds.address.decode import REQUEST, decode
from reconciler.kinds.address.row import Address, AddressKey
from reconciler.kinds.marks import PROTOCOL, exclusive, on_vxlan_of_ours
from reconciler.kinds.needs import on_link
from reconciler.kinds.spelling import BadValue

__all__ = ["KIND", "Address", "AddressKey", "address", "marked"]

IFNAMSIZ = 16  # bytes, with the one that ends it (include/uapi/linux/if.h)
IPV6_METRIC = 256  # IP6_RT_PRIO_ADDRCONF, which the kernel takes where none is given
RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR = 5, 9  # include/uapi/linux/rtnetlink.h


def address(netns: str, dev: str, prefix: str, **more: object) -> Address:
    """An address row with its prefix normalised; a bare address is a whole one (/32, /128). Raises ValueError."""
    return Address(AddressKey(netns, dev, str(ip_interface(prefix))), **more)  # type: ignore[arg-type]


def marked(row: Address) -> Address:
    """With a mark of ours that every iproute2 can set, for a device that is not ours alone (in a pod's namespace).

    IPv4: the label "DEV:94", where it fits. IPv6: the kernel's own metric, said aloud: it changes nothing and reads back.
    """
    return row._replace(metric=IPV6_METRIC) if _ipv6(row) else row._replace(label=_label(row.key.dev))


def _label(dev: str) -> str:
    label = f"{dev}:{PROTOCOL}"
    return label if len(label) < IFNAMSIZ else ""


def _has_mark(row: Address) -> bool:
    """Whether it bears the mark; one that has no room for it counts as marked."""
    return row.metric == IPV6_METRIC if _ipv6(row) else row.label == _label(row.key.dev)


class AddressKind(Kind[Address]):
    """Known as ours by hanging on a VXLAN device of ours, or by IFA_PROTO 94 where somebody's tools could set it.

    In a pod's namespace the pod may add addresses to the device too: there ours are those that bear a mark (see `marked`).

    On links of others an address that is missing is added, one that equals is
    equal, one that differs is a conflict, and none is ever deleted. What the
    kernel, an RA or a DHCP client keeps is no row, unless the spec names that
    very address: then it is there, and must not be added again.
    """

    name = "address"
    rank = 30
    row = Address
    grammar = (("ip", "addr", "add"), ("ip", "addr", "change"), ("ip", "addr", "del"))
    uncompared = 3
    events = (RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR)
    asks_for = True

    def observe(self, io: Reader, scope: Scope) -> Iterable[Address]:
        wanted = scope.wanted.of(self.name)
        rows: list[Address] = []
        for netns in scope.netns:
            found = io.decoded(netns, REQUEST, decode)
            rows += found.stated
            rows += [row for row in found.automatic if row.key in wanted]
        return rows

    def owner(self, row: Address, seen: Seen) -> Owner:
        if row.proto == PROTOCOL:
            return Owner.OURS
        if row.key.netns and _has_mark(row):
            return Owner.OURS if on_vxlan_of_ours(row.key.netns, row.key.dev, seen) else Owner.FOREIGN
        return exclusive(row.key.netns, row.key.dev, seen)

    def needs(self, row: Address) -> tuple[Ref, ...]:
        return on_link(row.key.netns, row.key.dev)

    def differs(self, old: Address, new: Address) -> tuple[str, ...]:
        found = super().differs(old, new)
        settled = {"scope"} if _ipv6(new) else set[str]()
        if _has_mark(new):  # somebody's address without our mark that says the same is there already
            settled |= {"metric"} if _ipv6(new) and not old.metric else {"label"} if not old.label else set()
        return tuple(name for name in found if name not in settled)

    def shares(self, row: Address) -> Key | None:
        """The first IPv4 address of a subnet takes the others with it (unless promote_secondaries is on)."""
        return None if _ipv6(row) else (row.key.netns, row.key.dev, str(ip_interface(row.key.prefix).network))

    def normal(self, row: Address) -> Address:
        length = row.key.prefix.partition("/")[2]
        if row.adopt:
            return row
        if _ipv6(row):
            for name in ("broadcast", "label"):
                if getattr(row, name):
                    raise BadValue("only an IPv4 address has one", name)
            row = row._replace(scope="global")
        if row.label and not row.label.startswith(row.key.dev):
            raise BadValue(f"found {row.label}; allowed: the device's name, or what begins with it: {row.key.dev}:1", "label")
        if row.peer and (":" in row.peer) is not _ipv6(row):
            raise BadValue(f"{row.peer} is of the other family", "peer")
        if row.peer and row.peer.partition("/")[2] not in (length, "128" if _ipv6(row) else "32"):
            raise BadValue(f"an address and its peer share one prefix length: write {row.peer.partition('/')[0]}/{length}", "peer")
        return row._replace(
            label="" if row.label == row.key.dev else row.label,
            peer=f"{row.peer.partition('/')[0]}/{length}" if row.peer else "",
        )

    def replaces(self, old: Address, new: Address) -> str | None:
        fixed = {"peer", "broadcast", "scope", "label"}
        if not _ipv6(new):
            fixed.add("flags")
        for name in self.differs(old, new):
            if name in fixed:
                return f"the kernel takes no other {name} for an address that is there"
        if _ipv6(new) and old.metric and not new.metric:
            return "the kernel keeps an IPv6 address's metric where none is given"
        return None


def _ipv6(row: Address) -> bool:
    return ":" in row.key.prefix


KIND = AddressKind()
