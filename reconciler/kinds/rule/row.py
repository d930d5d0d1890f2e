"""One rule of policy routing (ip-rule(8))."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.marks import PROTOCOL

NONE = -1  # 0 is a value for both suppressors
_PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp"}  # the names that every system's /etc/protocols has


class RuleKey(NamedTuple):
    """Where the rule stands and what it selects; "" selects everything."""

    netns: str
    family: int  # 4 or 6
    priority: int
    src: str = ""  # `from`: "10.244.0.0/16"
    dst: str = ""  # `to`
    invert: bool = False  # `not`
    iif: str = ""
    oif: str = ""
    fwmark: str = ""  # "0x10" or, with a mask, "0x10/0xf0"
    tos: str = ""  # "0x10"
    ipproto: str = ""  # "tcp", "udp", "icmp", else a number
    sport: str = ""  # "80" or "8000-8080"
    dport: str = ""
    uidrange: str = ""  # "0-99"


class Rule(NamedTuple):
    """What becomes of a selected packet."""

    key: RuleKey
    action: str = "lookup"  # lookup, goto, nop, blackhole, unreachable, prohibit
    table: int = 0  # of `lookup`: 254 is main
    goto: int = 0  # priority to go on at
    suppress_prefixlength: int = NONE
    suppress_ifgroup: int = NONE
    protocol: int = PROTOCOL
    other: tuple[str, ...] = ()  # seen only: what a plan cannot state (tun_id, realms, l3mdev)
    origin: tuple[Origin, ...] = ()


def mark(value: int, mask: int = 0xFFFFFFFF) -> str:
    """A firewall mark as `ip rule` prints it."""
    return f"{value:#x}" if mask == 0xFFFFFFFF else f"{value:#x}/{mask:#x}"


def ip_protocol(number: int) -> str:
    """An IP protocol by its name where every system knows it."""
    return _PROTOCOLS.get(str(number), str(number))


def ports(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
