"""What a fault is to the table: something that lasts for a while, and counts how often it struck."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from reconciler.kernel.node import KernelNode
from tests.faults.scenarios import Scenario

EVERY_KIND = frozenset({"sysctl", "link", "address", "fdb", "neighbour", "nexthop", "route", "nft", "file"})


class Site(NamedTuple):
    """Where a scenario plays: a namespace (this thread's), and folders of its own."""

    scenario: Scenario
    folder: Path
    root: Path  # stands for / in `file` rows


class Strike:
    """A fault while it lasts: the node that meets it, and how often it struck."""

    def __init__(self, node: KernelNode, used: Callable[[], int], kept: Callable[[], str] = lambda: "") -> None:
        self.node = node
        self.used = used
        self.kept = kept  # what is wrong with things that the fault itself planted as somebody else's; empty: nothing


class Fault(NamedTuple):
    """One column of the table. It meets those scenarios that change rows of one of the kinds in `meets`."""

    name: str
    begin: Callable[[Site], AbstractContextManager[Strike]]
    meets: frozenset[str] = EVERY_KIND
    scenarios: tuple[str, ...] = ()  # only these; empty: all that it meets

    def __str__(self) -> str:
        return self.name

    def concerns(self, scenario: Scenario) -> bool:
        return bool(self.meets & scenario.changes) and (not self.scenarios or scenario.name in self.scenarios)
