"""Intent `sysctls`: kernel parameters said by name in network.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reconciler.engine.model import Origin
from reconciler.intents import Context
from reconciler.kinds.sysctl import sysctl


def rows(context: Context) -> Iterable[Any]:
    """One row per name that applies to this node."""
    for name, value in context.spec.sysctls.items():
        yield sysctl("", name, value)._replace(origin=(Origin("sysctls", name, context.where(("sysctls", name))),))
