"""One address of a link (ip-address(8))."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.spelling import Device, Interface, Ip, Sorted, one_of

# "nowhere" is no scope of an address
SCOPE = one_of("global", "site", "link", "host")


class AddressKey(NamedTuple):
    """An address with its length, on a device."""

    netns: str
    dev: Device
    prefix: Interface  # "10.244.1.0/32", "fd00:1::1/64"; addresses in their shortest form (RFC 5952)


class Address(NamedTuple):
    """A permanent address, with the words of `ip addr`."""

    key: AddressKey
    peer: Interface = ""  # "10.0.0.2/32": the other end; "": none
    broadcast: Ip = ""  # IPv4 only; "": none
    scope: Annotated[str, SCOPE] = "global"  # IPv4 only, as an IPv6 address says its own: global, site, link, host or a number
    label: str = ""  # IPv4 only; "": the device's name
    metric: int = 0  # of the prefix route; 0: the kernel's own
    flags: Sorted = ()  # of home, mngtmpaddr, nodad, noprefixroute, autojoin; sorted
    deprecated: bool = False  # preferred_lft 0: never chosen as a source
    adopt: bool = False  # manage what is stated of one that somebody else made
    proto: int = 0  # IFA_PROTO, read only: iproute2 sets it from 6.3 on
    origin: tuple[Origin, ...] = ()
