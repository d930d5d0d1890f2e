"""What is not looked at again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from reconciler.engine.kind import Kind, Kinds
from reconciler.engine.looking import Looking, Nobody
from reconciler.engine.model import Wanted
from reconciler.engine.reader import ObservationFailed, Reader, Scope
from reconciler.kinds import all_kinds
from tests.laws.simulated import SimulatedNode

HERE = Scope(("",), Wanted())


def watched(kind: Kind[Any], looks: list[str], failing: set[str]) -> Kind[Any]:
    """The kind; that it was asked is noted."""

    class Watched(type(kind)):  # type: ignore[misc]
        def observe(self, io: Reader, scope: Scope) -> list[Any]:
            looks.append(self.name)
            if self.name in failing:
                raise ObservationFailed("no answer")
            return []

    return Watched()


class Looked:
    """Looks, with what the kernel told before each."""

    def __init__(self) -> None:
        self.looks: list[str] = []
        self.failing: set[str] = set()
        self._told: list[Collection[str] | None] = []
        kinds = Kinds(watched(kind, self.looks, self.failing) for kind in all_kinds().values())
        self.looking = Looking(kinds, SimulatedNode(), self)

    def mark(self) -> object:
        return len(self._told)

    def told(self, since: Any) -> Collection[str] | None:
        later = self._told[since:]
        return None if None in later else {name for told in later if told is not None for name in told}

    def __call__(self, scope: Scope = HERE, told: Collection[str] | None = frozenset()) -> set[str]:
        """The kinds that were looked at."""
        self.looks.clear()
        self._told.append(told)
        seen = self.looking.look(scope)
        assert list(seen) == list(all_kinds()), "all are there, whether looked at or not"
        return set(self.looks)


EVERY = set(all_kinds())
TOLD_OF = {"link", "address", "route", "rule", "neighbour", "fdb", "nexthop", "nft", "nft_element", "nft_rule"}


def test_only_what_the_kernel_told_of_and_what_it_never_tells_of() -> None:
    looked = Looked()
    assert looked() == EVERY, "the first time"
    assert looked() == EVERY - TOLD_OF
    assert looked(told={"route"}) == EVERY - TOLD_OF | {"route"}
    assert looked(told=None) == EVERY


@pytest.mark.parametrize("scope", [Scope(("", "pod"), Wanted()), Scope(("pod",), Wanted())])
def test_nobody_listens_in_other_namespaces(scope: Scope) -> None:
    looked = Looked()
    looked()
    assert looked(scope) == EVERY
    assert looked() == EVERY, "what was seen there was another place"


def test_what_could_not_be_seen_is_looked_at_again() -> None:
    looked = Looked()
    looked.failing.add("route")
    looked()
    assert "route" in looked()
    looked.failing.clear()
    assert "route" in looked()
    assert "route" not in looked()


def test_a_look_that_depends_on_what_is_wanted() -> None:
    looked = Looked()
    looked()
    wanted = Scope(("",), Wanted({"address": {("", "eth0", "10.0.0.1/24"): object()}, "route": {("", "main"): object()}}))
    assert looked(wanted) == EVERY - TOLD_OF | {"address"}
    assert looked(wanted) == EVERY - TOLD_OF


def test_a_look_that_was_broken_off_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = Looked()
    looked()

    def broken(io: Reader, scope: Scope) -> list[Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(looked.looking._kinds["sysctl"], "observe", broken)
        with pytest.raises(KeyboardInterrupt):
            looked(told={"route"})
    assert looked() == EVERY - TOLD_OF | {"route"}, "what was told before it is not forgotten"


def test_without_anybody_who_listens() -> None:
    looks: list[str] = []
    looking = Looking(Kinds(watched(kind, looks, set()) for kind in all_kinds().values()), SimulatedNode(), Nobody())
    looking.look(HERE)
    looks.clear()
    looking.look(HERE)
    assert set(looks) == EVERY
