"""Spec + facts + node → rows. A module here with a `rows` function is an intent; nothing else has to know of it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple, TypeVar

from reconciler.engine.merge import Clash, merge
from reconciler.engine.model import Wanted
from reconciler.facts.model import Facts, Node
from reconciler.kinds import all_kinds
from reconciler.spec.model import ClusterNetwork

T = TypeVar("T")
Where = Callable[[tuple[str | int, ...]], str]  # path in the spec → "network.yaml:7", "" where nobody said it


class Memo:
    """Rows of peers that were made before of the very same things, so that one node that joins costs one node's rows.

    A compilation with one gives what it gives without. Who compiles again and again keeps it between.
    """

    def __init__(self) -> None:
        self._made: dict[str, tuple[Any, dict[str, tuple[Node, list[Any]]]]] = {}

    def each(self, intent: str, local: T, peers: Iterable[Node], make: Callable[[T, Node], list[Any]]) -> Iterator[Any]:
        """`make(local, peer)` of every peer, in their order."""
        of, before = self._made.get(intent, (None, {}))
        if of != local:
            before = {}
        now: dict[str, tuple[Node, list[Any]]] = {}
        for peer in peers:
            known = before.get(peer.name)
            if known is None or (known[0] is not peer and known[0] != peer):
                known = (peer, make(local, peer))
            now[peer.name] = known
            yield from known[1]
        self._made[intent] = (local, now)


class Context(NamedTuple):
    """All that an intent may know. Pure data; `node` is the node that the rows are for."""

    spec: ClusterNetwork
    facts: Facts
    node: str
    where: Where
    memo: Memo | None = None


class Remark(NamedTuple):
    """Something that an intent leaves undone, and a person should know."""

    text: str
    where: str = ""
    error: bool = False  # a mistake that somebody must mend, of something that holds up nothing else
    awaited: bool = False  # what is missing comes by itself, and with it an interface

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
