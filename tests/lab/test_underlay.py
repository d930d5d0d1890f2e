"""A NIC under its bridge and out again, with the node's own traffic on it: the reference's example, by packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from reconciler.engine.model import Verb
from reconciler.lab.nodes import text_network
from reconciler.lab.wait import until
from tests.lab.wired import PREFIX, WAIT, Applied, Wire, apply, dumps, router, stream, wire
from tests.namespaces import fresh_namespace, sh
from tests.process import daemon

pytestmark = [pytest.mark.lab, pytest.mark.kernel, pytest.mark.usefixtures("namespaces_can_be_made")]
SPEC = (Path(__file__).parents[2] / "examples" / "underlay" / "network.yaml").read_text()
WITHOUT = SPEC[: SPEC.index("underlay:\n  breth1")]
WITH, BARE = text_network(SPEC), text_network(WITHOUT)
# Of every sort that a NIC may carry; and the world beyond its gateway
CARRIED = """
ip addr add 10.33.74.111/24 dev eth1 label eth1:1
ip addr add 10.34.0.7/32 peer 10.34.0.8/32 dev eth1
ip addr add 2001:db8:3::7/64 dev eth1 nodad preferred_lft 0
ip route add 203.0.113.0/24 dev eth1 scope link proto static
ip route add 198.51.100.0/24 via 10.33.74.1 proto bird mtu 1400 src 10.33.74.111
ip route add 192.0.2.0/24 via 203.0.113.7 dev eth1 table 100
ip route add 192.0.2.128/25 nexthop via 10.33.74.1 weight 2 nexthop via 10.33.74.2 weight 3
ip -6 route add 2001:db8:5::/64 dev eth1 metric 77
ip neigh add 10.33.74.77 lladdr 02:00:00:00:00:77 dev eth1 nud permanent
"""


def worker1(network: object = WITH) -> Applied:
    found = apply(network, "worker1")  # type: ignore[arg-type]
    assert found.result.errors == ()
    assert found.result.converged
    return found


def nothing_left(network: object = WITH) -> None:
    assert worker1(network).plan.empty


@contextmanager
def ovn(outside: str, worker: str, number: int) -> Iterator[str]:
    """What OVN adds in the reference: br-int with a pod on the worker's subnet and the logical router's port. Yields the pod's namespace."""
    with fresh_namespace() as pod:
        subnet, mac = f"192.168.{number}", f"fa:16:3e:00:0{number}:01"
        sh(f"""
        ip -n {worker} link add br-int type bridge && ip -n {worker} link set br-int up
        ip -n {worker} link set br-int-veth master br-int
        ip -n {worker} link add pod type veth peer name eth0 netns {pod} && ip -n {worker} link set pod master br-int up
        ip -n {pod} link set lo up && ip -n {pod} addr add {subnet}.2/29 dev eth0 && ip -n {pod} link set eth0 up
        ip -n {pod} route add default via {subnet}.1
        ip -n {worker} link add router type veth peer name ls{number} netns {outside} && ip -n {worker} link set router master br-int up
        ip -n {outside} link set ls{number} address {mac} up && ip -n {outside} addr add {subnet}.1/29 dev ls{number}
        """)
        yield pod


def test_the_reference_example_by_packets() -> None:
    """worker → own pod over breth1 and br-int; pod → pod of the other worker and back, by the logical router at TTL 63."""
    with wire(2) as net, ExitStack() as held:
        for number, worker in enumerate(net.workers, 1):
            with_in(worker, f"worker{number}")
        pods = [held.enter_context(ovn(net.outside, worker, number)) for number, worker in enumerate(net.workers, 1)]
        first, second = net.workers
        assert "ttl=63" in sh(f"ip netns exec {first} ping -c2 -i0.2 192.168.1.2"), "there on the bridge, back by the logical router"
        assert "ttl=63" in sh(f"ip netns exec {first} ping -c2 -i0.2 192.168.2.2"), "the cluster's subnet is by the gateway"
        assert "ttl=63" in sh(f"ip netns exec {pods[0]} ping -c2 -i0.2 192.168.2.2")
        assert "ttl=63" in sh(f"ip netns exec {pods[1]} ping -c2 -i0.2 192.168.1.2")
        assert "ttl=64" in sh(f"ip netns exec {second} ping -c2 -i0.2 10.33.74.11"), "the workers reach each other"
        assert "192.168.1.1 dev breth1 lladdr fa:16:3e:00:01:01 PERMANENT" in sh(f"ip -n {first} neigh show 192.168.1.1")


def with_in(netns: str, node: str) -> None:
    from reconciler.kernel.netns import entered

    with entered(netns):
        assert apply(WITH, node).result.errors == ()
        assert apply(WITH, node).plan.empty


