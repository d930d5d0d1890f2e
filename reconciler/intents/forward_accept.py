"""Pods' packets past somebody else's FORWARD chain that drops; only where network.yaml says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.engine.model import Origin
from reconciler.kinds.nft_rule import NftRule, nft_rule


def forward_accept(pod_network: Iterable[str], origin: Origin) -> Iterator[NftRule]:
    """Two accepts per network at the head of iptables' FORWARD. A drop is final in nftables: only a rule before it helps."""
    for number, network in enumerate(sorted(pod_network)):
        family = "ip6" if ":" in network else "ip"
        for direction in ("saddr", "daddr"):
            rule = nft_rule("", family, "filter", "FORWARD", f"pods-{direction}-{number}", f"{family} {direction} {network} accept")
            yield rule._replace(origin=(origin,))
