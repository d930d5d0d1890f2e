"""Spec + facts + node → rows. A module here with a `rows` function is an intent; nothing else has to know of it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

from reconciler.engine.merge import Clash, merge
from reconciler.engine.model import Wanted
from reconciler.facts.model import Facts
from reconciler.kinds import all_kinds
from reconciler.spec.model import ClusterNetwork

Where = Callable[[tuple[str | int, ...]], str]  # path in the spec → "network.yaml:7", "" where nobody said it


class Context(NamedTuple):
    """All that an intent may know. Pure data; `node` is the node that the rows are for."""

    spec: ClusterNetwork
    facts: Facts
    node: str
    where: Where


class Compiled(NamedTuple):
    """What one node should hold, and the places where intents contradict each other."""

    wanted: Wanted
    clashes: list[Clash]


class IntentError(Exception):
    """The spec and the facts together leave no answer; says what is missing and where to say it."""


Intent = Callable[[Context], Iterable[Any]]


@cache
def all_intents() -> dict[str, Intent]:
    """Every intent by name, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module.rows for name, module in modules.items() if hasattr(module, "rows")}


def compile_node(context: Context) -> Compiled:
    """Every intent's rows for one node, merged. Raises IntentError."""
    rows = (row for intent in all_intents().values() for row in intent(context))
    return Compiled(*merge(all_kinds(), rows))
