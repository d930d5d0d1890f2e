"""The laws on the running kernel: any earlier state becomes any wanted one in one round, and nothing foreign is touched.

Every example has a namespace of its own. States are made of the rows of the
simulated laws and of what only a kernel can judge: veth pairs, both families,
rules, nftables, parameters; what is foreign is made with the tools.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.guard import Limits
from reconciler.engine.merge import merge
from reconciler.engine.model import Action, Wanted
from reconciler.engine.reader import Scope
from reconciler.engine.round import Failure, Result, Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.kinds.address import address
from reconciler.kinds.fdb import entry
from reconciler.kinds.link import Bridge, Link, LinkKey, Macvlan
from reconciler.kinds.marks import GROUP
from reconciler.kinds.neighbour import Neighbour, NeighbourKey
from reconciler.kinds.nexthop import Nexthop, NexthopKey
from reconciler.kinds.nft import NftSet, chain, nft
from reconciler.kinds.nft_element import element
from reconciler.kinds.route import Hop, route
from reconciler.kinds.rule import Rule, RuleKey
from reconciler.kinds.sysctl import sysctl
from reconciler.spec.load import load_text
from reconciler.spec.resources import resource_row
from tests.effort import examples
from tests.laws.test_laws import states, unique
from tests.namespaces import fresh_namespace, sh
from tests.safety.test_foreign import everything

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("namespaces_can_be_made")]
KINDS = all_kinds()


@contextmanager
def host() -> Iterator[None]:
    """A namespace with an uplink and a second NIC."""
    with fresh_namespace():
        # What forwarding brings along (memberships of a router, anycast addresses) is there from the start.
        sh(
            "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1\n"
            "ip link add eth0 address 02:00:00:00:00:10 type veth peer name gateway && ip link set eth0 up && ip link set gateway up\n"
            "ip addr add 10.0.1.11/24 dev eth0 && ip addr add fd00:1::11/64 dev eth0 nodad && ip route add default via 10.0.1.1"
        )
        yield


def converge(wanted: Sequence[Any], node: KernelNode | None = None) -> Result:
    """One round by a plumbline without memory."""
    merged, clashes = merge(KINDS, wanted)
    assert not clashes
    io = node or KernelNode()
    try:
        return Round(io, KINDS, limits=Limits(1.0, 1000), name="n1").converge(Scope(("",), merged if wanted else Wanted()))
    finally:
        io.close()


booleans = st.booleans()


@st.composite
def pair_of_veths(draw: st.DrawFn) -> list[Any]:
    more: dict[str, Any] = {"group": GROUP, "alias": "plumbline:test", "up": True, "master": "", "mtu": draw(st.sampled_from([1400, 1500]))}
    ends = [Link(LinkKey("", name), "veth", peer=peer, **more) for name, peer in (("v0", "v1"), ("v1", "v0"))]
    if draw(booleans):
        bridge = Link(
            LinkKey("", "br1"), "bridge", GROUP, "plumbline:test", None, more["mtu"], True, "", "", "", Bridge()
        )  # else it takes its port's MTU at first
        ends = [ends[0]._replace(master="br1"), ends[1], bridge]
    return ends


@st.composite
def second_family(draw: st.DrawFn, name: str) -> list[Any]:
    """IPv6 on a VXLAN device as the fabric has it, and a destination for whatever is unknown."""
    rows: list[Any] = []
    if draw(booleans):
        rows.append(address("", name, f"fd00:10:{draw(st.integers(1, 2))}::/128"))
    for number in draw(st.sets(st.integers(1, 3))):
        via = f"fe80::{number}"
        rows.append(Neighbour(NeighbourKey("", name, via), f"02:00:00:00:06:0{draw(st.integers(1, 2))}"))
        key = NexthopKey("", name, via)
        rows.append(Nexthop(key))
        rows.append(
            route("", f"fd00:10:{number}0::/64", nexthop=key, mtu=draw(st.sampled_from([0, 1300])), metric=draw(st.sampled_from([0, 50])))
        )
    rows += [entry("", name, "00:00:00:00:00:00", dst) for dst in draw(st.sets(st.sampled_from(["10.0.1.2", "10.0.1.3"])))]
    return rows


@st.composite
def loose(draw: st.DrawFn) -> list[Any]:
    """What hangs on no device of ours."""
    rows: list[Any] = []
    if draw(booleans):
        rows.append(
            route(
                "",
                "10.8.0.0/16",
                type=draw(st.sampled_from(["blackhole", "unreachable", "prohibit"])),
                metric=draw(st.sampled_from([0, 7])),
            )
        )
    if draw(booleans):
        weights = draw(st.sampled_from([(1, 1), (1, 3), (2, 1)]))
        rows.append(
            route("", "10.7.0.0/16", hops=tuple(Hop(f"10.0.1.{8 + number}", "eth0", weight) for number, weight in enumerate(weights)))
        )
    if draw(booleans):
        rows.append(
            route(
                "",
                "fd00:7::/64",
                via=draw(st.sampled_from(["fd00:1::8", "fd00:1::9"])),
                dev="eth0",
                table=draw(st.sampled_from([254, 100])),
            )
        )
    if draw(booleans):
        rows.append(
            route("", "10.6.0.0/24", dev="eth0", table=draw(st.sampled_from([254, 100])), src=draw(st.sampled_from(["", "10.0.1.11"])))
        )
    for number in draw(st.sets(st.integers(1, 3))):
        family = draw(st.sampled_from([4, 6]))
        key = RuleKey(
            "",
            family,
            100 + number,
            src="10.9.0.0/16" if family == 4 else "fd00:9::/32",
            fwmark=draw(st.sampled_from(["", "0x1", "0x1/0xff"])),
            iif=draw(st.sampled_from(["", "eth0"])),
        )
        rows.append(Rule(key, table=draw(st.sampled_from([100, 101]))))
    if draw(booleans):
        rows.append(Neighbour(NeighbourKey("", "eth0", "10.0.1.77"), f"02:00:00:00:07:0{draw(st.integers(1, 2))}"))
    if draw(booleans):
        rules = draw(
            st.permutations(["ip saddr 10.244.0.0/16 accept", "meta mark 0x00000001 drop", "ip daddr { 10.1.0.0/16, 10.3.0.0/16 } accept"])
        )
        kept = rules[: draw(st.integers(0, 3))]
        rows.append(
            nft(
                "",
                "inet",
                "plumbline-law",
                [chain("forward", *kept, type="filter", hook="forward", at=draw(st.sampled_from([0, -150, 10])))],
                [NftSet("peers", ("ipv4_addr",))],
            )
        )
        rows += [
            element("", "inet", "plumbline-law", "peers", one)
            for one in draw(st.sets(st.sampled_from(["10.0.1.1", "10.0.1.2", "10.0.1.3"])))
        ]
    if draw(booleans):
        rows.append(sysctl("", "net.ipv4.ip_local_port_range", draw(st.sampled_from(["20000 30000", "10000 60999"]))))
    return rows


@st.composite
def real_states(draw: st.DrawFn) -> list[Any]:
    rows = []
    for row in draw(states(foreign=False)):
        if isinstance(row, Link):  # on one parent no two MACs are the same
            row = row._replace(mac=f"02:00:00:00:0{row.key.name[-1]}:{row.mac[-2:] if row.mac else '01'}")
            if row.key.name == "br0":
                row = row._replace(mtu=None)  # a bridge takes the least MTU of its ports when one joins, and once more what is stated
            if isinstance(row.info, Macvlan):
                row = row._replace(info=row.info._replace(mode=draw(st.sampled_from(["bridge", "private", "vepa"]))))
        rows.append(row)
    for link in [row for row in rows if isinstance(row, Link) and row.type == "vxlan" and not row.master]:
        rows += draw(second_family(link.key.name))
        if draw(booleans):
            rows.append(sysctl("", f"net.ipv4.conf.{link.key.name}.rp_filter", draw(st.sampled_from(["0", "2"]))))
    if draw(booleans):
        rows += draw(pair_of_veths())
    rows += draw(loose())
    return draw(st.permutations(unique(rows)))


# What others make; each line is one of their commands, and those that cannot be made beside each other are left out by the kernel.
THEIRS = [
    "ip link add theirs type vxlan id 77 dstport 8472 local 10.0.1.11 nolearning && ip link set theirs up",
    "ip link add d0 type bridge && ip link set d0 up",
    "ip link add d1 type vxlan id 1 dstport 4789 local 10.0.1.11 && ip link set d1 up",
    "ip link add other type vxlan id 2 dstport 4789 local 10.0.1.11 && bridge fdb append 02:99:00:00:00:02 dev other dst 10.0.1.98",
    "ip link add v1 type veth peer name v9",
    "ip link add br-theirs type bridge && ip link set br-theirs up && ip addr add 172.30.0.1/24 dev br-theirs",
    "ip neigh replace 10.0.1.77 lladdr 02:99:00:00:00:77 dev eth0 nud permanent",
    "ip neigh replace 10.0.1.78 lladdr 02:99:00:00:00:78 dev eth0 nud permanent",
    "ip nexthop add id 1577058305 via 10.0.1.99 dev eth0 protocol static",
    "ip route add 10.9.1.0/24 via 10.0.1.1 dev eth0 proto static",
    "ip route add 10.9.2.0/24 via 10.0.1.1 dev eth0 metric 500",
    "ip route add 10.8.0.0/16 via 10.0.1.1 dev eth0",
    "ip -6 route add fd00:7::/64 via fd00:1::1 dev eth0",
    "ip -6 route append fd00:7::/64 via fd00:1::2 dev eth0 table 100",
    "ip rule add from 10.9.0.0/16 table 100 priority 101",
    "ip -6 rule add from fd00:9::/32 table 100 priority 102 protocol static",
    "nft add table inet theirs && nft add chain inet theirs f '{ type filter hook forward priority 0; }' && nft add rule inet theirs f drop",
    "nft add table inet plumbline-law",
    "ip addr add 10.244.9.0/32 dev eth0",
]


@examples(16, shrink=False)
@given(before=real_states(), after=real_states())
def test_any_state_becomes_any_other_in_one_round(before: list[Any], after: list[Any]) -> None:
    with host():
        empty = everything()
        for wanted in (before, after):
            result = converge(wanted)
            assert result.converged, result.errors
            assert [one for one in result.outcomes if one.failure] == []
            # Two kernel habits need a second look: a bridge takes the least MTU of its ports, a route by nexthop object a metric of its sibling.
            assert len(result.plans) <= 3, [str(line) for plan in result.plans[1:] for action in plan.actions for line in action.lines]
            assert not converge(wanted).outcomes, "a start with no memory finds nothing to do"
        assert converge([]).converged
        assert everything() == empty, "what was made is gone, and nothing else"


@examples(12, shrink=False)
@given(theirs=st.lists(st.sampled_from(THEIRS), unique=True, max_size=6), before=real_states(), after=real_states(), late=booleans)
def test_nothing_foreign_is_touched(theirs: list[str], before: list[Any], after: list[Any], late: bool) -> None:
    with host():
        if late:  # they come to a node that plumbline already keeps
            converge(before)
        mine = set(everything().splitlines()) if late else set[str]()
        for script in theirs:
            with suppress(AssertionError):
                sh(script)
        foreign = {line for line in set(everything().splitlines()) - mine if not OURS.search(line)}
        result = converge(after)
        left = [action for action in result.last.actions if not action.held]
        assert left == [], "only what is refused, or needs it, may be left"
        lost = foreign - set(everything().splitlines())
        assert not lost, "changed by a round"
        converge([])
        assert not foreign - set(everything().splitlines()), "changed by the cleanup"


OURS = re.compile(r"group 94|proto(col)? 94|plumbline")


class Killed(BaseException):
    """Nothing of plumbline catches it, as nothing catches SIGKILL."""


class Dying(KernelNode):
    """Runs so many lines, one at a time, and dies."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._left = lines

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        failures: list[Failure | None] = []
        for action in actions:
            found = None
            for line in action.lines:
                if self._left == 0:
                    raise Killed
                self._left -= 1
                found = found or super().run([action._replace(lines=(line,))])[0]
            failures.append(found)
        return failures


