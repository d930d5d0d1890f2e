"""network.yaml as it changes over the years, in minutes: nodes come, go and move, settings change, mistakes are made."""

from __future__ import annotations

from random import Random

NODES = (6, 30)  # fewest and most
ROOM = 1 << 14  # names, addresses and pod CIDRs that are used in turn: what is remembered of each forever adds up


class Content:
    """The file as it is; `edit` changes one thing, as one commit would."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._number = 1
        self._nodes: dict[str, str] = {}
        self._mtu, self._ttl, self._backlog = "auto", 64, 0
        self._masquerade = self._filter = True
        for _ in range(12):
            self._join()

    @property
    def text(self) -> str:
        nodes = "".join(f"  {name}: {said}\n" for name, said in self._nodes.items())
        return (
            "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nlimits: {maxDeletes: 100%}\n"
            f'nodes:\n  n0: {{address: 10.0.0.1/8, podCIDRs: [100.64.0.0/24, "fd64:0:0:1::/64"]}}\n{nodes}'
            f'fabric:\n  podNetwork: [100.64.0.0/10, "fd64::/32"]\n  masquerade: {str(self._masquerade).lower()}\n'
            f"  overlay: {{mtu: {self._mtu}, ttl: {self._ttl}, onlyFromNodes: {str(self._filter).lower()}}}\n"
            f"cni: {{}}\nresources:\n  route:\n    nowhere: {{dst: 198.51.100.{self._backlog}/32, type: blackhole}}\n"
        )

    def edit(self) -> str:
        """What was done, in a word."""
        return self._chance.choice([self._join, self._join, self._leave, self._move, self._set])()

    def _join(self) -> str:
        if len(self._nodes) >= NODES[1]:
            return self._leave()
        self._number = self._number % ROOM + 1
        number, direct = self._number, str(self._chance.random() < 0.3).lower()
        self._nodes[f"m{number}"] = (
            f"{{address: {self._address()}/8, podCIDRs: [100.{65 + (number >> 8)}.{number & 255}.0/24, "
            f'"fd64:0:0:{number + 1:x}::/64"], directRouting: {direct}}}'
        )
        return "a node joins"

    def _address(self) -> str:
        return f"10.{self._chance.randint(1, 250)}.{self._number >> 8}.{self._number & 255}"

    def _leave(self) -> str:
        if len(self._nodes) <= NODES[0]:
            return self._join()
        del self._nodes[self._chance.choice(list(self._nodes))]
        return "a node leaves"

    def _move(self) -> str:
        name = self._chance.choice(list(self._nodes))
        _, comma, rest = self._nodes[name].partition(",")
        self._number = self._number % ROOM + 1
        self._nodes[name] = f"{{address: {self._address()}/8{comma}{rest}"
        return "a node moves"

    def _set(self) -> str:
        match self._chance.randrange(5):
            case 0:
                self._mtu = "1400" if self._mtu == "auto" else "auto"
            case 1:
                self._ttl = self._chance.randint(1, 255)
            case 2:
                self._masquerade = not self._masquerade
            case 3:
                self._filter = not self._filter
            case _:
                self._backlog = (self._backlog + 1) % 256
        return "a setting changes"

    def broken(self) -> str:
        """The file with a mistake in it."""
        return self.text.replace("kind: ClusterNetwork", self._chance.choice(["kind: Cluster", "kind: [", "kinds: ClusterNetwork"]))
