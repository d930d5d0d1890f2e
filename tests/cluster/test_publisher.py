"""What a node says of itself at the API: as little as it can, as itself, and without being in anybody's way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.cluster.access import Access
from reconciler.cluster.publisher import EVENTS, NODE_NETWORKS, ROLLED_BACK, Happening, Published, Publisher
from reconciler.cluster.transport import Api
from reconciler.daemon.publish import published
from reconciler.daemon.status import Status
from reconciler.engine.model import Refusal
from tests.api.rules import Asked, User
from tests.api.server import SmallApi
from tests.api.store import Refused, Thing
from tests.cluster.objects import node

ROOT = Path(__file__).parents[2]
CRD = yaml.safe_load((ROOT / "charts/plumbline/crds/nodenetworks.yaml").read_text())
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GOOD = Status("n1", "/etc/plumbline", digest="a" * 64, pending=False, converged=True)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2024, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Node:
    """A publisher, and what it left at the API."""

    def __init__(self, server: SmallApi, api: Api, name: str = "n1", **how: Any) -> None:
        self.server, self.name, self.clock, self.told = server, name, Clock(), list[str]()
        how = {"pause": 0.01, **how}
        self.publisher = Publisher(api, name, lambda what, why: self.told.append(why), clock=self.clock, **how)
        self.publisher.start()

    def say(self, status: Status) -> None:
        self.publisher.tell(published(status))

    @property
    def object(self) -> Thing:
        return self.server.get(f"{NODE_NETWORKS}/{self.name}") or {}

    @property
    def status(self) -> Thing:
        found: Thing = self.object.get("status", {})
        return found

    def condition(self, kind: str) -> Thing:
        return next((one for one in self.status.get("conditions", []) if one["type"] == kind), {})

    def until(self, condition: Callable[[], Any], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        with self.server.store.changed:
            while not condition():
                assert time.monotonic() < end, f"{self.object} {self.told}"
                self.server.store.changed.wait(0.02)


@pytest.fixture
def crd(server: SmallApi) -> SmallApi:
    server.kinds.define(CRD)
    server.put("/api/v1/nodes", node("n1"))
    return server


@pytest.fixture
def publish(server: SmallApi, api: Api) -> Iterator[Callable[..., Node]]:
    made: list[Node] = []

    def start(name: str = "n1", way: Api | None = None, **how: Any) -> Node:
        made.append(Node(server, way or api, name, **how))
        return made[-1]

    yield start
    for one in made:
        one.publisher.stop(seconds=10)
        assert not one.publisher._thread.is_alive()


def test_the_object_says_how_the_node_is(crd: SmallApi, publish: Callable[..., Node]) -> None:
    one = publish()
    one.say(GOOD._replace(found=3, repaired=2))
    one.until(lambda: one.status)
    assert one.object["metadata"]["ownerReferences"][0]["uid"] == (crd.get("/api/v1/nodes/n1") or {})["metadata"]["uid"], (
        "it goes with its Node"
    )
    assert (one.status["digest"], one.status["content"], one.status["source"]) == ("a" * 64, "a" * 12, "live")
    assert one.status["drift"] == {"found": 3, "repaired": 2}
    assert {each["type"]: each["status"] for each in one.status["conditions"]} == {
        "Ready": "True", "Converged": "True", "Accepted": "True", "RolledBack": "False",
    }  # fmt: skip
    one.say(GOOD._replace(problems=("network.yaml:3:1: fabrik: unknown key",), errors=("route 10.0.0.0/8: File exists",)))
    one.until(lambda: one.condition("Ready")["status"] == "False")
    assert one.condition("Accepted")["reason"] == "ContentInvalid"
    assert "fabrik" in one.condition("Accepted")["message"]
    assert one.status["lastError"] == "route 10.0.0.0/8: File exists"


def test_it_is_written_when_it_changes_and_never_else(crd: SmallApi, publish: Callable[..., Node]) -> None:
    one = publish()
    one.say(GOOD)
    one.until(lambda: one.status)
    one.clock.now += timedelta(minutes=1)
    for rounds in range(20):
        one.say(GOOD._replace(rounds=rounds))
    one.say(GOOD._replace(found=1))
    one.until(lambda: one.status["drift"]["found"] == 1)
    assert (crd.seen["patch nodenetworks"], crd.seen["patch nodenetworks/status"]) == (1, 2)
    assert one.condition("Ready")["lastTransitionTime"] == "2024-01-01T00:00:00Z", "only when its status changes"
    one.say(GOOD._replace(converged=False))
    one.until(lambda: one.condition("Ready")["status"] == "False")
    assert one.condition("Ready")["lastTransitionTime"] == "2024-01-01T00:01:00Z"
    assert one.condition("Accepted")["lastTransitionTime"] == "2024-01-01T00:00:00Z"


def test_a_restart_writes_nothing_that_is_there(crd: SmallApi, publish: Callable[..., Node]) -> None:
    one = publish()
    one.say(GOOD)
    one.until(lambda: one.status)
    before = one.object["metadata"]["resourceVersion"]
    one.publisher.stop(seconds=10)
    again = publish()
    again.clock.now += timedelta(hours=1)
    again.say(GOOD)
    again.say(GOOD._replace(found=1))
    again.until(lambda: again.status["drift"]["found"] == 1)
    assert int(again.object["metadata"]["resourceVersion"]) - int(before) == 1
    assert again.condition("Ready")["lastTransitionTime"] == "2024-01-01T00:00:00Z"


def test_it_ends_at_once_whenever_it_is_asked_to(crd: SmallApi, publish: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between hearing that there is news and taking it: what makes it hurry must not be taken for news."""
    one = publish(pause=3600)
    news = one.publisher._news

    def late() -> None:
        other = threading.Thread(target=one.publisher.stop, kwargs={"seconds": 0})
        other.start()
        other.join()
        threading.Event.clear(news)

    monkeypatch.setattr(news, "clear", late)
    news.set()
    one.publisher._thread.join(timeout=10)
    assert not one.publisher._thread.is_alive()