@examples(12, shrink=False)
@given(before=real_states(), after=real_states(), lines=st.integers(0, 40))
def test_interrupted_anywhere_it_converges(before: list[Any], after: list[Any], lines: int) -> None:
    with host():
        empty = everything()
        assert converge(before).converged
        with suppress(Killed):
            converge(after, Dying(lines))
        result = converge(after)
        assert result.converged, result.errors
        assert converge([]).converged
        assert everything() == empty


HEAD = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nresources:\n"
ODD_SPELLINGS = """\
  link:
    b: {name: b0, type: bridge, mac: 02-00-00-00-0A-0B, up: true}
    x: {name: x0, type: vxlan, mac: "02:00:00:00:0A:0C", up: true, info: {id: 9, dstport: 4789, local: "FD00:0001:0::11", tos: "16", learning: false}}
  address: {b: {dev: b0, prefix: "10.77.0.1/24", label: b0}, s: {dev: x0, prefix: "FD00:77:0:0::1"}}
  fdb: {u: {dev: x0, mac: "0A:00:00:00:00:0B", dst: "FD00:1::0:9"}, f: {dev: x0, mac: "00:00:00:00:00:00", dst: "fd00:1::0008"}}
  neighbour: {n: {dev: b0, address: 10.77.0.9, lladdr: 0A-0B-0C-0D-0E-0F}}
  route:
    d: {dst: default, via: 10.0.1.1, dev: eth0, metric: 77}
    e: {dst: default, via: "FD00:1:0::1", dev: eth0, metric: 77}
    h: {dst: 10.78.0.1, dev: eth0}
    s: {dst: "FD00:0078::/32", dev: eth0}
    m: {dst: 10.79.0.0/16, hops: [{via: 10.0.1.8, dev: eth0}, {via: 10.0.1.9, dev: eth0, weight: 3}]}
  rule: {r: {family: 4, priority: 55, src: all, dst: 10.0.0.1, fwmark: "16/255", tos: "16", ipproto: TCP, dport: "0x50", table: 100},
         s: {family: 6, priority: 56, dst: "FD00:0::/16", iif: eth0, uidrange: "5", action: lookup, table: 100}}
  nexthop: {n: {dev: eth0, via: "10.0.1.5"}, s: {dev: eth0, via: "FE80:0::5"}}
  sysctl: {p: {name: net/ipv4/ip_local_port_range, value: "20000\\t  30000"}}
  nft: {t: {family: INET, table: plumbline-x, sets: [{name: s, type: [ipv4_addr], flags: "timeout, dynamic"}],
        chains: [{name: c, type: FILTER, hook: forward, priority: [mangle, "+", "5"], rules: [["ip saddr 10.0.0.0/8 accept"]]},
                 {name: b, type: filter, hook: prerouting, priority: ["-100"]}]}}
"""


def test_rows_by_hand_in_any_spelling_have_an_effect(netns: str) -> None:
    """A spelling that the kernel answers otherwise would be "no effect" for ever."""
    sh(
        "ip link add eth0 type veth peer name gateway && ip link set eth0 up && ip link set gateway up && ip addr add 10.0.1.11/24 dev eth0 && ip addr add fd00:1::11/64 dev eth0 nodad"
    )
    stated = load_text(HEAD + ODD_SPELLINGS).spec.resources
    rows = [resource_row(KINDS[name], said) for name, rows in stated.items() for said in rows.values()]
    result = converge(rows)
    assert result.converged, result.errors
    assert not converge(rows).outcomes
