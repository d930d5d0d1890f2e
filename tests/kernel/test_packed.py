"""Packed lines against the tools themselves: the same lines, the same kernel afterwards, the same words where it refuses."""

from __future__ import annotations

import re
import subprocess

import pytest

from reconciler.kernel import packed
from tests.namespaces import fresh_namespace, sh

pytestmark = pytest.mark.kernel

SETUP = """
ip link add plumb0 address 02:00:00:00:00:01 group 94 type vxlan id 4096 dstport 4789 local 192.0.2.1 nolearning
ip link set plumb0 up
ip addr add 10.244.1.0/32 dev plumb0
ip addr add fd00:1::/128 dev plumb0 nodad
ip nexthop add id 7 via 10.244.9.0 dev plumb0 onlink protocol 94
ip nexthop add id 8 via fe80::9 dev plumb0 protocol 94
ip route add 10.244.9.0/24 nhid 7 proto 94
ip neigh add 10.244.9.0 lladdr 02:00:00:00:00:09 dev plumb0 nud permanent protocol 94
bridge fdb add 02:00:00:00:00:09 dev plumb0 dst 192.0.2.9 self permanent
"""
DUMPS = """
bridge fdb show dev plumb0
ip -d neigh show
ip -6 -d neigh show nud permanent
ip -d nexthop show
ip -d route show table all proto 94
ip -6 -d route show table all proto 94
"""
MADE = [
    "bridge fdb replace 02:00:00:00:00:02 dev plumb0 dst 192.0.2.2 self permanent",
    "bridge fdb replace 02:00:00:00:00:09 dev plumb0 dst 192.0.2.10 self permanent",
    "bridge fdb replace 02:00:00:00:00:03 dev plumb0 dst 192.0.2.3 port 14789 self permanent",
    "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:02 dev plumb0 nud permanent protocol 94",
    "ip neigh replace 10.244.9.0 lladdr 02:00:00:00:00:0a dev plumb0 nud permanent protocol 94",
    "ip neigh replace fe80::2 lladdr 02:00:00:00:00:02 dev plumb0 nud permanent protocol 94",
    "ip nexthop add id 1577058306 via 10.244.2.0 dev plumb0 onlink protocol 94",
    "ip nexthop add id 1577058307 via fe80::2 dev plumb0 protocol 94",
    "ip route add 10.244.2.0/24 nhid 1577058306 proto 94",
    "ip route add 10.244.3.0/24 nhid 1577058306 mtu 1400 proto 94",
    "ip route replace 10.244.9.0/24 nhid 1577058306 proto 94",
    "ip route add fd00:2::/64 nhid 1577058307 proto 94",
    "ip route add fd00:3::/64 nhid 1577058307 mtu 1380 proto 94",
]
REMOVED = [
    "ip route del 10.244.2.0/24 nhid 1577058306 proto 94",
    "ip route del fd00:2::/64 nhid 1577058307 metric 1024 proto 94",
    "ip nexthop del id 1577058307",
    "ip neigh del 10.244.2.0 dev plumb0",
    "ip neigh del fe80::2 dev plumb0",
    "bridge fdb del 02:00:00:00:00:02 dev plumb0 dst 192.0.2.2 self",
    "bridge fdb del 02:00:00:00:00:03 dev plumb0 dst 192.0.2.3 port 14789 self",
]
REFUSED = [
    "ip nexthop add id 7 via 10.244.9.0 dev plumb0 onlink protocol 94",
    "ip nexthop del id 4711",
    "ip route add 10.244.9.0/24 nhid 7 proto 94",
    "ip route add 10.244.4.0/24 nhid 4711 proto 94",
    "ip route del 10.244.9.0/24 nhid 8 proto 94",
    "ip route del 10.244.99.0/24 nhid 7 proto 94",
    "ip neigh del 10.244.99.0 dev plumb0",
    "bridge fdb replace 02:00:00:00:00:02 dev plumb0 dst 2001:db8::2 self permanent",
    "bridge fdb del 02:00:00:00:00:99 dev plumb0 dst 192.0.2.2 self",
    "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:02 dev gone0 nud permanent protocol 94",
]


def _tools(lines: list[str]) -> list[str]:
    """What each line's tool says; empty where it did it."""
    said = []
    for line in lines:
        done = subprocess.run(line.split(), capture_output=True, text=True, check=False)
        said.append(" ".join(done.stderr.split()) if done.returncode else "")
    return said


def _packed(lines: list[str]) -> list[str]:
    matches = [packed.match(tool, rest) for tool, _, rest in (line.partition(" ") for line in lines)]
    assert all(matches), [line for line, match in zip(lines, matches, strict=True) if match is None]
    return [failure.message if failure else "" for failure in packed.send([match for match in matches if match])]


def _dumps() -> str:
    return "\n".join(sorted(re.sub(r"used \S+|(?:ref|probes) \d+", "", sh(DUMPS)).splitlines()))  # hash tables have no order


@pytest.mark.parametrize(
    "lines", [MADE, MADE + REMOVED, REFUSED, [*MADE, *REFUSED, *MADE, *REMOVED]], ids=["make", "remove", "refuse", "all"]
)
def test_a_packed_line_does_what_its_tool_does(lines: list[str]) -> None:
    with fresh_namespace():
        sh(SETUP)
        said, dumped = _tools(lines), _dumps()
    with fresh_namespace():
        sh(SETUP)
        assert _packed(lines) == said
        assert _dumps() == dumped
        assert "plumb0" in dumped


@pytest.mark.parametrize(
    "line",
    [
        "bridge fdb append 00:00:00:00:00:00 dev plumb0 dst 192.0.2.2 self permanent",
        "bridge fdb replace 02:00:00:00:00:02 dev plumb0 dst 192.0.2.2 vni 5 self permanent",
        "ip route add 10.244.3.0/24 via 192.0.2.2 dev eth0 proto 94",
        "ip route add 10.244.3.0/24 nhid 1 table 5 proto 94",
        "ip route add 10.244.3.0/24 nhid 1 mtu lock 1400 proto 94",
        "ip neigh replace proxy 10.244.2.0 dev plumb0 protocol 94",
        "ip nexthop add id 5 blackhole protocol 94",
        "ip nexthop replace id 5 via 10.0.0.1 dev eth0 protocol 94",
        "ip link set plumb0 up",
    ],
)
def test_whatever_is_not_exactly_of_a_shape_is_its_tools(line: str) -> None:
    tool, _, rest = line.partition(" ")
    assert packed.match(tool, rest) is None


def test_what_is_refused_in_the_middle_of_thousands_is_named() -> None:
    lines = [
        f"ip neigh replace 10.244.{n >> 8}.{n & 255} lladdr 02:00:00:00:00:02 dev plumb0 nud permanent protocol 94" for n in range(3000)
    ]
    wrong = [*range(7, 3000, 97), 511, 512, 1023, 2999]
    for number in wrong:
        lines[number] = f"ip nexthop del id {4711 + number}"
    with fresh_namespace():
        sh(SETUP)
        said = _packed(lines)
    assert [number for number, words in enumerate(said) if words] == sorted(wrong)
