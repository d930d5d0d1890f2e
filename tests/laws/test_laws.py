"""What holds for any two states, on a kernel made of rows.

Any earlier state and any wanted state: one round, then the plan is empty; only
ours is deleted; interrupted anywhere, a start with no memory converges; nothing
is named before it exists (the simulated kernel refuses it).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.engine.guard import Limits
from reconciler.engine.merge import merge
from reconciler.engine.model import Observed, Owner, Seen, with_fields
from reconciler.engine.reader import Scope
from reconciler.engine.round import Result, Round
from reconciler.kinds.address import address
from reconciler.kinds.fdb import entry
from reconciler.kinds.link import Bridge, BridgePort, Link, LinkKey, Macvlan, Vxlan
from reconciler.kinds.marks import GROUP, PROTOCOL
from reconciler.kinds.neighbour import Neighbour, NeighbourKey
from reconciler.kinds.nexthop import Nexthop, NexthopKey
from reconciler.kinds.nft import NftSet, chain, nft
from reconciler.kinds.nft_element import element
from reconciler.kinds.route import route
from reconciler.kinds.sysctl import sysctl
from tests.laws.simulated import KINDS, SimulatedNode

DEVICES = ["d0", "d1"]
UPLINK = Link(LinkKey("", "eth0"), "physical", 0, "", "02:00:00:00:00:10", 1500, True, "", "", "", None, None, ifindex=2)
macs = st.sampled_from(["02:00:00:00:00:01", "02:00:00:00:00:02"])
gateways = st.sampled_from(["10.244.1.0", "10.244.2.0", "10.244.3.0"])


def device(name: str, what: str, number: int, mac: str, mtu: int, foreign: bool) -> Link:
    mark = (0, "") if foreign else (GROUP, "plumbline:test")
    if what == "vxlan":
        info: Any = Vxlan(id=number, dstport=4789, local="10.0.1.1", learning=False)
        return Link(LinkKey("", name), "vxlan", *mark, mac, mtu, True, "", "", "", info)
    if what == "bridge":
        return Link(LinkKey("", name), "bridge", *mark, mac, mtu, True, "", "", "", Bridge(ageing_time=number * 100))
    if what == "macvlan":
        return Link(LinkKey("", name), "macvlan", *mark, mac, mtu, True, "", "eth0", "", Macvlan(mode="bridge"))
    port = BridgePort(hairpin=number == 1)
    return Link(LinkKey("", name), "vxlan", *mark, mac, mtu, True, "br0", "", "", Vxlan(id=number + 10, dstport=4789), port)


@st.composite
def states(draw: st.DrawFn, *, foreign: bool) -> list[Any]:
    """Rows that are consistent: what hangs on a device is there only with it."""
    rows: list[Any] = []
    whats = st.sampled_from(["vxlan", "vxlan", "bridge", "macvlan", "port", "none"])
    claimed: set[Any] = set()
    for name in DEVICES:
        what = draw(whats)
        if what == "none":
            continue
        theirs = foreign and draw(st.booleans())
        link = device(name, what, draw(st.integers(1, 2)), draw(macs), draw(st.sampled_from([1400, 1450])), theirs)
        if any(claim in claimed for claim in KINDS["link"].claims(link)):
            continue
        claimed |= set(KINDS["link"].claims(link))
        rows.append(link)
        if link.master and not any(row.key == LinkKey("", "br0") for row in rows):
            rows.append(Link(LinkKey("", "br0"), "bridge", GROUP, "plumbline:test", "02:00:00:00:00:99", 1500, True, "", "", "", Bridge()))
        if what == "vxlan":
            rows += draw(hanging_on(name, theirs))
    for number in draw(st.sets(st.integers(1, 3))):
        protocol = 4 if foreign and draw(st.booleans()) else PROTOCOL
        rows.append(route("", f"10.9.{number}.0/24", via=draw(st.sampled_from(["10.0.1.8", "10.0.1.9"])), dev="eth0", protocol=protocol))
    if draw(st.booleans()):
        table = nft("", "inet", "plumbline-x", [chain("a", draw(st.sampled_from(["accept", "drop"])))], [NftSet("s", ("ipv4_addr",))])
        rows.append(table._replace(comment="") if foreign and draw(st.booleans()) else table)
        rows += [element("", "inet", "plumbline-x", "s", f"10.0.1.{number}") for number in draw(st.sets(st.integers(1, 3)))]
    return rows


@st.composite
def hanging_on(draw: st.DrawFn, name: str, theirs: bool) -> list[Any]:
    rows: list[Any] = [address("", name, "10.244.9.0/32")]
    rows += [entry("", name, mac, draw(st.sampled_from(["10.0.1.2", "10.0.1.3"]))) for mac in draw(st.sets(macs))]
    for via in draw(st.sets(gateways)):
        rows.append(Neighbour(NeighbourKey("", name, via), draw(macs), protocol=0 if theirs else PROTOCOL))
        if not theirs:
            key = NexthopKey("", name, via)
            rows.append(Nexthop(key, onlink=True))
            rows.append(route("", f"{via}/{draw(st.sampled_from([24, 25]))}", nexthop=key, mtu=draw(st.sampled_from([0, 1400]))))
    return rows


def unique(rows: list[Any]) -> list[Any]:
    """The first row under each key."""
    found: dict[Any, Any] = {}
    for row in rows:
        found.setdefault((KINDS.of(row).name, row.key), row)
    return list(found.values())


def converge(node: SimulatedNode, wanted: list[Any]) -> Result:
    merged, _ = merge(KINDS, wanted)
    return Round(node, KINDS, limits=Limits(1.0, 1000), name="n1").converge(Scope(("",), merged))


def populated(rows: list[Any]) -> SimulatedNode:
    """A kernel that came to hold these rows: ours by plumbline, theirs by themselves."""
    node = SimulatedNode({"link": [UPLINK]})
    seen = Seen({"link": Observed([row for row in rows if isinstance(row, Link)])})
    ours = [row for row in rows if KINDS.of(row).owner(row, seen) is Owner.OURS]
    converge(node, ours)
    for index, row in enumerate(unique(rows)):
        if row not in ours and not node._create(KINDS.of(row), with_fields(row, ifindex=500 + index) if isinstance(row, Link) else row):
            continue
    return node


def theirs(node: SimulatedNode) -> list[Any]:
    seen = Seen({name: Observed(rows) for name, rows in node.rows.items()})
    found = [row for name, rows in node.rows.items() for row in rows if KINDS[name].owner(row, seen) is Owner.FOREIGN]
    # somebody's port of a bridge of ours is let go when the bridge goes; the port itself stays
    return [row._replace(master="", port=None) if isinstance(row, Link) else row for row in found]


@settings(max_examples=80, deadline=None)
@given(states(foreign=False), states(foreign=False))
def test_any_state_of_ours_becomes_any_other_in_one_round(before: list[Any], after: list[Any]) -> None:
    node = populated(unique(before))
    result = converge(node, unique(after))
    assert result.converged, result.errors
    assert all(outcome.failure is None for outcome in result.outcomes), [one for one in result.outcomes if one.failure]
    assert len(result.plans) <= 2, "one pass is enough"
    assert not converge(node, unique(after)).outcomes


@settings(max_examples=80, deadline=None)
@given(states(foreign=True), states(foreign=False))
def test_nothing_foreign_is_touched_and_all_that_is_not_refused_converges(before: list[Any], after: list[Any]) -> None:
    node = populated(unique(before))
    kept = theirs(node)
    result = converge(node, unique(after))
    assert [row for row in kept if row not in theirs(node)] == []
    left = [action for action in result.last.actions if not action.held]
    assert left == [], "only what is refused, or needs it, may be left"
    converge(node, [])
    assert [row for row in kept if row not in theirs(node)] == []


@settings(max_examples=50, deadline=None)
@given(states(foreign=False), states(foreign=False), st.integers(0, 25))
def test_killed_anywhere_a_start_with_no_memory_converges(before: list[Any], after: list[Any], lines: int) -> None:
    node = populated(unique(before))
    node._left = lines
    with suppress(KeyboardInterrupt):
        converge(node, unique(after))
    node._left = None
    result = converge(node, unique(after))
    assert result.converged, result.errors


@settings(max_examples=50, deadline=None)
@given(states(foreign=False))
def test_cleanup_leaves_nothing_of_ours(before: list[Any]) -> None:
    node = populated(unique(before))
    assert converge(node, []).converged
    assert {name for name, rows in node.rows.items() if rows} == {"link"}
    assert node.rows["link"] == [UPLINK]


@given(st.sampled_from(["1", "4096 131072 6291456"]))
def test_a_sysctl_is_never_deleted(value: str) -> None:
    row = sysctl("", "net.ipv4.ip_forward", value)
    node = SimulatedNode({"sysctl": [row]})
    assert converge(node, []).converged
    assert node.rows["sysctl"] == [row]
