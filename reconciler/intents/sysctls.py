"""Intent `sysctls`: kernel parameters said by name in network.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reconciler.engine.model import Origin
from reconciler.intents import Context
from reconciler.intents.selector import selected
from reconciler.kinds.sysctl import sysctl
from reconciler.spec.model import SysctlSpec


def rows(context: Context) -> Iterable[Any]:
    """One row per name that applies to this node."""
    for name, said in context.spec.sysctls.items():
        value = said.value if isinstance(said, SysctlSpec) else said
        if isinstance(said, SysctlSpec) and not selected(context, said.node_selector):
            continue
        words = " ".join(str(part) for part in value) if isinstance(value, list) else value
        yield sysctl("", name, words)._replace(origin=(Origin("sysctls", name, context.where(("sysctls", name))),))