def test_an_object_that_somebody_removed_comes_again(crd: SmallApi, publish: Callable[..., Node]) -> None:
    one = publish()
    one.say(GOOD)
    one.until(lambda: one.status)
    crd.delete(f"{NODE_NETWORKS}/n1")
    one.say(GOOD._replace(found=1))
    one.until(lambda: one.status.get("drift") == {"found": 1, "repaired": 0})


def test_an_object_that_went_with_its_old_node_comes_again_though_nothing_changes(crd: SmallApi, publish: Callable[..., Node]) -> None:
    """A Node that is deleted and made anew has another UID: the garbage collector takes what belonged to the first."""
    one = publish(seldom=0.05)
    one.say(GOOD)
    one.until(lambda: one.status)
    crd.delete("/api/v1/nodes/n1")
    crd.put("/api/v1/nodes", node("n1"))
    crd.delete(f"{NODE_NETWORKS}/n1")

    def there() -> bool:
        one.say(GOOD)  # as after every round
        return bool(one.status)

    one.until(there)
    assert one.object["metadata"]["ownerReferences"][0]["uid"] == (crd.get("/api/v1/nodes/n1") or {})["metadata"]["uid"]


def test_an_object_is_of_the_node_that_is_there(crd: SmallApi, publish: Callable[..., Node]) -> None:
    """Without an owner nobody would ever remove it."""
    crd.delete("/api/v1/nodes/n1")
    one = publish()
    one.say(GOOD)
    one.until(lambda: one.told == ["there is no Node n1: what it says is written once there is one"])
    assert not one.object
    crd.put("/api/v1/nodes", node("n1"))
    one.until(lambda: one.status)
    first = one.object["metadata"]["ownerReferences"]
    one.publisher.stop(seconds=10)

    crd.delete("/api/v1/nodes/n1")
    crd.put("/api/v1/nodes", node("n1"))  # the kubelet is quicker than whoever takes away what the old one owned
    again = publish()
    again.say(GOOD)
    again.until(lambda: again.object["metadata"]["ownerReferences"] != first)
    (owner,) = again.object["metadata"]["ownerReferences"]
    assert owner["uid"] == (crd.get("/api/v1/nodes/n1") or {})["metadata"]["uid"]


def test_fields_that_somebody_else_applied_are_taken_back(crd: SmallApi, api: Api, publish: Callable[..., Node]) -> None:
    one = publish()
    one.say(GOOD)
    one.until(lambda: one.status)
    body = {
        "apiVersion": "plumbline.dev/v1alpha1",
        "kind": "NodeNetwork",
        "metadata": {"name": "n1"},
        "status": {"lastError": "somebody was here"},
    }
    api.send(
        "PATCH",
        f"{NODE_NETWORKS}/n1/status",
        body,
        query={"fieldManager": "somebody", "force": "true"},
        content="application/apply-patch+yaml",
    )
    one.say(GOOD._replace(found=1, errors=("x",)))
    one.until(lambda: one.status["lastError"] == "x")


def test_without_the_crd_it_is_said_once_and_nothing_waits(server: SmallApi, publish: Callable[..., Node]) -> None:
    server.put("/api/v1/nodes", node("n1"))
    one = publish(seldom=0.05)
    one.say(GOOD)
    one.until(lambda: one.told)
    for found in range(5):
        one.say(GOOD._replace(found=found))
    assert "is the CRD installed?" in one.told[0]
    assert len(one.told) == 1
    server.kinds.define(CRD)
    one.until(lambda: one.status.get("drift") == {"found": 4, "repaired": 0})
    one.until(lambda: one.told[1:] == [""])


