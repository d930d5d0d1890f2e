"""One rule of policy routing (ip-rule(8))."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.spelling import Device, Number, Text, hexadecimal, network, number, one_of, span

NONE = -1  # 0 is a value for both suppressors
_PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp"}  # the names that every system's /etc/protocols has
ACTION = one_of("lookup", "goto", "nop", "blackhole", "unreachable", "prohibit", table="lookup")


def mark(value: int, mask: int = 0xFFFFFFFF) -> str:
    """A firewall mark as `ip rule` prints it."""
    return f"{value:#x}" if mask == 0xFFFFFFFF else f"{value:#x}/{mask:#x}"


def mark_of(text: str) -> str:
    """A firewall mark, perhaps with a mask, in the spelling of `mark`."""
    value, slash, masked = text.partition("/")
    wanted, bits = number(value), number(masked) if slash else 0xFFFFFFFF
    if wanted & ~bits:
        raise ValueError(f"found {text!r}; the mark has bits that its mask leaves out, so no packet ever has it")
    return mark(wanted, bits) if wanted or bits else ""


def selector(text: str) -> str:
    """A network that packets are selected by; every packet's is none."""
    if text in ("all", "any", "default"):
        return ""
    found = network(text)
    return "" if found.endswith("/0") else found


def protocol_name(text: str) -> str:
    """An IP protocol: a number, or a name that every system knows."""
    names = {name: number for number, name in _PROTOCOLS.items()}
    return ip_protocol(number(names.get(text.lower(), text), most=0xFF))


class RuleKey(NamedTuple):
    """Where the rule stands and what it selects; "" selects everything."""

    netns: str
    family: Annotated[int, Number(4, 6)]  # 4 or 6
    priority: int
    src: Annotated[str, Text(selector)] = ""  # `from`: "10.244.0.0/16"
    dst: Annotated[str, Text(selector)] = ""  # `to`
    invert: bool = False  # `not`
    iif: Device = ""
    oif: Device = ""
    fwmark: Annotated[str, Text(mark_of)] = ""  # "0x10" or, with a mask, "0x10/0xf0"
    tos: Annotated[str, hexadecimal(0xFF)] = ""  # "0x10"
    ipproto: Annotated[str, Text(protocol_name)] = ""  # "tcp", "udp", "icmp", else a number
    sport: Annotated[str, span(0xFFFF, single=True)] = ""  # "80" or "8000-8080"
    dport: Annotated[str, span(0xFFFF, single=True)] = ""
    uidrange: Annotated[str, span(0xFFFFFFFE, single=False)] = ""  # "0-99"


class Rule(NamedTuple):
    """What becomes of a selected packet."""

    key: RuleKey
    action: Annotated[str, ACTION] = "lookup"
    table: int = 0  # of `lookup`: 254 is main
    goto: int = 0  # priority to go on at
    suppress_prefixlength: Annotated[int, Number(NONE, 128)] = NONE
    suppress_ifgroup: Annotated[int, Number(NONE, 0x7FFFFFFF)] = NONE
    protocol: int = PROTOCOL
    other: tuple[str, ...] = ()  # seen only: what a plan cannot state (tun_id, realms, l3mdev)
    origin: tuple[Origin, ...] = ()


def ip_protocol(number: int) -> str:
    """An IP protocol by its name where every system knows it."""
    return _PROTOCOLS.get(str(number), str(number))


def ports(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
