"""Lines that come by the thousand, sent as the netlink messages that their tools would send.

`ip -batch` and `bridge -batch` spend most of their time on words; ten thousand lines
of one shape take a third of it when they are packed here. Only the shapes below are:
they mean exactly what they mean to the tool (tests/kernel/test_packed.py holds each
against it), and every other line is the tool's.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from reconciler.engine.reader import ObservationFailed
from reconciler.engine.round import Failure
from reconciler.kernel.netlink import Message, Refused, RouteSocket
from reconciler.wire import netlink as wire

_CREATE, _EXCLUSIVE, _REPLACE = 0x400, 0x200, 0x100  # NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE (netlink.h)
_ADDING = {"add": _CREATE | _EXCLUSIVE, "replace": _CREATE | _REPLACE, "del": 0}

_NDMSG = struct.Struct("=BxxxiHBB")  # neighbour.h: family, ifindex, state, flags, type
_NHMSG = struct.Struct("=BBBxI")  # nexthop.h: family, scope, protocol, flags
_RTMSG = struct.Struct("=BBBBBBBBI")  # rtnetlink.h: family, dst_len, src_len, tos, table, protocol, scope, type, flags
AF_BRIDGE = 7
NUD_PERMANENT, NTF_SELF, RTNH_F_ONLINK = 0x80, 0x02, 0x4
RT_TABLE_MAIN, RT_SCOPE_NOWHERE, RTN_UNICAST = 254, 255, 1
NDA_DST, NDA_LLADDR, NDA_PORT, NDA_PROTOCOL = 1, 2, 6, 12
NHA_ID, NHA_OIF, NHA_GATEWAY = 1, 5, 6
RTA_DST, RTA_PRIORITY, RTA_METRICS, RTA_NH_ID, RTAX_MTU = 1, 6, 8, 30, 2


Index = Callable[[str], int]  # of a device; raises KeyError


def _attribute(kind: int, payload: bytes) -> bytes:
    return wire.ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _number(kind: int, value: str) -> bytes:
    return _attribute(kind, struct.pack("=I", int(value)))


def _address(text: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return family, socket.inet_pton(family, text)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _fdb(verb: str, mac: str, dev: str, dst: str, port: str | None, index: Index) -> Message:
    header = _NDMSG.pack(AF_BRIDGE, index(dev), NUD_PERMANENT, NTF_SELF, 0)
    body = header + _attribute(NDA_LLADDR, _mac(mac)) + _attribute(NDA_DST, _address(dst)[1])
    if port:
        body += _attribute(NDA_PORT, struct.pack("!H", int(port)))
    return Message(wire.RTM_DELNEIGH if verb == "del" else wire.RTM_NEWNEIGH, _ADDING[verb], body)


def _neighbour(address: str, mac: str, dev: str, protocol: str, index: Index) -> Message:
    family, raw = _address(address)
    header = _NDMSG.pack(family, index(dev), NUD_PERMANENT, 0, 0)
    body = header + _attribute(NDA_DST, raw) + _attribute(NDA_LLADDR, _mac(mac)) + _attribute(NDA_PROTOCOL, bytes((int(protocol),)))
    return Message(wire.RTM_NEWNEIGH, _ADDING["replace"], body)


def _no_neighbour(address: str, dev: str, index: Index) -> Message:
    family, raw = _address(address)
    return Message(wire.RTM_DELNEIGH, 0, _NDMSG.pack(family, index(dev), NUD_PERMANENT, 0, 0) + _attribute(NDA_DST, raw))


def _nexthop(number: str, via: str, dev: str, onlink: str | None, protocol: str, index: Index) -> Message:
    family, raw = _address(via)
    header = _NHMSG.pack(family, 0, int(protocol), RTNH_F_ONLINK if onlink else 0)
    body = header + _number(NHA_ID, number) + _number(NHA_OIF, str(index(dev))) + _attribute(NHA_GATEWAY, raw)
    return Message(wire.RTM_NEWNEXTHOP, _ADDING["add"], body)


def _no_nexthop(number: str, index: Index) -> Message:
    return Message(wire.RTM_DELNEXTHOP, 0, _NHMSG.pack(0, 0, 0, 0) + _number(NHA_ID, number))


def _route(verb: str, dst: str, length: str, nhid: str, mtu: str | None, protocol: str, index: Index) -> Message:
    family, raw = _address(dst)
    header = _RTMSG.pack(family, int(length), 0, 0, RT_TABLE_MAIN, int(protocol), 0, RTN_UNICAST, 0)
    body = header + _attribute(RTA_DST, raw) + _number(RTA_NH_ID, nhid)
    if mtu:
        body += _attribute(RTA_METRICS, _number(RTAX_MTU, mtu))
    return Message(wire.RTM_NEWROUTE, _ADDING[verb], body)


def _no_route(dst: str, length: str, nhid: str, metric: str | None, protocol: str, index: Index) -> Message:
    family, raw = _address(dst)
    header = _RTMSG.pack(family, int(length), 0, 0, RT_TABLE_MAIN, int(protocol), RT_SCOPE_NOWHERE, 0, 0)
    body = header + _attribute(RTA_DST, raw) + _number(RTA_NH_ID, nhid)
    return Message(wire.RTM_DELROUTE, 0, body + _number(RTA_PRIORITY, metric) if metric else body)


_M, _A, _D, _N = r"([0-9a-f:]{17})", r"([0-9a-f.:]+)", r"(\S+)", r"(\d+)"
_SHAPES: Mapping[str, tuple[tuple[re.Pattern[str], Callable[..., Message]], ...]] = {
    "bridge fdb": ((re.compile(rf"(replace|del) {_M} dev {_D} dst {_A}(?: port {_N})? self(?: permanent)?"), _fdb),),
    "ip neigh": (
        (re.compile(rf"replace {_A} lladdr {_M} dev {_D} nud permanent protocol {_N}"), _neighbour),
        (re.compile(rf"del {_A} dev {_D}"), _no_neighbour),
    ),
    "ip nexthop": (
        (re.compile(rf"add id {_N} via {_A} dev {_D}( onlink)? protocol {_N}"), _nexthop),
        (re.compile(rf"del id {_N}"), _no_nexthop),
    ),
    "ip route": (
        (re.compile(rf"(add|replace) {_A}/{_N} nhid {_N}(?: mtu {_N})? proto {_N}"), _route),
        (re.compile(rf"del {_A}/{_N} nhid {_N}(?: metric {_N})? proto {_N}"), _no_route),
    ),
}


class Match(NamedTuple):
    """A line that can be packed: by whom, with which of its words."""

    line: str
    pack: Callable[..., Message]
    words: tuple[str | None, ...]


def match(tool: str, line: str) -> Match | None:
    """What a line (without its tool) is packed from; None for one that is its tool's to run."""
    what, _, words = line.partition(" ")
    for pattern, pack in _SHAPES.get(f"{tool} {what}", ()):
        found = pattern.fullmatch(words)
        if found is not None:
            return Match(line, pack, found.groups())
    return None


def send(matches: Sequence[Match]) -> list[Failure | None]:
    """Run lines, in order, in the namespace of this thread; why each is not done, in the words of its tool."""
    failures: list[Failure | None] = [None] * len(matches)
    asked: list[int] = []
    messages: list[Message] = []
    index = {name: number for number, name in socket.if_nameindex()}.__getitem__
    for number, (line, pack, words) in enumerate(matches):
        try:
            messages.append(pack(*words, index))
            asked.append(number)
        except KeyError as missing:
            failures[number] = Failure(f'Cannot find device "{missing.args[0]}"')
        except (OSError, ValueError, OverflowError, struct.error) as error:
            failures[number] = Failure(f"{line}: {error}")
    try:
        with RouteSocket() as kernel:
            answers = kernel.request(messages)
    except ObservationFailed as unopened:
        answers = [Refused(str(unopened), answered=False)] * len(messages)
    for number, refused in zip(asked, answers, strict=True):
        if refused is not None:
            failures[number] = Failure(refused.message, ran=refused.answered)
    return failures
