"""A program at the ingress or egress of a device (tc-bpf(8))."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin
from reconciler.kinds.bpf_folder.row import PinPath
from reconciler.kinds.qdisc.row import HANDLE as NUMBER
from reconciler.kinds.qdisc.row import PRIO
from reconciler.kinds.spelling import U16, Device, hexadecimal, one_of

HANDLE = f"{NUMBER:#x}"


class TcFilterKey(NamedTuple):
    netns: str
    dev: Device
    direction: Annotated[str, one_of("ingress", "egress")]
    prio: U16
    handle: Annotated[str, hexadecimal(0xFFFFFFFF)]


class TcFilter(NamedTuple):
    """A filter that runs a pinned program on every packet, and does what it returns."""

    key: TcFilterKey
    pin: PinPath  # "": a program that is pinned nowhere below our folder
    direct_action: bool = True
    ours: bool = False  # seen only: its program is pinned by us, or has the name that ours have
    origin: tuple[Origin, ...] = ()


def tc_filter(netns: str, dev: str, direction: str, pin: str, origin: tuple[Origin, ...] = ()) -> TcFilter:
    """A wanted filter of ours."""
    return TcFilter(TcFilterKey(netns, dev, direction, PRIO, HANDLE), pin, origin=origin)
