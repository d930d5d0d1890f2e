"""Nothing that somebody else made is changed or deleted, whatever plumbline does around it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from reconciler.engine.guard import Limits
from reconciler.engine.model import Action
from reconciler.engine.round import Failure, Round
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from tests.namespaces import sh
from tests.safety.node import SPEC, converge, nothing, scope, uplink

pytestmark = pytest.mark.kernel

THEIRS = """
ip link add theirs type vxlan id 77 dstport 8472 local 10.0.1.11 nolearning
ip link add br-theirs type bridge && ip link set br-theirs up && ip addr add 172.30.0.1/24 dev br-theirs
ip link add veth-theirs type veth peer name veth-peer && ip link set veth-theirs master br-theirs up && ip link set veth-peer up
ip link set theirs address 02:99:00:00:00:01 && ip addr add 172.31.0.0/32 dev theirs && ip link set theirs up
bridge fdb append 00:00:00:00:00:00 dev theirs dst 10.0.1.99
bridge fdb replace 02:99:00:00:00:02 dev theirs dst 10.0.1.98 self permanent
bridge fdb replace 02:99:00:00:00:03 dev veth-theirs master permanent
ip neigh replace 172.30.0.9 lladdr 02:99:00:00:00:09 dev br-theirs nud permanent
ip neigh replace 10.0.1.77 lladdr 02:99:00:00:00:77 dev eth0 nud permanent
ip nexthop add id 5 via 172.30.0.2 dev br-theirs
ip nexthop add id 1577058305 via 172.30.0.3 dev br-theirs protocol static
ip route add 10.99.0.0/16 via 172.30.0.2 dev br-theirs
ip route add 10.244.3.0/24 via 172.30.0.2 dev br-theirs metric 500
ip route add 10.98.0.0/16 nhid 5
ip route add 10.244.0.0/16 via 10.0.1.1 proto static table 100
ip -6 route add fd99::/64 via fd00:1::99 dev eth0
ip rule add from 10.244.0.0/16 table 100 priority 1000
ip rule add from 10.99.0.0/16 table 100 priority 1001 protocol static
nft add table inet theirs
nft add chain inet theirs forward '{ type filter hook forward priority filter; policy accept; }'
nft add rule inet theirs forward ip saddr 10.99.0.0/16 drop
nft add table ip plumb
"""


def everything() -> str:
    """Every object of this namespace, without what changes by itself."""
    text = sh(
        "ip -d -o link; ip -o addr; ip -d route show table all; ip -6 -d route show table all; ip -d nexthop; ip neigh; bridge fdb; "
        "ip rule; ip -6 rule; nft -s list ruleset"
    )
    text = re.sub(r"bridge_id \S+|designated_\S+ \S+|(hello|tcn|topology_change|gc|message_age|forward_delay|hold)_timer +\S+", "", text)
    own = ("33:33:", "REACHABLE", "STALE", "INCOMPLETE", "FAILED", "DELAY", "PROBE")  # memberships of a router, and what ARP learns
    return "\n".join(sorted(line for line in text.splitlines() if not any(word in line for word in own)))


def test_apply_edit_and_cleanup_leave_what_is_not_ours(netns: str, tmp_path: Path) -> None:
    # What forwarding itself brings (anycast addresses, memberships of routers) is there from the start.
    sh("sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1")
    uplink()
    sh(THEIRS)
    settled = everything()
    before = settled.splitlines()
    converge(scope())
    applied = everything().splitlines()
    assert not set(before) - set(applied), "apply changed something that was there"
    assert len(applied) > len(before)
    converge(scope(SPEC.replace("  n3:", "  n4:").replace("mode: auto", "mode: overlay")))
    assert not set(before) - set(everything().splitlines()), "an edit changed something that was there"
    converge(nothing())
    assert everything() == settled, "cleanup left something behind, or took something else along"


def test_somebody_elses_device_of_our_name_is_refused_by_name_and_nothing_is_written_into_it(netns: str) -> None:
    uplink()
    sh("ip link add plumb0 type vxlan id 4096 dstport 8472 local 10.0.1.11 && ip link set plumb0 up")
    before = sh(
        "ip -d -o link show plumb0; bridge fdb show dev plumb0; ip neigh show dev plumb0; ip nexthop; ip -o -4 addr show dev plumb0"
    )
    result = converge(scope(), strict=False)
    assert not result.converged
    assert any("link plumb0 exists and is not ours" in error and "adopt: true" in error for error in result.errors), result.errors
    after = sh("ip -d -o link show plumb0; bridge fdb show dev plumb0; ip neigh show dev plumb0; ip nexthop; ip -o -4 addr show dev plumb0")
    assert after == before
    assert "10.244.2.0/24 via 10.0.1.12 dev eth0 proto 94" in sh("ip route"), "the direct peer does not need the device"
    assert "10.244.3.0/24" not in sh("ip route")


def test_somebody_elses_vni_is_refused_by_name(netns: str) -> None:
    uplink()
    sh("ip link add flannel.1 type vxlan id 4096 dstport 4789 local 10.0.1.11 nolearning && ip link set flannel.1 up")
    result = converge(scope(), strict=False)
    assert any("flannel.1" in error and "4096" in error for error in result.errors), result.errors
    assert "plumb0" not in sh("ip -o link")


class Interfering(KernelNode):
    """A node on which somebody makes something between our look and our line."""

    def __init__(self, at: str, script: str) -> None:
        super().__init__()
        self._after, self._at, self._script = at.startswith("after "), at.removeprefix("after "), script
        self.interfered = False

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        meets = not self.interfered and any(self._at in str(line) for action in actions for line in action.lines)
        if meets and not self._after:
            sh(self._script)
        done = super().run(actions)
        if meets and self._after:
            sh(self._script)
        self.interfered |= meets
        return done


@pytest.mark.parametrize(
    ("at", "script", "kept"),
    [
        ("ip route add", "ip route add 10.244.2.0/24 via 10.0.1.1 proto static", "10.244.2.0/24 via 10.0.1.1 dev eth0 proto static"),
        ("ip link add name plumb0", "ip link add plumb0 type bridge", "plumb0"),
        ("ip nexthop add", "ip nexthop add id 7 via 10.0.1.9 dev eth0", "id 7 via 10.0.1.9"),
        ("after bridge fdb", "ip link del plumb0; ip link add plumb0 type bridge; ip link set plumb0 up", "plumb0"),
        (
            "after ip link add name plumb0",
            "ip link del plumb0; ip link add plumb0 type vxlan id 9 dstport 9 local 10.0.1.11; ip link set plumb0 up",
            "plumb0",
        ),
    ],
)
def test_what_appears_between_looking_and_doing_is_kept(netns: str, at: str, script: str, kept: str) -> None:
    uplink()
    node = Interfering(at, script)
    wanted = scope()
    Round(node, all_kinds(), limits=Limits(1.0, 1000), name="n1").converge(wanted)
    node.close()
    assert node.interfered
    assert kept in sh("ip -d route; ip -d -o link; ip nexthop")
    if "plumb0" in script:
        assert "group 94" not in (found := sh("ip -d -o link show dev plumb0"))
        assert "alias" not in found, "no line of the creation follows the one that was refused"
        assert "permanent" not in sh("bridge fdb show dev plumb0 | grep -v '33:33\\|01:00:5e\\|master plumb0' || true").replace(
            "vlan 1", ""
        )
