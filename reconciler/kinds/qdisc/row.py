"""What a device has for filters that see every packet (tc(8), clsact)."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from reconciler.engine.model import Origin, Ref
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.spelling import Device, one_of

PRIO, HANDLE = PROTOCOL, 0x94  # of our filters, beside which others have theirs


class QdiscKey(NamedTuple):
    netns: str
    dev: Device


class Qdisc(NamedTuple):
    """A clsact, on which filters of many can stand side by side."""

    key: QdiscKey
    type: Annotated[str, one_of("clsact")] = "clsact"
    filters: str = ""  # seen only: "ours", "theirs" where one is not ours, "" where there is none
    origin: tuple[Origin, ...] = ()


def qdisc(netns: str, dev: str, origin: tuple[Origin, ...] = ()) -> Qdisc:
    """A wanted clsact."""
    return Qdisc(QdiscKey(netns, dev), origin=origin)


def on_qdisc(netns: str, dev: str) -> tuple[Ref, ...]:
    """What every filter of a device needs."""
    return (Ref("qdisc", QdiscKey(netns, dev)),)
