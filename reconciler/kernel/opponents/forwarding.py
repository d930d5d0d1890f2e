"""Somebody's chain that drops what is forwarded between pods: a drop is final, whatever other chains accept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import NamedTuple

from reconciler.engine.reader import ObservationFailed, Reader, ToolMissing
from reconciler.kernel.opponents.legacy_chains import TABLES, legacy_filter
from reconciler.kernel.opponents.model import Opponent, unanswered
from reconciler.kernel.opponents.nft_chains import FAMILIES, BaseChain, Table, forward_chains
from reconciler.kernel.opponents.packets import Chains, Fate, Network, Packet, fate

_NETFILTER_IS_MISSING = "Protocol not supported"


class _Firewall(NamedTuple):
    """A program that is known by the chains that it makes."""

    name: str
    prefixes: tuple[str, ...]
    remedy: str  # {net} stands for each pod network


_ACCEPT = "iptables -I {chain} -s {net} -j ACCEPT && iptables -I {chain} -d {net} -j ACCEPT"
FIREWALLS = (
    _Firewall("ufw", ("ufw-", "ufw6-"), "ufw route allow from {net} && ufw route allow to {net}"),
    _Firewall("firewalld", ("filter_FORWARD",), "firewall-cmd --permanent --zone=trusted --add-source={net} && firewall-cmd --reload"),
    _Firewall("Docker", ("DOCKER",), _ACCEPT.replace("{chain}", "DOCKER-USER")),
    _Firewall("kube-router", ("KUBE-ROUTER", "KUBE-POD-FW", "KUBE-NWPLCY"), "see its network policies"),
    _Firewall("Calico", ("cali-",), "see its policies, or uninstall it"),
    _Firewall("Cilium", ("CILIUM_",), "see its policies, or uninstall it"),
    _Firewall("libvirt", ("LIBVIRT_", "guest_"), ""),
    _Firewall("kube-proxy", ("KUBE-",), ""),
)


class _Chain(NamedTuple):
    """A base chain of either sort, ready to be walked."""

    name: str  # "ip filter FORWARD", "iptables-legacy FORWARD"
    base: str
    policy: str
    chains: Chains
    siblings: tuple[str, ...]
    families: tuple[int, ...]
    accepted_by: str  # what lets a network pass; {net} stands for it
    legacy: bool = False


def forward_drops(io: Reader, packets: Sequence[Packet], accepted: Callable[[str, str, str], bool]) -> Iterator[Opponent]:
    """Chains that lose one of the packets; `accepted` says for which (family, table, chain) network.yaml asks for accepts."""
    for found in (_nft(io, accepted), _legacy(io)):
        yield from _judged(found, packets)


def _judged(found: Iterable[_Chain | Opponent], packets: Sequence[Packet]) -> Iterator[Opponent]:
    for chain in found:
        if isinstance(chain, Opponent):
            yield chain
            continue
        try:
            lost = [(packet, end) for packet in packets if packet.family in chain.families and (end := _end(chain, packet)).lost]
        except ObservationFailed as failure:
            yield unanswered(f"whether {chain.name} drops what is forwarded", failure)
            continue
        if lost:
            yield _told(chain, lost)


def _end(chain: _Chain, packet: Packet) -> Fate:
    return fate(chain.chains, chain.base, chain.policy, packet)


def _nft(io: Reader, accepted: Callable[[str, str, str], bool]) -> Iterator[_Chain | Opponent]:
    try:
        bases = forward_chains(io)
    except ToolMissing as missing:
        yield unanswered(
            "whether a firewall drops what is forwarded", missing, "install nftables (Debian, Ubuntu: apt-get install nftables)"
        )
        return
    except ObservationFailed as failure:
        if _NETFILTER_IS_MISSING not in str(failure):
            yield unanswered("whether a firewall drops what is forwarded", failure)
        return
    for base in bases:
        if not accepted(base.family, base.table, base.name):
            yield _Chain(str(base), base.name, base.policy, Table(io, base), base.siblings, FAMILIES[base.family], _accepts(base))


def _accepts(base: BaseChain) -> str:
    if (base.table, base.name) == ("filter", "FORWARD") and base.family != "inet":
        return "say fabric.forwardAccept: true"
    return " && ".join(f"nft insert rule {base} {{ip}} {side} {{net}} accept" for side in ("saddr", "daddr"))


def _legacy(io: Reader) -> Iterator[_Chain | Opponent]:
    for family, (_, tool) in TABLES.items():
        try:
            found = legacy_filter(io, family)
        except ObservationFailed as failure:
            yield unanswered(f"whether the old {tool} drops what is forwarded", failure)
            continue
        if found is not None:
            rules = found.chains
            yield _Chain(
                f"{tool}-legacy FORWARD", "FORWARD", found.policy, lambda name, rules=rules: rules.get(name, ()),  # type: ignore[misc]
                tuple(found.chains), (family,), _ACCEPT.replace("{chain}", "FORWARD"), legacy=True,
            )  # fmt: skip


def _told(chain: _Chain, lost: Sequence[tuple[Packet, Fate]]) -> Opponent:
    packet, end = lost[0]
    where = f"policy {end.verdict}" if end.rule == 0 else f"rule {end.rule} of {end.chain}: {end.verdict}"
    firewall = _whose(chain, end)
    networks = _widest(one for packet, _ in lost for one in (packet.source, packet.destination))
    ways = [firewall.remedy] if firewall and firewall.remedy else []
    if not ways or "{net}" not in chain.accepted_by:
        ways.append(chain.accepted_by)
    return Opponent(
        firewall.name if firewall else f"the chain {chain.name}",
        f"drops new connections from {packet.source} to {packet.destination} that this node forwards",
        f"{chain.name}: {where}",
        "; or ".join(_filled(way, networks, chain.legacy) for way in ways),
    )


def _widest(networks: Iterable[Network]) -> list[Network]:
    """Without those that another one covers."""
    found = set(networks)
    four = [one for one in found if isinstance(one, IPv4Network)]
    six = [one for one in found if isinstance(one, IPv6Network)]
    return [*collapse_addresses(four), *collapse_addresses(six)]


def _filled(way: str, networks: Iterable[Network], legacy: bool) -> str:
    """A way out, once for each network that it names."""
    if "{net}" not in way:
        return way
    done = []
    for net in networks:
        six = net.version == 6
        tool = ("ip6tables" if six else "iptables") + ("-legacy" if legacy else "")
        done.append(way.replace("iptables ", f"{tool} ").replace("{net}", str(net)).replace("{ip}", "ip6" if six else "ip"))
    return " && ".join(done)


def _whose(chain: _Chain, end: Fate) -> _Firewall | None:
    """By the chain that decided; a policy by the chains beside it."""
    asked = (end.chain,) if end.rule and end.chain != chain.base else chain.siblings
    return next((one for one in FIREWALLS if any(name.startswith(one.prefixes) for name in asked)), None)


def between(locals_: Iterable[Packet]) -> list[Packet]:
    """Each packet and the one that goes the other way."""
    return [each for one in locals_ for each in (one, Packet(one.destination, one.source, one.oif, one.iif))]
