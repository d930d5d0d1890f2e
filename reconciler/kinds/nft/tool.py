"""What it means when nft does not answer."""

from __future__ import annotations

from reconciler.engine.reader import ObservationFailed


def has_no_netfilter(failure: ObservationFailed) -> bool:
    """Whether a kernel answers that it has no nftables: nothing of ours can be in it."""
    return "Protocol not supported" in str(failure)
