"""What rows need, as values that are shared: ten thousand rows on one device need the same thing."""

from __future__ import annotations

from functools import lru_cache

from reconciler.engine.model import Ref


@lru_cache(maxsize=4096)
def on_link(netns: str, dev: str) -> tuple[Ref, ...]:
    """The device that a row hangs on; nothing for a row without one."""
    return (Ref("link", (netns, dev)),) if dev else ()
