"""What a chain of packet filter rules does with a pod's packet, as far as the rules tell. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

Network = IPv4Network | IPv6Network
DEEPEST = 16  # jumps, as in the kernel (NFT_JUMP_STACK_SIZE)


class Packet(NamedTuple):
    """The first packet of a connection between a pod here and a pod elsewhere. An empty device: not known."""

    source: Network
    destination: Network
    iif: str
    oif: str

    @property
    def family(self) -> int:
        return self.source.version


class Match(NamedTuple):
    """One condition. `field`: saddr, daddr, iifname, oifname, ctstate, family; anything else cannot be judged."""

    field: str
    values: tuple[str, ...] = ()
    negated: bool = False

    def holds(self, packet: Packet) -> bool | None:
        """None: for some packets of this sort it does, or nobody can tell."""
        found = self._holds(packet)
        return found if found is None or not self.negated else not found

    def _holds(self, packet: Packet) -> bool | None:
        if self.field == "family":
            return str(packet.family) in self.values
        if self.field == "ctstate":
            return "new" in {value.lower() for value in self.values}
        if self.field in ("iifname", "oifname"):
            dev = packet.iif if self.field == "iifname" else packet.oif
            return any(fnmatchcase(dev, value) for value in self.values) if dev else None
        if self.field in ("saddr", "daddr"):
            return _within(packet.source if self.field == "saddr" else packet.destination, self.values)
        return None


def _within(network: Network, values: Iterable[str]) -> bool | None:
    unsure = False
    for value in values:
        try:
            other = ip_network(value, strict=False)
        except ValueError:
            return None  # a range, or the name of a set
        if other.version == network.version:
            if network.subnet_of(other):  # type: ignore[arg-type]
                return True
            unsure = unsure or other.overlaps(network)
    return None if unsure else False


class Rule(NamedTuple):
    """Conditions, all of which must hold, and what happens then."""

    matches: tuple[Match, ...]
    verdict: str  # accept, drop, reject, return, jump, goto; "" goes on with the next rule
    target: str = ""  # of jump and goto

    def applies(self, packet: Packet) -> bool | None:
        found = [match.holds(packet) for match in self.matches]
        return False if False in found else None if None in found else True


class Fate(NamedTuple):
    """What a chain decided, and where."""

    verdict: str  # accept, drop, reject
    chain: str
    rule: int  # counted from 1; 0: the chain's policy

    @property
    def lost(self) -> bool:
        return self.verdict != "accept"


Chains = Callable[[str], Sequence[Rule]]  # a chain's rules by its name


def fate(chains: Chains, chain: str, policy: str, packet: Packet) -> Fate:
    """What a base chain does with every packet of a sort. Rules that hold for some of them only are passed by."""
    found = _walk(chains, chain, packet, 0)
    return found if found is not None else Fate(policy, chain, 0)


def _walk(chains: Chains, chain: str, packet: Packet, depth: int) -> Fate | None:
    if depth > DEEPEST:
        return None
    for number, rule in enumerate(chains(chain), 1):
        if not rule.applies(packet):
            continue
        if rule.verdict in ("accept", "drop", "reject"):
            return Fate(rule.verdict, chain, number)
        if rule.verdict == "return":
            return None
        if rule.verdict in ("jump", "goto"):
            found = _walk(chains, rule.target, packet, depth + 1)
            if found is not None or rule.verdict == "goto":
                return found
    return None
