"""Rules of policy routing: RTM_GETRULE (include/uapi/linux/fib_rules.h)."""

from __future__ import annotations

import struct

from reconciler.engine.reader import Dump, Place
from reconciler.kinds.rule.row import NONE, Rule, RuleKey, ip_protocol, mark, ports
from reconciler.wire import netlink as wire

FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY, FRA_FWMARK = 1, 2, 3, 4, 6, 10
FRA_SUPPRESS_IFGROUP, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_FWMASK, FRA_OIFNAME = 13, 14, 15, 16, 17
FRA_UID_RANGE, FRA_PROTOCOL, FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE = 20, 21, 22, 23, 24
OTHER = {11: "realms", 12: "tun_id", 19: "l3mdev", 25: "dscp", 26: "flowlabel", 27: "flowlabel mask"}
ACTIONS = {1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
FIB_RULE_INVERT = 2
RTPROT_KERNEL = 2
FAMILIES = {2: 4, 10: 6}  # AF_INET, AF_INET6; multicast routing has rules of its own, not ours

REQUEST = Dump(wire.RTM_GETRULE, bytes(12))
_HEADER = struct.Struct("=BBBBBxxBI")  # family, dst_len, src_len, tos, table, action, flags
_PORTS = struct.Struct("=HH")
_UIDS = struct.Struct("=II")


def decode(place: Place, buffers: tuple[bytes, ...]) -> list[Rule]:
    """Every rule but the kernel's own (local, main, default, and a VRF's)."""
    rows: list[Rule] = []
    for buffer, start, end in wire.messages(buffers, wire.RTM_NEWRULE, 12):
        header = _HEADER.unpack_from(buffer, start)
        parts = wire.attributes(buffer, start + 12, end)
        protocol = wire.u8(parts[FRA_PROTOCOL]) if FRA_PROTOCOL in parts else 0
        if header[0] in FAMILIES and protocol != RTPROT_KERNEL:
            rows.append(_row(place.netns, header, protocol, parts))
    return rows


def _row(netns: str, header: tuple[int, ...], protocol: int, parts: dict[int, bytes]) -> Rule:
    family, dst_len, src_len, tos, table, action, flags = header
    key = RuleKey(
        netns,
        FAMILIES[family],
        _number(parts, FRA_PRIORITY, 0),
        src=f"{wire.address(parts[FRA_SRC])}/{src_len}" if FRA_SRC in parts else "",
        dst=f"{wire.address(parts[FRA_DST])}/{dst_len}" if FRA_DST in parts else "",
        invert=bool(flags & FIB_RULE_INVERT),
        iif=wire.text(parts.get(FRA_IIFNAME, b"")),
        oif=wire.text(parts.get(FRA_OIFNAME, b"")),
        fwmark=_fwmark(parts),
        tos=f"{tos:#x}" if tos else "",
        ipproto=ip_protocol(wire.u8(parts[FRA_IP_PROTO])) if FRA_IP_PROTO in parts else "",
        sport=ports(*_PORTS.unpack(parts[FRA_SPORT_RANGE])) if FRA_SPORT_RANGE in parts else "",
        dport=ports(*_PORTS.unpack(parts[FRA_DPORT_RANGE])) if FRA_DPORT_RANGE in parts else "",
        uidrange="{}-{}".format(*_UIDS.unpack(parts[FRA_UID_RANGE])) if FRA_UID_RANGE in parts else "",
    )
    return Rule(
        key,
        ACTIONS.get(action, str(action)),
        table=_number(parts, FRA_TABLE, table) if action == 1 else 0,
        goto=_number(parts, FRA_GOTO, 0),
        suppress_prefixlength=_suppressor(parts, FRA_SUPPRESS_PREFIXLEN),
        suppress_ifgroup=_suppressor(parts, FRA_SUPPRESS_IFGROUP),
        protocol=protocol,
        other=tuple(name for number, name in OTHER.items() if any(parts.get(number, b""))),
    )


def _number(parts: dict[int, bytes], attribute: int, absent: int) -> int:
    return wire.u32(parts[attribute]) if attribute in parts else absent


def _suppressor(parts: dict[int, bytes], attribute: int) -> int:
    return wire.s32(parts[attribute]) if attribute in parts else NONE


def _fwmark(parts: dict[int, bytes]) -> str:
    value, mask = _number(parts, FRA_FWMARK, 0), _number(parts, FRA_FWMASK, 0)
    return mark(value, mask) if value or mask else ""