@pytest.mark.parametrize("strict", [0, 1], ids=["", "strict rp_filter"])
def test_streams_outlive_the_takeover_and_the_way_back(strict: int, record_property: Callable[[str, object], None]) -> None:
    with wire() as net:
        world(net)
        sh(f"for dev in all default eth1; do sysctl -qw net.ipv4.conf.$dev.rp_filter={strict}; done")
        for network, what in ((WITH, "takeover"), (BARE, "way back")):
            with ExitStack() as held:
                streams = [
                    held.enter_context(stream(net.outside, one)) for one in ("10.33.74.1", "198.51.100.1", "2001:db8::1", "2001:db8:9::1")
                ]
                worker1(network)
            told = "; ".join(map(str, streams))
            print(f"{what}: {told}")
            record_property(what, told)
            assert all(one.answers == one.sent for one in streams), told
            if network is WITH and not strict:
                assert not any(one.lost for one in streams), told


def world(net: Wire) -> None:
    sh(f"ip -n {net.outside} addr add 198.51.100.1/32 dev lo; ip -n {net.outside} addr add 2001:db8:9::1/128 dev lo")


def test_all_of_it_moves_and_comes_back_as_it_was() -> None:
    with wire():
        sh(CARRIED)
        before = dumps()
        worker1()
        nothing_left()
        assert sh("ip -4 addr show dev eth1") == ""
        assert "global" not in sh("ip -6 addr show dev eth1")
        assert sh("ip route show dev eth1 table all type unicast | grep -v ^fe80 || true") == ""
        taken = dumps()
        for line in ("default via 10.33.74.1 dev breth1 proto static metric 100", "198.51.100.0/24 via 10.33.74.1 dev breth1 proto bird src 10.33.74.111 mtu 1400",
                     "203.0.113.0/24 dev breth1 proto static scope link", "192.0.2.0/24 via 203.0.113.7 dev breth1 table 100",
                     "nexthop via 10.33.74.1 dev breth1 weight 2", "2001:db8:5::/64 dev breth1 metric 77",
                     "10.33.74.77 dev breth1 lladdr 02:00:00:00:00:77 PERMANENT", "scope global secondary breth1:1"):  # fmt: skip
            assert any(line in one for one in taken), line
        worker1(BARE)
        nothing_left(BARE)
        assert dumps() == before


def lines(found: Applied) -> list[str]:
    return [line.words for action in found.plan.actions for line in action.lines]


def some(every: list[str]) -> range:
    """Places to stop at: around everything that touches the NIC."""
    first = next(number for number, line in enumerate(every) if "addr add" in line)
    return range(first, len(every), 3)


@pytest.mark.parametrize("network", [WITH, BARE], ids=["takeover", "way back"])
def test_from_the_middle_on_and_from_the_middle_back(network: object) -> None:
    """Killed after any line: the next start ends it, and the lines that undo it bring back what was."""
    with wire():
        sh(CARRIED)
        if network is BARE:
            worker1()
        before = dumps()
        whole = worker1(network)
        after = dumps()
        run(*whole.undo)
        assert dumps() == before
        for stop in some(lines(whole)):
            run(*lines(whole)[:stop])
            worker1(network)
            nothing_left(network)
            assert dumps() == after, f"after {stop} lines"
            run(*whole.undo)
            assert dumps() == before, f"undone, after {stop} lines and the rest"
            run(*lines(whole)[:stop])
            run(*whole.undo)
            assert dumps() == before, f"undone after {stop} lines"


def run(*every: str) -> None:
    """As the watchdog does: each line, whatever became of the one before."""
    sh("\n".join(f"{line} 2>/dev/null >/dev/null || true" for line in every))


def test_a_bridge_that_is_there_already_and_a_nic_that_is_bare_again() -> None:
    with wire():
        before = dumps()
        sh("ip link add breth1 group 94 type bridge && ip link set breth1 up")
        worker1()
        taken = dumps(of_the_kernel=False)
        sh("ip link del breth1; ip link del br-int-veth; ip addr flush dev eth1 scope global")
        sh("""
        ip addr add 10.33.74.11/24 dev eth1 broadcast 10.33.74.255 && ip addr add 2001:db8::11/64 dev eth1 nodad
        ip route add default via 10.33.74.1 proto static metric 100; ip -6 route add default via 2001:db8::1 proto static metric 1024
        """)
        assert dumps() == before, "as after a boot"
        worker1()
        assert dumps(of_the_kernel=False) == taken, "but for the link-local address, which an unpinned MAC once gave"


