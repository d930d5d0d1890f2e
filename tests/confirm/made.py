"""A node with one uplink and a gateway behind it, and changes that cut it off."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconciler.confirm.commit import Asked, Trial
from reconciler.confirm.journal import ConfirmFolder
from reconciler.engine.guard import Limits
from reconciler.engine.merge import merge
from reconciler.engine.reader import Scope
from reconciler.engine.round import Result, Round
from reconciler.facts.model import Host, Node
from reconciler.kernel.host import observe_host
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.kinds.link import Link, LinkKey
from reconciler.kinds.route import Route, route
from reconciler.kinds.sysctl import sysctl
from tests.namespaces import fresh_namespace, sh

DIGEST = "c0ffee" * 10
KINDS = all_kinds()


@contextmanager
def cut_off_able() -> Iterator[str]:
    """Inside a namespace whose eth0 leads to a gateway at 192.0.2.1, in a namespace of its own."""
    with fresh_namespace() as gateway, fresh_namespace() as node:
        sh(f"""
        ip link add eth0 type veth peer name port netns {gateway}
        ip addr add 192.0.2.10/24 dev eth0
        ip addr add 2001:db8::10/64 dev eth0 nodad
        ip link set eth0 up
        ip -n {gateway} addr add 192.0.2.1/24 dev port
        ip -n {gateway} addr add 2001:db8::1/64 dev port nodad
        ip -n {gateway} link set port up
        ip route add default via 192.0.2.1 proto static metric 100
        ip -6 route add default via 2001:db8::1 proto static metric 1024
        ip route add 198.51.100.0/24 via 192.0.2.1 proto dhcp
        """)
        yield node


def dumps() -> str:
    said = sh("ip -d link show eth0; ip addr show eth0; ip route; ip -6 route show default; ip rule")
    return re.sub(r"qlen \d+|tentative ?|\d+sec|state \S+", "", said)


WRONG_GATEWAY = (route("", "0.0.0.0/0", via="192.0.2.99", dev="eth0", metric=50),)
DOWN = (Link(LinkKey("", "eth0"), "physical", up=False, adopt=True),)
ENSLAVED = (
    Link(LinkKey("", "br9"), "bridge", group=94, mac="02:00:00:00:00:77", up=True),
    Link(LinkKey("", "eth0"), "physical", master="br9", adopt=True),
)
WITHOUT_IPV6 = (sysctl("", "net.ipv6.conf.eth0.disable_ipv6", "1"),)  # takes every IPv6 address and route of eth0 along
BETTER: tuple[Route, ...] = (route("", "0.0.0.0/0", via="192.0.2.1", dev="eth0", metric=50),)
HARMLESS = (route("", "203.0.113.0/24", via="192.0.2.1", dev="eth0"),)


def look() -> Host:
    io = KernelNode()
    try:
        return observe_host(io, Node("n1", interface="eth0"))
    finally:
        io.close()


def converge(folder: Path, *rows: Any, seconds: float = 2.0, person: bool = False, host: Host) -> tuple[Result, Trial]:
    """One round on trial, not yet decided."""
    trial = Trial(ConfirmFolder(folder), KINDS, Asked(DIGEST, "n1", host, look, (), seconds, person))
    scope = Scope(("",), merge(KINDS, rows)[0])
    io = KernelNode()
    try:
        return Round(io, KINDS, limits=Limits(1.0, 1000), name="n1").converge(scope, before=trial.before), trial
    finally:
        io.close()


def watchdogs(folder: Path) -> list[int]:
    """The processes that watch over a folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"reconciler.confirm.watchdog" in words and os.fsencode(folder) in words:
                found.append(int(process.name))
    return found
