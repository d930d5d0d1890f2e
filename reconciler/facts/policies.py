"""NetworkPolicies: read to say that nobody enforces them. plumbline does not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reconciler.facts.problem import SHOWN, problem_at
from reconciler.spec.load import Loaded
from reconciler.spec.problems import Problem

# networking.k8s.io, and policy.networking.k8s.io. Those of other groups came with whoever enforces them.
KINDS = frozenset({"NetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"})
_GROUPS = ("networking.k8s.io/", "policy.networking.k8s.io/")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def policies_of(objects: Iterable[tuple[Mapping[str, Any], str]]) -> tuple[str, ...]:
    """The policies among Kubernetes objects, by what people call them ("NetworkPolicy media/deny-all"), each once, in order."""
    found = set()
    for thing, _ in objects:
        if thing.get("kind") in KINDS and str(thing.get("apiVersion") or _GROUPS[0]).startswith(_GROUPS):
            found.add(_title(thing))
    return tuple(sorted(found))


def _title(thing: Mapping[str, Any]) -> str:
    metadata = thing.get("metadata")
    said = metadata if isinstance(metadata, Mapping) else {}
    name, namespace = said.get("name"), said.get("namespace")
    words = [word for word in (namespace, name) if isinstance(word, str) and _NAME.fullmatch(word)]
    return f"{thing['kind']} {'/'.join(words) or 'without a name'}"


def unenforced(loaded: Loaded, policies: Sequence[str], *, warning: bool = False) -> list[Problem]:
    """Policies that nobody enforces: whoever wrote them believes in a protection that is not there.

    `warning`: for the daemon, in whose way no tenant's object may stand.
    """
    if not policies or loaded.spec.policy == "external":
        return []
    one = len(policies) == 1
    more = "" if len(policies) <= SHOWN else f" and {len(policies) - SHOWN} more"
    what = f"{', '.join(policies[:SHOWN])}{more} {'is' if one else 'are'} in the cluster, and plumbline enforces no NetworkPolicy"
    remedy = f"say policy: external where another program on the nodes does, or delete {'it' if one else 'them'}"
    return [problem_at(loaded, ("policy",), what, remedy, warning=warning)]
