"""Spec + facts + node → rows. A module here with a `rows` function is an intent; nothing else has to know of it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
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


class Remark(NamedTuple):
    """Something that an intent leaves undone, and a person should know."""

    text: str
    where: str = ""
    error: bool = False  # a mistake that somebody must mend, of something that holds up nothing else

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


class Compiled(NamedTuple):
    """What one node should hold, where intents contradict each other, and what they leave undone."""

    wanted: Wanted
    clashes: list[Clash]
    remarks: list[Remark]


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
    remarks: list[Remark] = []

    def rows() -> Iterator[Any]:
        for intent in all_intents().values():
            for row in intent(context):
                if type(row) is Remark:
                    remarks.append(row)
                else:
                    yield row

    wanted, clashes = merge(all_kinds(), rows())
    return Compiled(wanted, clashes, remarks)