def test_an_api_that_is_away_gets_the_newest_when_it_is_back(crd: SmallApi, publish: Callable[..., Node]) -> None:
    one = publish()
    with crd.down():
        for found in range(5):
            one.say(GOOD._replace(found=found))
        one.until(lambda: one.told)
    one.until(lambda: one.status.get("drift") == {"found": 4, "repaired": 0})


def refused(**more: Any) -> Status:
    return GOOD._replace(
        suspect=Refusal("it names none of the other 2 nodes any more (n2, n3)", ""), content="c" * 64, state="/var/lib/plumbline", **more
    )


def test_a_refusal_names_the_command_and_is_an_event(crd: SmallApi, publish: Callable[..., Node]) -> None:
    one = publish()
    one.say(refused())
    one.until(lambda: one.status)
    [refusal] = one.status["refusals"]
    assert refusal["what"] == "content"
    assert f"plumbline confirm {'c' * 64}" in refusal["confirm"]
    [event] = crd.things(EVENTS)
    assert (event["reason"], event["type"], event["regarding"]["name"]) == ("ContentRefused", "Warning", "n1")
    assert "plumbline confirm" in event["note"]
    for found in range(5):
        one.say(refused(found=found))
        one.until(lambda found=found: one.status["drift"]["found"] == found)  # type: ignore[misc]
    assert len(crd.things(EVENTS)) == 1
    assert "series" not in crd.things(EVENTS)[0], "it is still the same one"
    one.say(GOOD)
    one.until(lambda: not one.status["refusals"])
    one.say(refused())
    one.until(lambda: crd.things(EVENTS)[0].get("series", {}).get("count") == 2)
    assert len(crd.things(EVENTS)) == 1


def test_events_that_may_not_be_written_are_in_nobodys_way(crd: SmallApi, access: Access, publish: Callable[..., Node]) -> None:
    crd.users["admin"] = User("plumbline", {"": [{"verbs": ["*"], "apiGroups": ["plumbline.dev", ""], "resources": ["*"]}]})
    one = publish()
    one.say(refused())
    one.until(lambda: one.status)
    assert not crd.things(EVENTS)


def test_a_node_that_had_to_roll_back_is_found_by_its_label(crd: SmallApi, api: Api, publish: Callable[..., Node]) -> None:
    one = publish()
    one.say(GOOD._replace(rolled_back="b" * 64, converged=False))
    one.until(lambda: one.status)
    assert one.condition("RolledBack")["status"] == "True"
    found = api.get(NODE_NETWORKS, {"labelSelector": f"{ROLLED_BACK}={'b' * 32}"})["items"]
    assert [each["metadata"]["name"] for each in found] == ["n1"]
    assert {each["reason"] for each in crd.things(EVENTS)} == {"RolledBack"}
    one.say(GOOD)
    one.until(lambda: one.condition("RolledBack")["status"] == "False")
    assert ROLLED_BACK not in (one.object["metadata"].get("labels") or {})


def test_what_is_published_is_what_the_schema_allows(crd: SmallApi, publish: Callable[..., Node]) -> None:
    """Fields that a schema does not know are dropped without a word."""
    one = publish()
    status = refused(
        problems=("x" * 5000,),
        errors=("y" * 5000,),
        conflicts=("z",),
        refusal=Refusal("w", ""),
        plan="d" * 64,
        rolled_back="e" * 64,
        stale=True,
    )
    one.say(status)
    one.until(lambda: one.status)
    said = dict(published(status).status)
    conditions = [{name: value for name, value in each.items() if name != "lastTransitionTime"} for each in one.status["conditions"]]
    assert {**one.status, "conditions": conditions} == said


def claim(user: User, asked: Asked, thing: Thing) -> None:
    """What charts/plumbline/templates/node-claim.yaml says; tests/kube holds a real API to the file itself."""
    if asked.resource.startswith("nodenetworks") and user.node != thing["metadata"]["name"]:
        raise Refused(
            403,
            "Forbidden",
            f"a plumbline daemon writes the NodeNetwork of its own node only: this token is of a pod on node '{user.node}'",
        )


def test_a_node_cannot_write_for_another_one(crd: SmallApi, publish: Callable[..., Node]) -> None:
    crd.admission.append(claim)
    crd.users["admin"] = User("plumbline", None, node="n1")
    crd.put("/api/v1/nodes", node("n2"))
    mine, other = publish("n1"), publish("n2", seldom=60)
    mine.say(GOOD)
    mine.until(lambda: mine.status)
    other.say(GOOD)
    other.until(lambda: other.told)
    assert "a pod on node 'n1'" in other.told[0]
    assert not other.object


def test_happenings_are_told_apart_by_what_they_say() -> None:
    both = published(refused(conflicts=("route a", "route b")))
    assert sorted(one.reason for one in both.happenings) == ["Conflict", "Conflict", "ContentRefused"]
    assert Published({}, {}).happenings == frozenset()
    assert Happening("A", "b") == Happening("A", "b")
