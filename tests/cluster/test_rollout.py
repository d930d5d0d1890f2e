"""Whose turn it is, by Leases; and what another node had to undo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.cluster.publisher import NODE_NETWORKS, ROLLED_BACK
from reconciler.cluster.rollout import HELD, Rollout
from reconciler.cluster.transport import Api
from reconciler.spec.cluster import Rollout as Said
from tests.api.rules import User
from tests.api.server import SmallApi

ROOT = Path(__file__).parents[2]
DIGEST = "d" * 64
LEASES = "/apis/coordination.k8s.io/v1/namespaces/plumbline-system/leases"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def ask(api: Api, clock: Clock, name: str) -> Rollout:
    return Rollout(api, name, clock)


def test_one_after_the_other(server: SmallApi, api: Api, clock: Clock) -> None:
    first, second = ask(api, clock, "n1"), ask(api, clock, "n2")
    assert first.turn(1) == ""
    assert first.turn(1) == "", "it keeps its turn"
    assert second.turn(1) == "rollout.maxUnavailable: waits for n1"
    first.release()
    assert second.turn(1) == ""
    assert first.turn(1) == "rollout.maxUnavailable: waits for n2"
    assert len(server.things(LEASES)) == 1


def test_so_many_at_once(server: SmallApi, api: Api, clock: Clock) -> None:
    nodes = [ask(api, clock, f"n{number}") for number in range(6)]
    assert sum(not one.turn(3) for one in nodes) == 3
    assert sum(not one.turn(3) for one in nodes) == 3
    for one in nodes:
        one.release()
    assert sum(not one.turn(3) for one in reversed(nodes)) == 3


def test_the_quicker_one_of_two_gets_it(server: SmallApi, api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ask(api, clock, "n1"), ask(api, clock, "n2")
    assert first.turn(1) == ""
    first.release()
    asked = api.get

    def late(path: str, *args: Any, **how: Any) -> dict[str, Any]:
        """Between the look and the write somebody else takes it."""
        found = asked(path, *args, **how)
        monkeypatch.setattr(api, "get", asked)
        assert second.turn(1) == ""
        return found

    monkeypatch.setattr(api, "get", late)
    assert first.turn(1) == "rollout.maxUnavailable: waits for another node, which was quicker"


def test_a_node_that_says_nothing_more_keeps_its_turn_for_a_while_by_our_clock(server: SmallApi, api: Api, clock: Clock) -> None:
    first, second = ask(api, clock, "n1"), ask(api, clock, "n2")
    assert first.turn(1) == ""
    assert second.turn(1)
    clock.now += HELD - 1
    assert second.turn(1), "whatever the times in the lease say"
    assert first.turn(1) == ""
    clock.now += HELD - 1
    assert second.turn(1), "it was renewed"
    clock.now += HELD + 1
    assert second.turn(1) == ""
    assert first.turn(1) == "rollout.maxUnavailable: waits for n2"
    first.release()
    assert first.turn(1) == "rollout.maxUnavailable: waits for n2", "what is not one's own is not released"


def test_without_an_api_nothing_that_disturbs_begins(server: SmallApi, api: Api, clock: Clock) -> None:
    one = ask(api, clock, "n1")
    with server.down():
        assert "could not be asked" in one.turn(1)
        assert "could not be asked" in one.elsewhere(DIGEST)
        one.release()


def test_what_another_node_had_to_undo_is_not_begun(server: SmallApi, api: Api, clock: Clock) -> None:
    assert ask(api, clock, "n1").elsewhere(DIGEST) == "", "without the CRD nobody says so"
    server.kinds.define(yaml.safe_load((ROOT / "charts/plumbline/crds/nodenetworks.yaml").read_text()))
    one = ask(api, clock, "n1")
    assert one.elsewhere(DIGEST) == ""
    for name in ("n1", "n7"):
        server.put(NODE_NETWORKS, {"metadata": {"name": name, "labels": {ROLLED_BACK: DIGEST[:32]}}})
    assert one.elsewhere(DIGEST) == "", "asked a moment ago"
    clock.now += 11
    assert one.elsewhere(DIGEST) == "n7 had to undo it: kubectl get nodenetworks"
    assert one.elsewhere("e" * 64) == ""


def test_a_turn_ends_with_an_undoing_once_the_others_can_know(server: SmallApi, api: Api, clock: Clock) -> None:
    server.kinds.define(yaml.safe_load((ROOT / "charts/plumbline/crds/nodenetworks.yaml").read_text()))
    first, second = ask(api, clock, "n1"), ask(api, clock, "n2")
    assert first.turn(1) == second.elsewhere(DIGEST) == ""
    first.undone(DIGEST)
    for label in ("", "e" * 32):
        first.told(label)
        first.release()
        assert second.turn(1) == "rollout.maxUnavailable: waits for n1"
    server.put(NODE_NETWORKS, {"metadata": {"name": "n1", "labels": {ROLLED_BACK: DIGEST[:32]}}})
    first.told(DIGEST[:32])
    assert second.turn(1) == ""
    assert second.elsewhere(DIGEST) == "n1 had to undo it: kubectl get nodenetworks", "although it was asked a moment ago"
    second.release()
    assert first.turn(1) == ""
    first.told(DIGEST[:32])
    assert second.turn(1) == "rollout.maxUnavailable: waits for n1", "another turn, and nothing undone in it"


def test_a_turn_of_before_a_restart_is_given_on(server: SmallApi, api: Api, clock: Clock) -> None:
    """Killed in its turn: the one after it knows of nothing but what the Leases say."""
    nodes = [ask(api, clock, f"n{number}") for number in range(4)]
    assert sum(not one.turn(3) for one in nodes) == 3
    [waits] = [one for one in nodes if one.turn(3)]
    for number, one in enumerate(nodes):
        again = ask(api, clock, f"n{number}")
        again.recall(3)
        assert again.holds == one.holds
    again = ask(api, clock, "n0" if nodes[0] is not waits else "n1")
    with server.down():
        again.recall(3)
    assert again.holds == "", "it ends by itself"
    again.recall(3)
    again.release()
    assert waits.turn(3) == ""


def test_an_undoing_is_no_reason_to_end_a_turn_of_somebody_else(server: SmallApi, api: Api, clock: Clock) -> None:
    first, second = ask(api, clock, "n1"), ask(api, clock, "n2")
    assert second.turn(1) == ""
    first.undone(DIGEST)
    first.told(DIGEST[:32])
    assert first.turn(1) == "rollout.maxUnavailable: waits for n2"


def test_the_rights_that_the_chart_gives_do(server: SmallApi, api: Api, clock: Clock) -> None:
    rules = [{"verbs": ["get", "create", "update"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}]
    server.users["admin"] = User("plumbline", {"plumbline-system": rules})
    one = ask(api, clock, "n1")
    assert one.turn(1) == ""
    one.release()
    assert one.turn(1) == ""


@pytest.mark.parametrize(
    ("said", "nodes", "at_once"), [(None, 10, 0), (2, 10, 2), ("10%", 10, 1), ("10%", 25, 2), ("1%", 5, 1), ("100%", 5, 5)]
)
def test_a_share_of_the_nodes(said: int | str | None, nodes: int, at_once: int) -> None:
    assert Said(max_unavailable=said).at_once(nodes) == at_once
