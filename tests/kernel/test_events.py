"""The kernel's notifications, in a namespace of each test's own."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator

import pytest

from reconciler.kernel.events import Event, EventSocket, Heard
from reconciler.kinds import all_kinds
from tests.namespaces import sh

pytestmark = pytest.mark.kernel

GROUPS = sorted({group for kind in all_kinds().values() for group in kind.events})


def everything(event: Event) -> bool:
    return True


@pytest.fixture
def heard(netns: str) -> Iterator[EventSocket]:
    sh("ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up && ip addr add 10.94.0.1/24 dev v0")
    sh("ip link add x0 group 94 type vxlan id 94 dstport 4789 nolearning && ip link set x0 up")
    sh(
        "nft add table inet plumbline; nft add set inet plumbline t '{ type ipv4_addr ; }'; nft add element inet plumbline t '{ 10.0.0.1 }';"
        "nft add chain inet plumbline c; nft add rule inet plumbline c accept;"
        "nft add table ip filter; nft add chain ip filter FORWARD; nft add rule ip filter FORWARD accept"
    )
    events = EventSocket(GROUPS)
    yield events
    events.close()


def collect(events: EventSocket, until: Callable[[Event], bool], deadline: float = 5) -> list[Event]:
    """Every event up to the first that `until` is true for; fails when none comes."""
    found: list[Event] = []

    def keep(event: Event) -> bool:
        found.append(event)
        return True

    end = time.monotonic() + deadline
    while not any(until(event) for event in found):
        left = end - time.monotonic()
        assert left > 0, f"nothing of the sort came, only {found}"
        select.select([events], [], [], left)
        events.read(keep)
    return found


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("ip link set v0 mtu 1400", {"what": "link", "gone": False, "name": "v0", "group": 0}),
        ("ip link del x0", {"what": "link", "gone": True, "name": "x0", "group": 94}),
        ("ip addr add 10.94.1.1/32 dev x0", {"what": "address", "gone": False, "key": "10.94.1.1/32"}),
        ("ip addr del 10.94.0.1/24 dev v0", {"what": "address", "gone": True}),
        (
            "ip neigh add 10.94.0.9 lladdr 02:00:00:00:00:09 dev v0 nud permanent",
            {"what": "neighbour", "key": "10.94.0.9", "lasting": True},
        ),
        (
            "ip neigh add 10.94.0.9 lladdr 02:00:00:00:00:09 dev v0 nud reachable",
            {"what": "neighbour", "key": "10.94.0.9", "lasting": False},
        ),
        (
            "bridge fdb replace 02:00:00:00:00:07 dev x0 dst 10.94.0.7 self permanent",
            {"what": "fdb", "key": "02:00:00:00:00:07", "lasting": True},
        ),
        ("ip route add 10.95.0.0/16 dev v0 proto 94 table 1000", {"what": "route", "key": "10.95.0.0/16", "protocol": 94, "table": 1000}),
        ("ip route add default via 10.94.0.2", {"what": "route", "key": "0.0.0.0/0", "table": 254, "lasting": True}),
        ("ip -6 route add fd95::/64 dev v0 proto 94", {"what": "route", "key": "fd95::/64", "protocol": 94}),
        ("ip rule add priority 94 table 1000 protocol 94", {"what": "rule", "key": "94", "protocol": 94}),
        ("nft add set inet plumbline s '{ type ipv4_addr ; }'", {"what": "nft", "gone": False, "key": "plumbline"}),
        ("nft add element inet plumbline t '{ 10.0.0.2 }'", {"what": "nft_element", "gone": False, "key": "plumbline"}),
        ("nft delete element inet plumbline t '{ 10.0.0.1 }'", {"what": "nft_element", "gone": True, "key": "plumbline"}),
        ("nft delete table inet plumbline", {"what": "nft", "gone": True, "key": "plumbline"}),
        ("nft flush chain inet plumbline c", {"what": "nft", "gone": True, "key": "plumbline", "name": "c"}),
        ("nft flush chain ip filter FORWARD", {"what": "nft_rule", "gone": True, "key": "filter", "name": "FORWARD"}),
        ("nft add rule ip filter FORWARD drop", {"what": "nft_rule", "gone": False, "key": "filter", "name": "FORWARD"}),
        ("ip nexthop add id 1577058305 via 10.94.0.2 dev v0 protocol 94", {"what": "nexthop", "key": "1577058305", "protocol": 94}),
    ],
)
def test_what_happened(heard: EventSocket, command: str, expected: dict[str, object]) -> None:
    heard.discard()
    sh(command)
    collect(heard, lambda event: expected.items() <= event._asdict().items())


def test_deleted_rows_are_told(heard: EventSocket) -> None:
    sh("bridge fdb replace 02:00:00:00:00:07 dev x0 dst 10.94.0.7 self permanent; ip route add 10.95.0.0/16 dev v0 proto 94")
    heard.discard()
    sh("bridge fdb del 02:00:00:00:00:07 dev x0 self; ip route del 10.95.0.0/16")
    found = collect(heard, lambda event: event.what == "route" and event.gone)
    assert any(event.what == "fdb" and event.gone and event.key == "02:00:00:00:00:07" for event in found), found


def test_only_what_concerns_the_reader_is_reported(heard: EventSocket) -> None:
    heard.discard()
    sh("ip link set v0 mtu 1400 && ip link add pod0 type veth peer name pod1 && ip link del pod0")
    assert heard.read(lambda event: event.name == "v0") == Heard(frozenset({"link changed"}), False)
    sh("ip link add pod0 type veth peer name pod1 && ip link del pod0")
    assert heard.read(lambda event: event.name == "v0") == Heard(frozenset(), False)


def test_discarded_events_do_not_come_back(heard: EventSocket) -> None:
    sh("ip link set v0 mtu 1400")
    heard.discard()
    assert heard.read(everything) == Heard(frozenset(), False)


def test_an_overflow_is_told_once_and_what_comes_after_it_is_heard(netns: str) -> None:
    sh("ip link add v0 type veth peer name v1")
    events = EventSocket(GROUPS, buffer=4096)
    sh("for n in 1 2 3 4 5 6 7 8 9; do ip link set v0 mtu $((1400+n)); ip link set v1 mtu $((1400+n)); done")
    assert events.read(lambda event: False).overflowed
    assert not events.read(lambda event: False).overflowed
    sh("ip link set v0 mtu 1300")
    assert events.read(everything) == Heard(frozenset({"link changed"}), False)
    events.close()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("ip route add blackhole 10.97.9.0/24", {"route"}),
        ("ip rule add priority 9494 to 10.97.0.0/16 table 94", {"rule"}),
        ("ip neigh replace 10.94.0.9 lladdr 02:00:00:00:00:09 dev v0 nud permanent", {"neighbour"}),
        ("ip neigh replace 10.94.0.9 lladdr 02:00:00:00:00:09 dev v0 nud stale", {"neighbour"}),
        ("bridge fdb append 00:00:00:00:00:00 dst 10.0.0.9 dev x0", {"fdb"}),
        ("nft add element inet plumbline t '{ 10.0.0.9 }'", {"nft_element"}),
        ("nft add rule ip filter FORWARD drop", {"nft_rule"}),
        ("nft add rule inet plumbline c drop", {"nft", "nft_element", "nft_rule"}),
        ("nft delete table inet plumbline", {"nft", "nft_element", "nft_rule"}),
        ("ip link set v0 alias nobody", None),  # IPv4 routes go with a link, an address or a nexthop, and nobody tells
        ("ip addr add 10.94.1.1/32 dev x0", None),
        ("ip nexthop add id 9494 blackhole", None),
    ],
)
def test_what_may_be_otherwise(heard: EventSocket, command: str, told: set[str] | None) -> None:
    sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1")  # or addresses become valid in the middle of it
    heard.read(everything)
    start = heard.mark()
    assert heard.told(start) == set(), "nothing was changed since"
    sh(command)
    assert heard.told(start) is None, "there is something that nobody has read"
    heard.read(lambda event: False)
    assert heard.told(start) == told
    assert heard.told(heard.mark()) == set()
    heard.doubt()
    assert heard.told(start) is None


def test_events_that_were_lost_or_thrown_away_may_have_told_of_anything(heard: EventSocket) -> None:
    start = heard.mark()
    sh("ip route add blackhole 10.97.9.0/24")
    heard.discard()
    assert heard.told(start) is None
    with_little_room = EventSocket(GROUPS, buffer=4096)
    start = with_little_room.mark()
    sh("for n in $(seq 1 200); do echo route add blackhole 10.98.$n.0/24; done | ip -batch -")
    assert with_little_room.read(everything).overflowed
    assert with_little_room.told(start) is None
    with_little_room.close()


def test_a_kernel_that_tells_nothing_of_nftables(netns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.wire.nftables.NETLINK_NETFILTER", 21)  # no such family
    events = EventSocket(GROUPS)
    assert events.told(events.mark()) == {"nft", "nft_element", "nft_rule"}
    events.close()
