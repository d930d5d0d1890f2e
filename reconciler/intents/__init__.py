"""Spec + facts + node → rows. A module here with a `rows` function is an intent; nothing else has to know of it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import compress
from operator import is_not
from typing import Any, NamedTuple, TypeVar

from reconciler.engine.merge import Clash, merge
from reconciler.engine.model import Ref, Wanted
from reconciler.facts.model import Facts, Node
from reconciler.kinds import all_kinds
from reconciler.spec.model import ClusterNetwork

R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
Where = Callable[[tuple[str | int, ...]], str]  # path in the spec → "network.yaml:7", "" where nobody said it


class Memo:
    """Rows of peers that were made before of the very same things, so that one node that joins costs one node's rows.

    A compilation with one gives what it gives without. Who compiles again and again keeps it between.
    """

    def __init__(self) -> None:
        self._made: dict[str, tuple[Any, dict[str, tuple[Node, list[Any]]]]] = {}
        self._tables: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {}

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

    def table(self, what: str, local: T, things: tuple[S, ...], name: Callable[[S], str], make: Callable[[T, S], R]) -> Mapping[str, R]:
        """`make(local, thing)` of everything, by name and in its order: the very same values, and mapping, where it is as it was."""
        of, before, made = self._tables.get(what, (None, (), {}))
        if of != local or not self._tables.get(what):
            made = {name(thing): make(local, thing) for thing in things}
        elif len(before) == len(things):
            apart = compress(zip(before, things, strict=True), map(is_not, before, things))
            others = [(old, new) for old, new in apart if old != new]
            if others:
                alike = all(name(old) == name(new) for old, new in others)
                made = dict(made) if alike else self._by_name(before, made, local, things, name, make)
                if alike:
                    made.update((name(new), make(local, new)) for _, new in others)
        else:
            made = self._by_name(before, made, local, things, name, make)
        self._tables[what] = (local, things, made)
        return made

    @staticmethod
    def _by_name(
        before: tuple[S, ...], made: dict[str, R], local: T, things: tuple[S, ...], name: Callable[[S], str], make: Callable[[T, S], R]
    ) -> dict[str, R]:
        known = dict(zip(made, before, strict=True))
        found = {}
        for thing in things:
            key = name(thing)
            found[key] = made[key] if key in known and known[key] == thing else make(local, thing)
        return found


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
    withholds: Ref | None = None  # what is wanted, and must not be there yet

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
