"""What plumbline is at when something goes wrong: the node as it is, and as it should become."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from reconciler.engine.reader import Scope
from tests.namespaces import sh
from tests.safety.node import SPEC, nothing, scope, uplink

PARTS = "rollout: {allowPartition: true}\n"  # for a daemon that sees another VNI come
FULL = SPEC + "cni: {}\n"
ALONE = re.sub(r"\n  n3: .*", "", FULL)


class Scenario(NamedTuple):
    """One piece of work. `changes`: the kinds whose rows it writes, each by lines of its own."""

    name: str
    before: str | None  # the network.yaml that the node holds already; None: nothing of ours
    wanted: str | None  # None: cleanup
    changes: frozenset[str]
    broken: str = ""  # what somebody has done to it since
    special: bool = False  # met only by faults that name it

    def __str__(self) -> str:
        return self.name

    def scope(self, root: Path) -> Scope:
        """What the node should hold in the end."""
        return nothing(str(root)) if self.wanted is None else scope(self.wanted, root=str(root))


_PEER = frozenset({"fdb", "neighbour", "nexthop", "route"})
_EVERYTHING = _PEER | {"sysctl", "link", "address", "nft", "file"}
_BREAKAGE = """
bridge fdb del $(bridge fdb show dev plumb0 | awk '/10.0.2.13/ {print $1}') dev plumb0 self
bridge fdb append 02:00:00:00:00:99 dev plumb0 dst 10.9.9.9 self permanent
ip route del 10.244.3.0/24; ip route add 10.244.9.0/24 dev eth0 proto 94; ip nexthop flush protocol 94; ip neigh flush dev plumb0 nud permanent
ip addr del 10.244.1.0/32 dev plumb0; ip link set plumb0 mtu 1280; sysctl -qw net.ipv4.conf.all.rp_filter=1; nft delete table inet plumbline
"""

MANY = "a hundred peers join"  # so many lines that they are packed without a tool
_HUNDRED = "".join(f'  m{n}: {{address: 10.1.{n}.9/24, podCIDRs: [10.244.{n}.0/24, "fd00:10:244:{n}::/64"]}}\n' for n in range(100, 200))

SCENARIOS = (
    Scenario("cold start", None, FULL, _EVERYTHING),
    Scenario("a peer joins", ALONE, FULL, _PEER),
    Scenario("a peer leaves", FULL, ALONE, _PEER),
    Scenario(
        "vxlan changes in place",
        FULL,
        FULL.replace("fabric:\n", "fabric:\n  overlay: {mtu: 1400, ttl: 32}\n"),
        frozenset({"link", "file"}),
    ),
    Scenario(
        "vxlan is made anew", FULL, f"{FULL}{PARTS}".replace("fabric:\n", "fabric:\n  overlay: {vni: 5000}\n"), _PEER | {"link", "address"}
    ),
    Scenario("drift is repaired", FULL, FULL, _PEER | {"sysctl", "link", "address", "nft"}, _BREAKAGE),
    Scenario("cleanup", FULL, None, frozenset({"link", "nexthop", "route", "nft", "file"})),
    Scenario(
        "settings change",
        FULL.replace("rp_filter: 0", "rp_filter: 2"),
        FULL.replace("fd00:10:244::/48", "fd00:10:244::/47").replace("cni: {}", "cni: {bridge: cni7}"),
        frozenset({"sysctl", "nft", "file"}),
    ),
    Scenario(MANY, FULL, FULL.replace("fabric:\n", f"{_HUNDRED}fabric:\n"), _PEER, special=True),
)

_IP = """\
link add theirs type vxlan id 77 dstport 8472 local 10.0.1.11 nolearning
link add br-theirs type bridge
link set br-theirs up
addr add 172.30.0.1/24 dev br-theirs
link add veth-theirs type veth peer name veth-peer
link set veth-theirs master br-theirs up
link set veth-peer up
link set theirs address 02:99:00:00:00:01
addr add 172.31.0.0/32 dev theirs
link set theirs up
neigh replace 172.30.0.9 lladdr 02:99:00:00:00:09 dev br-theirs nud permanent
neigh replace 10.0.1.77 lladdr 02:99:00:00:00:77 dev eth0 nud permanent
nexthop add id 5 via 172.31.0.2 dev theirs onlink
nexthop add id 1577058305 via 172.31.0.3 dev theirs onlink protocol static
route add 10.99.0.0/16 via 172.31.0.2 dev theirs onlink
route add 10.244.3.0/24 via 172.31.0.2 dev theirs onlink metric 500
route add 10.98.0.0/16 nhid 5
route add 10.244.0.0/16 via 10.0.1.1 proto static table 100
route add fd99::/64 via fd00:1::99 dev eth0
rule add from 10.244.0.0/16 table 100 priority 1000
rule add from 10.99.0.0/16 table 100 priority 1001 protocol static
"""
_BRIDGE = """\
fdb append 00:00:00:00:00:00 dev theirs dst 10.0.1.99
fdb replace 02:99:00:00:00:02 dev theirs dst 10.0.1.98 self permanent
fdb replace 02:99:00:00:00:03 dev veth-theirs master permanent
"""
_NFT = """\
add table inet theirs
add chain inet theirs forward { type filter hook forward priority filter; policy accept; }
add rule inet theirs forward ip saddr 10.99.0.0/16 drop
add table ip plumb
"""


def plant(root: Path) -> None:
    """A host with an uplink, and with things of every sort that are somebody else's."""
    sh("sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=1")
    uplink()
    sh(f"ip -batch - <<'END'\n{_IP}END\nbridge -batch - <<'END'\n{_BRIDGE}END\nnft -f - <<'END'\n{_NFT}END")
    folder = root / "etc/cni/net.d"
    folder.mkdir(parents=True)
    (folder / "20-theirs.conflist").write_text("theirs")
    (folder / "10-plumbline.conflist.bak").write_text("somebody's copy")


