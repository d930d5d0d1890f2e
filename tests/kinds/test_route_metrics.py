"""Metrics of routes that lead by one nexthop object: the kernel lends one route's to another that states none."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.engine.merge import merge
from reconciler.engine.reader import Scope
from reconciler.engine.round import Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.kinds.address import Address, AddressKey
from reconciler.kinds.link import Bridge, Link, LinkKey
from reconciler.kinds.marks import GROUP
from reconciler.kinds.nexthop import Nexthop, NexthopKey
from reconciler.kinds.route import route
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
METRICS: tuple[dict[str, Any], ...] = (
    {"mtu": 1400},
    {"mtu": 1400, "mtu_lock": True},
    {"advmss": 1200},
    {"initcwnd": 20},
    {"initrwnd": 20},
    {"window": 32000},
    {"mtu": 1400, "advmss": 1200},
)
FAMILIES = {4: ("10.94.1.1/24", "10.94.1.2", "10.9.{}.0/24"), 6: ("fd94:1::1/64", "fd94:1::2", "fd09:{}::/64")}


def scope(family: int, first: dict[str, Any], second: dict[str, Any]) -> Scope:
    """Two routes by one nexthop object."""
    address, via, destination = FAMILIES[family]
    nexthop = NexthopKey("", "dev0", via)
    rows = [
        Link(LinkKey("", "dev0"), "bridge", GROUP, "plumbline:test", up=True, info=Bridge()),
        Address(AddressKey("", "dev0", address)),
        Nexthop(nexthop),
        *(route("", destination.format(number), nexthop=nexthop, **said) for number, said in ((1, first), (2, second))),
    ]
    wanted, clashes = merge(all_kinds(), rows)
    assert not clashes
    return Scope(("",), wanted)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("metrics", METRICS, ids=lambda one: " ".join(one))
def test_metrics_come_go_and_are_nobody_elses(netns: str, family: int, metrics: dict[str, Any]) -> None:
    sh("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
    node = KernelNode()
    engine = Round(node, all_kinds(), name="n1")
    for first, second in ((metrics, {}), ({}, {}), (metrics, metrics), ({}, metrics), ({}, {})):
        done = engine.converge(scope(family, first, second))
        assert done.converged, (first, second, done.errors)
        assert not done.errors
    node.close()
