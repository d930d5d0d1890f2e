"""Content that is valid and that nobody may have meant: it waits until a person confirms it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from reconciler.engine.guard import Limits
from reconciler.facts.model import Node
from reconciler.spec.cluster import Rollout
from reconciler.spec.partition import partition


class Inventory(Protocol):
    """What of some content tells which cluster it is for."""

    @property
    def name(self) -> str: ...
    @property
    def nodes(self) -> Collection[str]: ...
    @property
    def node(self) -> Node:
        """This one."""

    @property
    def pod_cidrs(self) -> Mapping[str, tuple[str, ...]]:
        """Of each node by its name."""

    @property
    def limits(self) -> Limits: ...
    @property
    def served(self) -> int | None:
        """How many services there are; None where nobody said."""

    @property
    def rollout(self) -> Rollout: ...
    @property
    def wire(self) -> Mapping[str, int]:
        """What goes over the wire, by its path in network.yaml."""


def suspicion(before: Inventory, now: Inventory, this: str) -> str:
    """Why `now` must not follow `before` without a person's word; empty when it may. `this` is this node's name."""
    reasons = []
    if now.name != before.name:
        reasons.append(f"metadata.name is {now.name}, and this node belongs to {before.name}")
    peers = set(before.nodes) - {this}
    gone = _gone(before, now, peers)
    if gone and len(gone) == len(peers):
        reasons.append(f"it names none of the other {len(peers)} nodes any more ({_some(gone)})")
    elif len(gone) > 1 and len(gone) > now.limits.share * len(peers):
        reasons.append(
            f"it leaves out {len(gone)} of the other {len(peers)} nodes ({_some(gone)}); limits.maxDeletes is {now.limits.share:.0%}"
        )
    reasons += _unfinished(before.node, now.node)
    if before.served and now.served == 0:
        reasons.append(f"it knows none of the {before.served} services any more, and every cluster has its own API's")
    if not now.rollout.allow_partition and (parted := partition(before.wire, now.wire)):
        reasons.append(f"{parted}; say rollout.allowPartition: true to have it all the same")
    return "; ".join(reasons)


def _gone(before: Inventory, now: Inventory, peers: set[str]) -> list[str]:
    """Nodes that are named no more. One whose pod CIDRs another name has now was renamed: what led to it stays."""
    missing = peers - set(now.nodes)
    if not missing:
        return []
    had, has = before.pod_cidrs, now.pod_cidrs
    new = {cidr for name in has.keys() - had.keys() for cidr in has[name]}
    return sorted(name for name in missing if not (cidrs := had.get(name)) or not new.issuperset(cidrs))


def _unfinished(before: Node, now: Node) -> list[str]:
    """A Node that is made anew gets its addresses and its pod CIDR some time later: that much is not known yet."""
    known = {
        "address": (", ".join(one.address for one in before.addresses), now.addresses),
        "pod CIDR": (", ".join(before.pod_cidrs), now.pod_cidrs),
    }
    return [f"node {now.name} has no {what} any more, and had {had}" for what, (had, has) in known.items() if had and not has]


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
