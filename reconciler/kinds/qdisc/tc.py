"""Queueing disciplines and filters out of rtnetlink's dumps (linux/rtnetlink.h: tcmsg; linux/pkt_cls.h: TCA_BPF_...)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from reconciler.engine.reader import Dump, Place
from reconciler.wire import netlink as wire

RTM_NEWQDISC, RTM_GETQDISC, RTM_NEWTFILTER, RTM_GETTFILTER = 36, 38, 44, 46
_TCMSG = struct.Struct("=BxHiIII")  # family, interface, handle, parent, info
_TCA_KIND, _TCA_OPTIONS = 1, 2
_BPF_NAME, _BPF_FLAGS, _BPF_ID = 7, 8, 11
_ACT_DIRECT = 1
PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS and …EGRESS)
_CLASSIFYING = ("clsact", "ingress")  # a device has one of them at most

QDISCS = Dump(RTM_GETQDISC, bytes(_TCMSG.size))


class Filter(NamedTuple):
    """One filter of a clsact."""

    prio: int
    handle: int
    kind: str
    id: int  # of a BPF program; 0: it has none
    name: str  # of the program, as tc says it
    direct_action: bool


def qdiscs(place: Place, buffers: tuple[bytes, ...]) -> dict[str, tuple[int, str]]:
    """Device → its index, and the kind of what it has for filters. Raises Malformed."""
    found: dict[str, tuple[int, str]] = {}
    for buffer, start, end in wire.messages(buffers, RTM_NEWQDISC, _TCMSG.size):
        _, _, interface, _, _, _ = _TCMSG.unpack_from(buffer, start)
        kind = wire.text(wire.attributes(buffer, start + _TCMSG.size, end).get(_TCA_KIND, b""))
        if kind in _CLASSIFYING and interface in place.interfaces:
            found[place.interfaces[interface]] = (interface, kind)
    return found


def filters_of(interface: int, direction: str) -> Dump:
    """The question for the filters of one direction of a device."""
    return Dump(RTM_GETTFILTER, _TCMSG.pack(0, 0, interface, 0, PARENTS[direction], 0))


def filters(buffers: tuple[bytes, ...]) -> Iterator[Filter]:
    """Every filter of a dump, without the messages that stand for a whole priority. Raises Malformed."""
    for buffer, start, end in wire.messages(buffers, RTM_NEWTFILTER, _TCMSG.size):
        _, _, _, handle, _, info = _TCMSG.unpack_from(buffer, start)
        found = wire.attributes(buffer, start + _TCMSG.size, end)
        if handle:
            kind = wire.text(found.get(_TCA_KIND, b""))
            yield Filter(info >> 16, handle, kind, *_program(wire.nested(found[_TCA_OPTIONS]) if kind == "bpf" else {}))


def _program(options: Mapping[int, bytes]) -> tuple[int, str, bool]:
    number = wire.u32(options[_BPF_ID]) if _BPF_ID in options else 0
    direct = bool(_BPF_FLAGS in options and wire.u32(options[_BPF_FLAGS]) & _ACT_DIRECT)
    return number, wire.text(options.get(_BPF_NAME, b"")).partition(":[")[0], direct
