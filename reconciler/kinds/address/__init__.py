"""Kind `address`: permanent addresses of links."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_interface

from reconciler.engine.kind import Kind, Reader, Scope
from reconciler.engine.model import Owner, Ref, Seen
from reconciler.kinds.address.decode import REQUEST, decode
from reconciler.kinds.address.row import Address, AddressKey
from reconciler.kinds.marks import PROTOCOL, exclusive
from reconciler.kinds.needs import on_link

__all__ = ["KIND", "Address", "AddressKey", "address"]

RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR = 5, 9  # include/uapi/linux/rtnetlink.h


def address(netns: str, dev: str, prefix: str, **more: object) -> Address:
    """An address row with its prefix normalised; a bare address is a whole one (/32, /128). Raises ValueError."""
    return Address(AddressKey(netns, dev, str(ip_interface(prefix))), **more)  # type: ignore[arg-type]


class AddressKind(Kind[Address]):
    """Known as ours by hanging on a VXLAN device of ours, or by IFA_PROTO 94 where somebody's tools could set it.

    On links of others an address that is missing is added, one that equals is
    equal, one that differs is a conflict, and none is ever deleted. What the
    kernel, an RA or a DHCP client keeps is no row, unless the spec names that
    very address: then it is there, and must not be added again.
    """

    name = "address"
    rank = 30
    row = Address
    grammar = (("ip", "addr", "add"), ("ip", "addr", "change"), ("ip", "addr", "del"))
    uncompared = 2
    events = (RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR)

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
        return exclusive(row.key.netns, row.key.dev, seen)

    def needs(self, row: Address) -> tuple[Ref, ...]:
        return on_link(row.key.netns, row.key.dev)

    def differs(self, old: Address, new: Address) -> tuple[str, ...]:
        found = super().differs(old, new)
        if _ipv6(new):
            return tuple(name for name in found if name != "scope")
        return found

    def normal(self, row: Address) -> Address:
        return address(*row.key, **{name: value for name, value in row._asdict().items() if name != "key"})

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
