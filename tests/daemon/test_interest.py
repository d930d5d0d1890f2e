"""Which events concern a node that holds a fabric's rows."""

from __future__ import annotations

import pytest

from reconciler.daemon.doers import Doers
from reconciler.daemon.interest import Interest, Listening
from reconciler.engine.merge import merge
from reconciler.engine.model import Ref, Wanted
from reconciler.kernel.events import AF_BRIDGE, Event
from reconciler.kinds import all_kinds
from reconciler.kinds.fdb import entry
from reconciler.kinds.neighbour import Neighbour, NeighbourKey
from reconciler.kinds.nft_rule import nft_rule
from reconciler.kinds.route import RouteKey, route

PEER = "0a:5e:2f:10:00:02"
INTERFACES = {1: "lo", 2: "eth0", 7: "plumb0", 8: "veth1234"}
V4 = 2


@pytest.fixture
def interest() -> Interest:
    wanted, _ = merge(
        all_kinds(),
        [
            entry("", "plumb0", PEER, "10.0.1.12"),
            Neighbour(NeighbourKey("", "plumb0", "10.244.2.0"), PEER),
            route("", "10.244.2.0/24", via="10.244.2.0", dev="plumb0", onlink=True),
            nft_rule("", "ip", "filter", "FORWARD", "pods", "accept"),
        ],
    )
    made = Interest(all_kinds(), wanted, "eth0", blind=False)
    made.see(INTERFACES)
    return made


@pytest.mark.parametrize(
    "event",
    [
        Event("link", True, 0, 7, "plumb0", 94),
        Event("link", False, 0, 7, "renamed", 0),
        Event("link", False, 0, 12, "plumb0", 0),
        Event("link", False, 0, 12, "leftover", 94),
        Event("link", False, 0, 2, "eth0", 0),
        Event("address", True, V4, 2),
        Event("fdb", True, AF_BRIDGE, 7, key=PEER),
        Event("fdb", False, AF_BRIDGE, 7, key="02:00:00:00:00:01"),
        Event("neighbour", True, V4, 7, lasting=False, key="10.244.2.0"),
        Event("neighbour", False, V4, 7, lasting=False, key="10.244.2.0"),
        Event("neighbour", False, V4, 7, lasting=True, key="10.244.9.0"),
        Event("route", True, V4, 8, protocol=94, key="10.1.0.0/16", table=254),
        Event("route", False, V4, 8, protocol=4, key="10.244.2.0/24", table=254),
        Event("route", True, V4, 2, protocol=16, key="0.0.0.0/0", table=254),
        Event("rule", False, V4, protocol=94, key="100"),
        Event("nexthop", True, V4, 8, protocol=94, key="5"),
        Event("nexthop", False, V4, 8, protocol=0, key=str(0x5E000001)),
        Event("nft", True, 1, name="input", key="plumbline-overlay"),
        Event("nft_element", True, 1, key="plumbline-overlay"),
        Event("nft_rule", True, V4, name="FORWARD", key="filter"),
    ],
    ids=lambda event: f"{event.what} {event.name}{event.key}",
)
def test_concerns_us(interest: Interest, event: Event) -> None:
    assert interest(event)


@pytest.mark.parametrize(
    "event",
    [
        Event("link", False, 0, 8, "veth1234", 0),
        Event("link", True, 0, 99, "veth9999", 0),
        Event("address", False, V4, 8),
        Event("fdb", False, AF_BRIDGE, 7, lasting=False, key="02:00:00:00:00:01"),
        Event("fdb", False, AF_BRIDGE, 8, key=PEER),
        Event("neighbour", True, V4, 2, lasting=False, key="10.0.1.99"),
        Event("neighbour", False, V4, 8, lasting=True, key="10.244.2.0"),
        Event("route", False, V4, 8, protocol=3, key="10.1.0.0/16", table=254),
        Event("route", False, V4, 8, protocol=3, key="10.244.2.0/24", table=100),
        Event("route", False, V4, 2, protocol=94, lasting=False, key="10.244.2.7/32", table=254),
        Event("rule", False, V4, protocol=3, key="100"),
        Event("nexthop", False, V4, 8, protocol=0, key="12"),
        Event("nft_element", False, V4, key="kube-proxy"),
        Event("nft_rule", False, V4, name="KUBE-SVC", key="filter"),
        Event("nft_rule", True, V4),
    ],
    ids=lambda event: f"{event.what} {event.name}{event.key}",
)
def test_does_not_concern_us(interest: Interest, event: Event) -> None:
    assert not interest(event)


def test_what_happens_to_a_row_that_failed_is_remembered_and_to_one_in_a_fight_is_not_worth_a_round(interest: Interest) -> None:
    failed, fought = (Ref("route", RouteKey("", 254, f"10.244.{number}.0/24", 0, 0)) for number in (2, 3))
    listening = Listening(interest, Doers(str, str))
    listening.expect([fought], [failed])
    events = {row: Event("route", True, V4, 7, protocol=94, key=row.key[2], table=254) for row in (failed, fought)}
    assert listening(events[failed])
    assert not listening(events[fought])
    assert listening(events[fought]._replace(table=100)), "another table, another row"
    assert listening.touched() == {failed}
    assert listening.touched() == set()
    listening.expect([], [])
    assert listening(events[fought])
    assert listening.touched() == set()


def test_while_the_uplink_is_unknown_any_link_or_address_may_be_it() -> None:
    blind = Interest(all_kinds(), Wanted(), "", blind=True)
    assert blind(Event("link", False, 0, 3, "eth1", 0))
    assert blind(Event("address", False, V4, 3))


def test_devices_that_are_called_like_those_of_the_spec_concern_us_when_they_come() -> None:
    made = Interest(all_kinds(), Wanted(), "", blind=False, patterns=("ens*",))
    assert made(Event("link", True, 0, 9, "ens7", 0))
    assert not made(Event("link", True, 0, 9, "veth7", 0))
