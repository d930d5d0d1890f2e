"""What it means when nft does not answer."""

from __future__ import annotations

from reconciler.engine.kind import ObservationFailed, ToolMissing


def holds_nothing_for_us(failure: ObservationFailed) -> bool:
    """Whether a node on which nothing is wanted of nft can go without an answer.

    Without the tool the answer is "nothing that we could remove" and not
    "nothing there": no line is planned from it, and whoever wants a table is
    told what to install. A kernel without netfilter holds none.
    """
    return isinstance(failure, ToolMissing) or "Protocol not supported" in str(failure)
