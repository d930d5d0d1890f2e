"""Routes of others that take, or take over, what goes to pods of other nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reconciler.kernel.opponents.devices import agent_of
from reconciler.kernel.opponents.model import Opponent
from reconciler.kinds.marks import PROTOCOL
from reconciler.kinds.route import Route
from reconciler.wire.ip import packed

SHOWN = 3
# include/uapi/linux/rtnetlink.h, and who is known to use what
PROTOCOLS = {
    3: "boot: by hand, or flannel", 4: "static", 9: "ra", 11: "zebra", 12: "bird: Calico's or another", 16: "dhcp",
    17: "dnrouted: kube-router", 18: "xorp", 42: "babel", 80: "Calico", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp",
}  # fmt: skip


class _Group(NamedTuple):
    """Routes that are told together."""

    protocol: int
    dev: str
    wins: str  # why the kernel prefers it; empty: it does not


class _Prefixes:
    """Destinations of ours, found by what they cover."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_length: dict[tuple[int, int], dict[int, Route]] = defaultdict(dict)
        for one in routes:
            bits, length, number = _number(one.key.dst)
            if length:
                self._by_length[bits, length][number] = one

    def covering(self, dst: str) -> Iterator[Route]:
        bits, length, number = _number(dst)
        for (their_bits, their_length), found in self._by_length.items():
            if their_bits == bits and their_length <= length and (number >> (length - their_length)) in found:
                yield found[number >> (length - their_length)]


def _number(dst: str) -> tuple[int, int, int]:
    """Bits of the family, length of the prefix, and the prefix as a number of that length."""
    address, _, length = dst.partition("/")
    raw = packed(address)
    bits = len(raw) * 8
    return bits, int(length), int.from_bytes(raw, "big") >> (bits - int(length))


def foreign_routes(wanted: Iterable[Route], seen: Iterable[Route]) -> Iterator[Opponent]:
    """Routes of other protocols to the destinations of ours, or to a part of one, in the same table."""
    ours: dict[tuple[str, int], list[Route]] = defaultdict(list)
    for one in wanted:
        ours[one.key.netns, one.key.table].append(one)
    prefixes = {place: _Prefixes(routes) for place, routes in ours.items()}
    told: dict[_Group, list[Route]] = defaultdict(list)
    for route in seen:
        place = (route.key.netns, route.key.table)
        if route.protocol == PROTOCOL or place not in prefixes:
            continue
        for mine in prefixes[place].covering(route.key.dst):
            if mine.key != route.key:  # the same key is a conflict, which the plan refuses by name
                told[_Group(route.protocol, route.dev, _wins(route, mine))].append(route)
                break
    for group, routes in told.items():
        yield _told(group, routes)


def _wins(theirs: Route, mine: Route) -> str:
    if theirs.key.dst != mine.key.dst:
        return "more specific than ours"
    return f"metric {theirs.key.metric}, ours {mine.key.metric}" if theirs.key.metric < mine.key.metric else ""


def _told(group: _Group, routes: list[Route]) -> Opponent:
    first = routes[0]
    agent = agent_of(group.dev)
    names = ", ".join(one.key.dst for one in routes[:SHOWN]) + (f" and {len(routes) - SHOWN} more" if len(routes) > SHOWN else "")
    words = f"{first.key.dst}" + (f" metric {first.key.metric}" if first.key.metric else "") + (f" dev {group.dev}" if group.dev else "")
    protocol = PROTOCOLS.get(group.protocol, str(group.protocol))
    who = f"{'A route' if len(routes) == 1 else f'{len(routes)} routes'} of protocol {group.protocol} ({protocol})" + (
        f" by {group.dev}" + (f" ({agent})" if agent else "") if group.dev else ""
    )
    evidence = f"ip{' -6' if ':' in first.key.dst else ''} route show {words}"
    remove = f"ip{' -6' if ':' in first.key.dst else ''} route del {words} proto {group.protocol}"
    if group.wins:
        return Opponent(
            who, f"to {names} take{'s' if len(routes) == 1 else ''} packets from ours: {group.wins}", evidence,
            f"stop whoever makes it, then {remove}",
        )  # fmt: skip
    return Opponent(
        who, f"to {names} stand{'s' if len(routes) == 1 else ''} behind ours: not used, and back in force when ours goes", evidence,
        f"if it is left over from another agent: {remove}", "note",
    )  # fmt: skip
