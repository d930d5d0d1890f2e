"""What a fault is to the table: something that lasts for a while, and counts how often it struck."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.engine.round import Result
from reconciler.kernel.node import KernelNode
from tests.faults.scenarios import Scenario

EVERY_KIND = frozenset({"sysctl", "link", "address", "fdb", "neighbour", "nexthop", "route", "nft", "file"})


class Site(NamedTuple):
    """Where a scenario plays: a namespace (this thread's), and folders of its own."""

    scenario: Scenario
    folder: Path
    root: Path  # stands for / in `file` rows


def _nothing() -> str:
    return ""


class Strike(NamedTuple):
    """A fault while it lasts: the node that meets it, and how often it struck, by itself or by what was told of the round."""

    node: KernelNode
    used: Callable[[Result], int]
    theirs: Callable[[], str] = _nothing  # what the fault itself left as somebody else's, as it was and as it is, if that differs
    also: tuple[Any, ...] = ()  # rows that are wanted while it lasts


class Fault(NamedTuple):
    """One column of the table. It meets those scenarios that change rows of one of the kinds in `meets`."""

    name: str
    begin: Callable[[Site], AbstractContextManager[Strike]]
    meets: frozenset[str] = EVERY_KIND
    scenarios: tuple[str, ...] = ()  # only these; empty: all that it meets
    prepare: Callable[[Path], None] | None = None  # what it needs before anything stands in the folder that is the node's root

    def __str__(self) -> str:
        return self.name

    def concerns(self, scenario: Scenario) -> bool:
        if self.scenarios or scenario.special:
            return scenario.name in self.scenarios
        return bool(self.meets & scenario.changes)
