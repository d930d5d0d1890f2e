"""network.yaml as it changes over the years, in minutes: nodes come, go and move, settings change, mistakes are made."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

NODES = (6, 30)  # fewest and most
ROOM = 200  # names, addresses and pod CIDRs that are used in turn: what the daemon remembers of each is known once all were there


class _Node(NamedTuple):
    pods: int  # number of its pod CIDRs
    address: int
    direct: bool

    def __str__(self) -> str:
        return (
            f"{{address: 10.1.0.{self.address}/8, podCIDRs: [100.65.{self.pods}.0/24, "
            f'"fd64:0:0:{self.pods + 1:x}::/64"], directRouting: {str(self.direct).lower()}}}'
        )


class Content:
    """The file as it is; `edit` changes one thing, as one commit would."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._number = self._mistakes = 0
        self._nodes: list[_Node] = []
        self._mtu, self._ttl, self._nowhere = "auto", 64, 0
        self._masquerade = self._filter = True
        for _ in range(12):
            self._join()

    @property
    def text(self) -> str:
        nodes = "".join(f"  m{node.pods}: {node}\n" for node in self._nodes)
        return (
            "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nlimits: {maxDeletes: 100%}\n"
            f'nodes:\n  n0: {{address: 10.0.0.1/8, podCIDRs: [100.64.0.0/24, "fd64:0:0:1::/64"]}}\n{nodes}'
            f'fabric:\n  podNetwork: [100.64.0.0/10, "fd64::/32"]\n  masquerade: {str(self._masquerade).lower()}\n'
            f"  overlay: {{mtu: {self._mtu}, ttl: {self._ttl}, onlyFromNodes: {str(self._filter).lower()}}}\n"
            f"cni: {{}}\nresources:\n  route:\n    nowhere: {{dst: 198.51.100.{self._nowhere}/32, type: blackhole}}\n"
        )

    def edit(self) -> str:
        """What was done, in a word."""
        return self._chance.choice([self._join, self._join, self._leave, self._move, self._set])()

    def _free(self) -> int:
        """The next number that no node has."""
        taken = {number for node in self._nodes for number in (node.pods, node.address)}
        while (free := self._number % ROOM + 1) in taken:
            self._number = free
        self._number = free
        return free

    def _join(self) -> str:
        if len(self._nodes) >= NODES[1]:
            return self._leave()
        number = self._free()
        self._nodes.append(_Node(number, number, self._chance.random() < 0.3))
        return "a node joins"

    def _leave(self) -> str:
        if len(self._nodes) <= NODES[0]:
            return self._join()
        self._nodes.remove(self._chance.choice(self._nodes))
        return "a node leaves"

    def _move(self) -> str:
        at = self._chance.randrange(len(self._nodes))
        self._nodes[at] = self._nodes[at]._replace(address=self._free())
        return "a node moves"

    def _set(self) -> str:
        match self._chance.randrange(5):
            case 0:
                self._mtu = "1400" if self._mtu == "auto" else "auto"
            case 1:
                self._ttl = self._ttl % 255 + 1
            case 2:
                self._masquerade = not self._masquerade
            case 3:
                self._filter = not self._filter
            case _:
                self._nowhere = (self._nowhere + 1) % 256
        return "a setting changes"

    def broken(self) -> str:
        """The file with a mistake in it, another one each time."""
        self._mistakes += 1
        wrong = self._chance.choice(["kind: Cluster", "kind: [", "kinds: ClusterNetwork"])
        return self.text.replace("kind: ClusterNetwork", f"{wrong} # {self._mistakes}")
