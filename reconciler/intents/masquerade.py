"""Pods that talk to the world do so with their node's address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.engine.model import Origin
from reconciler.intents import Remark
from reconciler.kinds.nft import Nft, chain, nft

SRCNAT = 100  # NF_IP_PRI_NAT_SRC, include/uapi/linux/netfilter_ipv4.h


def masquerade(pod_network: Iterable[str], origin: Origin) -> Iterator[Nft | Remark]:
    """One table: source in the pod network, destination outside of it."""
    networks = sorted(pod_network)
    if not networks:
        yield Remark("fabric.masquerade needs fabric.podNetwork to know what is inside; pods reach nothing outside", origin.where)
        return
    rules = []
    for word, six in (("ip", False), ("ip6", True)):
        mine = [network for network in networks if (":" in network) is six]
        if mine:
            inside = mine[0] if len(mine) == 1 else "{ " + ", ".join(mine) + " }"
            rules.append(f"{word} saddr {inside} {word} daddr != {inside} masquerade")
    table = nft("", "inet", "plumbline", [chain("postrouting", *rules, type="nat", hook="postrouting", at=SRCNAT)])
    yield table._replace(origin=(origin,))
