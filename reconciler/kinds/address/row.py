"""One address of a link (ip-address(8))."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.engine.model import Origin


class AddressKey(NamedTuple):
    """An address with its length, on a device."""

    netns: str
    dev: str
    prefix: str  # "10.244.1.0/32", "fd00:1::1/64"; addresses in their shortest form (RFC 5952)


class Address(NamedTuple):
    """A permanent address, with the words of `ip addr`."""

    key: AddressKey
    peer: str = ""  # "10.0.0.2/32": the other end; "": none
    broadcast: str = ""  # IPv4 only; "": none
    scope: str = "global"  # IPv4 only, as an IPv6 address says its own: global, site, link, host or a number
    label: str = ""  # IPv4 only; "": the device's name
    metric: int = 0  # of the prefix route; 0: the kernel's own
    flags: tuple[str, ...] = ()  # of home, mngtmpaddr, nodad, noprefixroute, autojoin; sorted
    deprecated: bool = False  # preferred_lft 0: never chosen as a source
    proto: int = 0  # IFA_PROTO, read only: iproute2 sets it from 6.3 on
    origin: tuple[Origin, ...] = ()
