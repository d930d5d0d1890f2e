"""What a round asks of the other nodes before it runs, and tells them afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.daemon import turns
from reconciler.daemon.turns import Standing, Turns
from reconciler.engine.round import nothing_first
from reconciler.spec.cluster import Rollout
from tests.daemon.made import HOST

ONE = Rollout.model_validate({"maxUnavailable": 1})
PLAN: Any = None  # whether it disturbs is said by the fixture


class Others:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.holds = ""
        self.waits, self.said = "", ""

    def elsewhere(self, digest: str) -> str:
        return self.said

    def turn(self, at_once: int) -> str:
        return self.waits

    def release(self) -> None:
        self.heard.append("release")

    def recall(self, at_once: int) -> None:
        self.heard.append(f"recall {at_once}")

    def undone(self, digest: str) -> None:
        self.heard.append(f"undone {digest}")


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Others:
    monkeypatch.setattr(turns, "disturbs", lambda plan, seen, host: True)
    return Others()


def test_what_another_node_had_to_undo_while_this_one_waited_is_not_begun(others: Others) -> None:
    asked = Turns(others).before("d", ONE, 3, HOST, nothing_first)
    others.waits = "waits for n1"
    assert asked(PLAN, PLAN) == "waits for n1"
    others.waits, others.said = "", "n1 had to undo it"
    assert asked(PLAN, PLAN) == "n1 had to undo it"
    assert others.heard == ["release"], "nor does it keep the turn from those that repair"


def test_what_was_in_place_here_before_is_repaired_whatever_became_of_it_elsewhere(others: Others) -> None:
    one = Turns(others)
    one.after("d", converged=True)
    others.said = "n1 had to undo it"
    assert one.before("d", ONE, 3, HOST, nothing_first)(PLAN, PLAN) == ""
    assert one.before("e", ONE, 3, HOST, nothing_first)(PLAN, PLAN) == "n1 had to undo it"


def test_a_turn_is_given_on_when_nothing_is_left_and_after_an_undoing(others: Others) -> None:
    one = Turns(others)
    one.after("d", converged=False)
    assert others.heard == [], "nobody waits for anybody"
    one.before("d", ONE, 3, HOST, nothing_first)
    one.after("d", converged=False)
    one.after("d", converged=False, undone="d")
    one.after("c", converged=True, undone="d")
    one.after("e", converged=True)
    assert others.heard == ["recall 1", "undone d", "undone d", "release"]


def test_where_it_stands(others: Others) -> None:
    one = Turns(others)
    assert one.standing == Standing()
    others.waits = "waits for n1"
    one.before("d", ONE, 3, HOST, nothing_first)(PLAN, PLAN)
    assert one.standing == Standing(1, "", "waits for n1")
    others.waits, others.holds = "", "plumbline-rollout-0"
    one.begin()
    one.before("d", ONE, 3, HOST, nothing_first)(PLAN, PLAN)
    assert one.standing == Standing(1, "plumbline-rollout-0", "")


def test_newer_content_that_waits_stops_no_repair_of_what_is_in_force(others: Others) -> None:
    one = Turns(others)
    one.after("d", converged=True)
    others.said = "n1 had to undo it"
    assert one.elsewhere("e") == "n1 had to undo it"
    assert one.before("d", ONE, 3, HOST, nothing_first)(PLAN, PLAN) == ""
    assert one.standing.waits == "n1 had to undo it", "and is told all the same"
