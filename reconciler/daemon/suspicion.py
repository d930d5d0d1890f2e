"""Content that is valid and that nobody may have meant: it waits until a person confirms it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from reconciler.engine.guard import Limits
from reconciler.spec.cluster import Rollout
from reconciler.spec.partition import partition


class Inventory(Protocol):
    """What of some content tells which cluster it is for."""

    @property
    def name(self) -> str: ...
    @property
    def nodes(self) -> Collection[str]: ...
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
    gone = sorted(peers - set(now.nodes))
    if gone and len(gone) == len(peers):
        reasons.append(f"it names none of the other {len(peers)} nodes any more ({_some(gone)})")
    elif len(gone) > 1 and len(gone) > now.limits.share * len(peers):
        reasons.append(
            f"it leaves out {len(gone)} of the other {len(peers)} nodes ({_some(gone)}); limits.maxDeletes is {now.limits.share:.0%}"
        )
    if before.served and now.served == 0:
        reasons.append(f"it knows none of the {before.served} services any more, and every cluster has its own API's")
    if not now.rollout.allow_partition and (parted := partition(before.wire, now.wire)):
        reasons.append(f"{parted}; say rollout.allowPartition: true to have it all the same")
    return "; ".join(reasons)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
