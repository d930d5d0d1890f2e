"""`adopt: true`: of somebody else's object only what is stated is managed; it is never marked, made, made anew or deleted."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from reconciler.engine.kind import Kinds
from reconciler.engine.merge import merge
from reconciler.engine.model import Observed, Plan, Seen
from reconciler.engine.pipeline import make_plan
from reconciler.engine.reader import Scope
from reconciler.engine.render import Renderer
from reconciler.engine.round import Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.spec.resources import BadResource, resource_row
from tests.namespaces import sh
from tests.rows import build

KINDS = all_kinds()
ADOPTABLE = {name for name, kind in KINDS.items() if "adopt" in kind.row._fields}


def stated(kind: str, **said: Any) -> Any:
    return resource_row(KINDS[kind], {"adopt": True, **said})


def planned(wanted: list[Any], seen: list[Any]) -> Plan:
    rows, clashes = merge(KINDS, wanted)
    assert not clashes
    observed = {name: Observed([row for row in seen if KINDS.of(row).name == name]) for name in KINDS}
    return make_plan("n1", KINDS, Renderer(KINDS), rows, Seen(observed))


def lines(plan: Plan) -> list[str]:
    return [str(line) for action in plan.actions for line in action.lines]


ETH0 = build(KINDS["link"], {"name": "eth0", "type": "physical", "group": 0, "mtu": 1500, "up": True})
BR0 = build(
    KINDS["link"], {"name": "br0", "type": "bridge", "group": 0, "info": {"type": "Bridge", "vlan_filtering": True, "stp_state": True}}
)
# kind, what somebody made, what is stated of it, the line
CASES = [
    ("link", BR0, {"name": "br0", "type": "bridge", "info": {"ageingTime": 0}}, "ip link set dev br0 type bridge ageing_time 0"),
    (
        "address",
        build(KINDS["address"], {"dev": "eth0", "prefix": "10.0.1.11/24", "broadcast": "10.0.1.255", "label": "eth0:x"}),
        {"dev": "eth0", "prefix": "10.0.1.11/24", "deprecated": True},
        "ip addr change 10.0.1.11/24 dev eth0 broadcast 10.0.1.255 label eth0:x preferred_lft 0",
    ),
    (
        "route",
        build(KINDS["route"], {"dst": "0.0.0.0/0", "via": "10.0.1.1", "dev": "eth0", "src": "10.0.1.11", "protocol": 16}),
        {"dst": "default", "mtu": 1400},
        "ip route replace 0.0.0.0/0 via 10.0.1.1 dev eth0 src 10.0.1.11 mtu 1400 proto 16",
    ),
    (
        "neighbour",
        build(KINDS["neighbour"], {"dev": "eth0", "address": "10.0.1.1", "lladdr": "02:00:00:00:00:01", "router": True, "protocol": 0}),
        {"dev": "eth0", "address": "10.0.1.1", "lladdr": "02:00:00:00:00:02"},
        "ip neigh replace 10.0.1.1 lladdr 02:00:00:00:00:02 dev eth0 nud permanent router",
    ),
    (
        "fdb",
        build(KINDS["fdb"], {"dev": "eth0", "mac": "02:00:00:00:00:09", "dst": "10.0.1.9", "port": 4789}),
        {"dev": "eth0", "mac": "02:00:00:00:00:09", "dst": "10.0.1.8"},
        "bridge fdb replace 02:00:00:00:00:09 dev eth0 dst 10.0.1.8 port 4789 self permanent",
    ),
    (
        "wg_peer",
        build(
            KINDS["wg_peer"],
            {
                "dev": "eth0",
                "public_key": "HVGtRF/c+xW5tG8rB5u3G5eHQbWnB5fto4opmqxQaFA=",
                "allowed_ips": ["10.9.0.0/16"],
                "preshared_key": "set",
            },
        ),
        {"dev": "eth0", "publicKey": "HVGtRF/c+xW5tG8rB5u3G5eHQbWnB5fto4opmqxQaFA=", "persistentKeepalive": 25},
        "wg set eth0 peer HVGtRF/c+xW5tG8rB5u3G5eHQbWnB5fto4opmqxQaFA= persistent-keepalive 25",
    ),
    (
        "wireguard",
        build(KINDS["wireguard"], {"dev": "eth0", "public_key": "HVGtRF/c+xW5tG8rB5u3G5eHQbWnB5fto4opmqxQaFA=", "listen_port": 7}),
        {"dev": "eth0", "fwmark": 5},
        "wg set eth0 fwmark 5",
    ),
]


def test_every_kind_that_can_adopt_is_here() -> None:
    assert {case[0] for case in CASES} == ADOPTABLE - {"ovs_bridge", "ovs_port"}  # tried where Open vSwitch is


@pytest.mark.parametrize(("kind", "theirs", "said", "line"), CASES, ids=[case[0] for case in CASES])
def test_only_what_is_stated_changes_and_it_stays_theirs(kind: str, theirs: Any, said: dict[str, Any], line: str) -> None:
    seen = [ETH0, theirs]
    assert lines(planned([stated(kind, **said)], seen)) == [line]
    assert planned([], seen).empty, "what leaves the spec stays as it is"
    (conflict,) = planned([stated(kind, **said)], [ETH0]).conflicts
    assert "does not exist, and what is adopted is never made" in conflict.reason


def test_what_would_have_to_be_made_anew_is_refused() -> None:
    plan = planned([stated("link", name="br0", type="vxlan", info={"id": 5})], [ETH0, BR0])
    assert not plan.actions
    assert "what is adopted is not made anew: a bridge cannot become a vxlan" in plan.conflicts[0].reason
    plan = planned([stated("link", name="br0", type="vxlan", info={"id": 5}, up=True)], [ETH0, BR0])
    assert not plan.actions


@pytest.mark.parametrize("kind", ["route", "neighbour"])
def test_the_mark_of_whoever_made_it_is_kept(kind: str) -> None:
    key = {"dst": "10.0.0.0/8"} if kind == "route" else {"dev": "eth0", "address": "10.0.0.1"}
    with pytest.raises(BadResource, match="keeps the one of whoever made it"):
        stated(kind, **key, protocol=94)


def test_a_conflict_offers_adoption_only_where_there_is_one() -> None:
    (conflict,) = planned([resource_row(KINDS["link"], {"name": "br0", "type": "bridge"})], [BR0]).conflicts
    assert "adopt: true" in conflict.remedy
    assert {"nft", "rule", "nexthop", "file", "sysctl"} & ADOPTABLE == set()


@pytest.mark.kernel
def test_on_a_real_kernel(netns: str) -> None:
    sh(
        "ip link add eth0 type veth peer name eth9 && ip link set eth9 up && ip link set eth0 up && ip addr add 10.0.1.11/24 dev eth0 && "
        "ip route add default via 10.0.1.1 dev eth0 src 10.0.1.11 proto dhcp && ip neigh add 10.0.1.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent && "
        "ip link add br0 type bridge stp_state 1 ageing_time 1000"
    )
    wanted = [
        stated("link", name="br0", type="bridge", info={"ageingTime": 0}, up=True),
        stated("address", dev="eth0", prefix="10.0.1.11/24", deprecated=True),
        stated("route", dst="default", mtu=1400),
        stated("neighbour", dev="eth0", address="10.0.1.1", lladdr="02:00:00:00:00:02"),
    ]
    with closing(KernelNode()) as node:
        _adopted_and_left(node, wanted)


def _adopted_and_left(node: KernelNode, wanted: list[Any]) -> None:
    engine = Round(node, Kinds(KINDS[name] for name in ("link", "address", "route", "neighbour")), name="n1")
    result = engine.converge(Scope(("",), merge(KINDS, wanted)[0]))
    assert result.converged, result.errors
    assert "stp_state 1" in sh("ip -d link show br0")
    assert "group default" in sh("ip link show br0")
    assert "deprecated" in sh("ip addr show dev eth0")
    assert " ".join(sh("ip route show default").split()) == "default via 10.0.1.1 dev eth0 proto dhcp src 10.0.1.11 mtu 1400"
    assert sh("ip neigh show 10.0.1.1 dev eth0").strip() == "10.0.1.1 lladdr 02:00:00:00:00:02 PERMANENT"
    assert engine.plan(Scope(("",), merge(KINDS, [])[0]))[0].empty