def test_what_comes_to_the_nic_later_moves_too() -> None:
    with wire():
        worker1()
        sh("ip addr add 10.33.74.99/24 dev eth1; ip route add 192.0.2.0/24 dev eth1")
        assert [action.verb for action in worker1().plan.actions] == [Verb.CREATE, Verb.UPDATE, Verb.DELETE]
        assert "10.33.74.99/24" in sh("ip addr show dev breth1")
        assert "192.0.2.0/24 dev breth1" in sh("ip route")


def test_hairpin_is_kept_off_and_ageing_kept_at_none() -> None:
    with wire():
        worker1()
        sh(
            "bridge link set dev breth1-veth hairpin on; bridge link set dev eth1 hairpin on; ip link set breth1 type bridge ageing_time 300"
        )
        assert len(worker1().plan.actions) == 3
        assert "hairpin on" not in sh("bridge -d link")
        assert "ageing_time 0 " in sh("ip -d link show breth1")
        nothing_left()


def test_a_bridge_of_somebody_else_is_adopted_and_left_behind() -> None:
    with wire():
        sh("ip link add breth1 type bridge mcast_snooping 0; ip link set breth1 up")
        refused = apply(WITH, "worker1").plan
        assert any("exists and is not ours" in conflict.reason for conflict in refused.conflicts)
        assert not any(action.change.kind == "address" and not action.held for action in refused.actions), "nothing moves to it"
        assert sh("ip -br -4 addr show dev eth1").split()[2] == "10.33.74.11/24"
        sh("ip link del br-int-veth || true")
        adopted = text_network(SPEC.replace("uplink: eth1", "uplink: eth1\n    adopt: true"))
        worker1(adopted)
        nothing_left(adopted)
        assert "mcast_snooping 0" in sh("ip -d link show breth1"), "nothing but what is stated"
        assert "ageing_time 0 " in sh("ip -d link show breth1")
        worker1(BARE)
        assert "10.33.74.11/24" in sh("ip addr show dev breth1"), "who made it knows what it had before"
        assert "master breth1" in sh("ip link show eth1")


def test_what_a_router_advertises_comes_to_the_bridge_and_back_to_the_nic() -> None:
    with wire() as net:
        world(net)
        sh("ip -6 route del default; sysctl -qw net.ipv6.conf.eth1.accept_ra=1")
        until(lambda: "tentative" not in sh("ip -6 addr"), WAIT, lambda: "the link-local address stays tentative")
        with router(net):
            advertised("eth1")
            for network, dev in ((WITH, "breth1"), (BARE, "eth1")):
                with stream(net.outside, "2001:db8:9::1") as over_the_default_route:
                    worker1(network)
                    advertised(dev)
                assert over_the_default_route.answers == over_the_default_route.sent, str(over_the_default_route)
                assert network is BARE or over_the_default_route.lost == 0, str(over_the_default_route)
                nothing_left(network)
                assert "br-int-veth" not in sh("ip -6 route show default"), "the pair's other end hears advertisements too"


def advertised(dev: str) -> None:
    def there() -> bool:
        return "proto ra" in sh(f"ip -6 route show default dev {dev}") and PREFIX.rstrip(":") in sh(f"ip -6 addr show dev {dev} -tentative")

    until(there, WAIT, lambda: f"no advertisement came to {dev}\n" + sh("ip -6 route; ip -6 addr"))


def test_an_uplink_with_a_lease_stays_as_it_is() -> None:
    with wire():
        sh("ip addr change 10.33.74.11/24 dev eth1 valid_lft 600 preferred_lft 600")
        found = apply(WITH, "worker1")
        assert found.plan.empty
        (remark,) = found.compiled.remarks
        assert "eth1 stays as it is: a DHCP client keeps its addresses" in str(remark)
        assert "address 10.33.74.11/24\\n    gateway 10.33.74.1" in str(remark)


def test_a_daemon_takes_over_on_trial_and_keeps_hairpin_off(tmp_path: Path) -> None:
    """What the reference's endless loop was for: whoever switches it on, an event tells, and it is off again."""
    (tmp_path / "network.yaml").write_text(SPEC)
    with wire(), daemon(tmp_path, tmp_path / "network.yaml", node="worker1") as running:
        running.until(lambda: running.ready)
        assert (tmp_path / "state" / "confirm" / "kept.json").exists(), "the gateway answered before and after, so it stays"
        assert "10.33.74.11/24" in sh("ip addr show dev breth1")
        for _ in range(3):
            sh("bridge link set dev breth1-veth hairpin on; bridge link set dev eth1 hairpin on")
            running.until(lambda: "hairpin on" not in sh("bridge -d link"))
