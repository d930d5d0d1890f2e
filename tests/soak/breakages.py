"""What people and programs do to a node by hand, one row at a time."""

from __future__ import annotations

import re
import time
from collections import defaultdict, deque
from random import Random

from tests.namespaces import sh

MEMORY = 60.0  # seconds; what is broken ten times within them is a fight, and no breakage
OFTEN, SELDOM = 3, 2  # times of one row, and of what takes many rows with it


class Breakages:
    """Breaks what is there, in the namespace of this thread."""

    def __init__(self, chance: Random, device: str = "plumb0") -> None:
        self._chance, self._device = chance, device
        self._broken: dict[str, deque[float]] = defaultdict(deque)

    def one(self) -> str:
        """Break something; in a word, what. Empty: nothing was left to break."""
        ways = [self._fdb, self._neighbour, self._nexthop, self._route, self._stranger, self._element, self._device_or_table]
        return self._chance.choices(ways, weights=(4, 4, 2, 4, 2, 2, 1))[0]()

    def _pick(self, listing: str, where: str = "") -> list[str]:
        """The words of one row that was not broken too often of late."""
        lines = [line for line in sh(listing).splitlines() if where in line]
        self._chance.shuffle(lines)
        return next((line.split() for line in lines if self._may(line.split()[0] + line.split()[1])), [])

    def _may(self, row: str, often: int = OFTEN) -> bool:
        now, times = time.monotonic(), self._broken[row]
        while times and now - times[0] > MEMORY:
            times.popleft()
        if len(times) >= often:
            return False
        times.append(now)
        return True

    def _fdb(self) -> str:
        words = self._pick(f"bridge fdb show dev {self._device}", " dst ")
        if not words:
            return ""
        what = self._chance.choice(["del {0} dev {1} dst {2} self", "replace {0} dev {1} dst 10.255.255.254 self permanent"])
        sh(f"bridge fdb {what.format(words[0], self._device, words[2])}")
        return "fdb"

    def _neighbour(self) -> str:
        words = self._pick(f"ip neigh show dev {self._device} nud permanent")
        if not words:
            return ""
        what = self._chance.choice(["del {0} dev {1}", "replace {0} lladdr 02:00:00:00:00:99 dev {1} nud permanent"])
        sh(f"ip neigh {what.format(words[0], self._device)}")
        return "neighbour"

    def _nexthop(self) -> str:
        words = self._pick("ip nexthop show protocol 94")
        if not words:
            return ""
        sh(f"ip nexthop del id {words[1]}")
        return "nexthop and its routes"

    def _route(self) -> str:
        six = self._chance.random() < 0.5
        words = self._pick(f"ip {'-6' if six else '-4'} route show proto 94", "/")
        if not words:
            return ""
        kind = "blackhole " if words[0] == "blackhole" else ""
        sh(f"ip route del {kind}{words[1 if kind else 0]} proto 94")
        return "route"

    def _stranger(self) -> str:
        """Rows of nobody's on a device of ours."""
        mac = f"02:99:00:00:{self._chance.randrange(256):02x}:{self._chance.randrange(256):02x}"
        sh(f"bridge fdb append {mac} dev {self._device} dst 10.255.255.253 self permanent")
        return "foreign fdb"

    def _element(self) -> str:
        if "plumbline-overlay" not in sh("nft list tables"):
            return ""
        addresses = re.findall(r"\d+\.\d+\.\d+\.\d+", sh("nft list set inet plumbline-overlay nodes"))
        address = next((one for one in self._chance.sample(addresses, len(addresses)) if self._may(f"element {one}")), "")
        if not address:
            return ""
        sh(f"nft 'delete element inet plumbline-overlay nodes {{ {address} }}'")
        return "nft element"

    def _device_or_table(self) -> str:
        ways = [
            ("mtu", f"ip link set {self._device} mtu 1300"),
            ("down", f"ip link set {self._device} down"),
            ("gone", f"ip link del {self._device}"),
            ("address", f"ip -4 addr flush dev {self._device}"),
            ("table", "nft delete table inet plumbline-overlay"),
            ("elements", "nft flush set inet plumbline-overlay nodes"),
            ("tables", "nft flush ruleset"),
        ]
        name, command = self._chance.choice(ways)
        needed = "plumbline-overlay" if "plumbline-overlay" in command else "plumbline" if command.startswith("nft") else ""
        if needed not in sh("nft list tables"):
            return ""
        if not self._may("device" if self._device in command else "table", SELDOM):
            return ""
        sh(command)
        return f"device or table: {name}"
