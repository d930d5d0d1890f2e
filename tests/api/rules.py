"""Who may do what: RBAC rules as a Role states them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Rule = Mapping[str, Sequence[str]]


class Asked(NamedTuple):
    """One request, as authorisation sees it."""

    verb: str
    group: str
    resource: str  # "nodenetworks/status"
    namespace: str = ""
    name: str = ""  # of the object, or what a field selector narrows a list or watch down to


class User(NamedTuple):
    """Whoever a token stands for. `rules` by namespace; "" is the whole cluster. None: may do everything."""

    name: str
    rules: Mapping[str, Sequence[Rule]] | None = None
    node: str = ""  # the node claim of the token, authentication.kubernetes.io/node-name


def allowed(user: User, asked: Asked) -> bool:
    if user.rules is None:
        return True
    rules = [*user.rules.get("", ()), *(user.rules.get(asked.namespace, ()) if asked.namespace else ())]
    return any(_allows(rule, asked) for rule in rules)


def _allows(rule: Rule, asked: Asked) -> bool:
    names = rule.get("resourceNames") or ()
    return (
        _among(asked.verb, rule.get("verbs", ()))
        and _among(asked.group, rule.get("apiGroups", ()))
        and _among(asked.resource, rule.get("resources", ()))
        and (not names or (asked.name in names and asked.verb != "create"))
    )


def _among(word: str, said: Sequence[Any]) -> bool:
    return "*" in said or word in said