def steady(text: str) -> str:
    """What tools print, without what changes by itself."""
    text = re.sub(
        r"(hello|tcn|topology_change|gc|message_age|forward_delay|hold)_timer +\S+|state [A-Za-z]+|linkdown|tentative|NO-CARRIER,|,LOWER_UP",
        "",
        text,
    )
    return re.sub(" +", " ", text)


def foreign(root: Path) -> frozenset[str]:
    """Every object that is not ours, to the letter, without what changes by itself."""
    text = sh(
        "ip -d -o link; ip -o addr; ip -d route show table all; ip -6 -d route show table all; ip -d nexthop; ip neigh; bridge fdb; "
        "ip rule; ip -6 rule; nft -s list tables; nft -s list table inet theirs; nft -s list table ip plumb; cd " + str(root) + "; "
        "grep -r . . --include=20-theirs.conflist --include=*.bak"
    )
    own = ("33:33:", "REACHABLE", "STALE", "INCOMPLETE", "FAILED", "DELAY", "PROBE", "plumb0", "proto 94", "table inet plumbline")
    return frozenset(line for line in steady(text).splitlines() if not any(word in line for word in own))


def ours(root: Path) -> str:
    """All that is ours, without what differs from one making to the next."""
    return sh(
        "for dev in $(ip -o link show group 94 | sed 's/^[0-9]*: //; s/[:@].*//'); do "
        "ip -d -o link show $dev | sed 's/^[0-9]*//'; ip -o addr show dev $dev | sed 's/^[0-9]*//'; bridge fdb show dev $dev | sort; "
        "ip neigh show dev $dev nud permanent | sort; done; { ip -d nexthop | grep 'proto 94'; ip -d route; ip -6 -d route; } | grep 'proto 94' | sort; "
        "for name in net.ipv4.ip_forward net.ipv4.conf.all.rp_filter; do sysctl $name; done; "
        f"nft -s list table inet plumbline 2>/dev/null || true; cd {root}; find . -type f -name '*plumbline*' | sort | xargs -r grep -H ."
    )
