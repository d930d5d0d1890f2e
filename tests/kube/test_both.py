"""What the small API does, a real one does: the same tests on both."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reconciler.cluster.publisher import EVENTS, NODE_NETWORKS, Publisher
from reconciler.cluster.reflector import Reflector, Resource, Timing
from reconciler.cluster.resources import nodes, pods
from reconciler.cluster.rollcall import rollcall
from reconciler.cluster.rollout import Rollout
from reconciler.cluster.transport import APPLY_PATCH, Api, Trouble
from reconciler.cluster.view import ClusterView
from reconciler.daemon.live import configmap
from reconciler.daemon.publish import published
from reconciler.daemon.status import Status
from reconciler.engine.model import Refusal
from reconciler.spec.load import load_text
from tests.cluster.objects import node, pod
from tests.kube.conftest import Ways

NODES = "/api/v1/nodes"
PODS = "/api/v1/namespaces/default/pods"
CONFIGMAPS = "/api/v1/namespaces/plumbline-system/configmaps"
TIMING = Timing(page=3, lasts=60, silence=100, first=0.05, most=0.5)
GOOD = Status("n", "/etc/plumbline", digest="a" * 64, pending=False, converged=True)


def name() -> str:
    """Of nobody else, as a real API is shared by all tests."""
    return f"n-{uuid.uuid4().hex[:8]}"


def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.02)


class Watched:
    def __init__(self, api: Api, resource: Resource[Any], version: str = "") -> None:
        self.changes, self.told = 0, list[str]()
        self.reflector: Reflector[Any] = Reflector(
            api, resource, self._changed, report=lambda name, why: self.told.append(why), timing=TIMING
        )
        self.reflector._version = version
        self.reflector.start()

    def _changed(self) -> None:
        self.changes += 1

    def known(self, key: str) -> Any:
        return next((one for one in self.reflector.known().values or () if getattr(one, "key", getattr(one, "name", "")) == key), None)


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def start(*words: Any, **more: Any) -> Watched:
        made.append(Watched(*words, **more))
        return made[-1]

    yield start
    for one in made:
        one.reflector.stop()
    for one in made:
        one.reflector.join(10)
        assert not one.reflector._thread.is_alive()


def test_a_list_in_pages_then_events_and_heartbeats_that_wake_nobody(cluster: Any, ways: Ways, watch: Callable[..., Watched]) -> None:
    names = [name() for _ in range(7)]
    for number, one in enumerate(names):
        cluster.put(NODES, node(one, f"10.0.1.{number + 1}", f"10.244.{number}.0/24"))
    seen = watch(ways.api(), nodes())
    until(lambda: all(seen.known(one) for one in names))
    before = seen.changes
    for beat in range(5):
        cluster.put(NODES, node(names[0], "10.0.1.1", "10.244.0.0/24", beat=beat + 1))
    cluster.put(NODES, node(names[1], "10.0.9.9", "10.244.1.0/24"))
    until(lambda: seen.known(names[1]).addresses[0].address == "10.0.9.9")
    assert seen.changes == before + 1
    cluster.delete(f"{NODES}/{names[2]}")
    until(lambda: seen.known(names[2]) is None)


def test_selectors(cluster: Any, ways: Ways, watch: Callable[..., Watched]) -> None:
    here, there, mine = name(), name(), name()
    labelled = watch(ways.api(), pods("labelled", ("a",), labels=f"of={mine}"))
    on = watch(ways.api(), pods("here", (), fields=f"spec.nodeName={mine}"))
    cluster.put(PODS, pod(here, node=mine, address="10.244.1.5"))
    cluster.put(PODS, pod(there, node="elsewhere", labels={"of": mine}, a="kept", b="not read"))
    until(lambda: on.known(f"default/{here}") and labelled.known(f"default/{there}"))
    assert on.known(f"default/{there}") is None
    assert labelled.known(f"default/{there}").annotations == {"a": "kept"}
    cluster.put(PODS, pod(there, node="elsewhere", labels={"of": "nobody"}))
    until(lambda: labelled.known(f"default/{there}") is None)
    cluster.delete(f"{PODS}/{here}")
    until(lambda: on.known(f"default/{here}") is None)


def test_an_api_that_goes_and_comes_loses_nothing(cluster: Any, ways: Ways, watch: Callable[..., Watched]) -> None:
    first, second = name(), name()
    cluster.put(NODES, node(first))
    seen = watch(ways.api(), nodes())
    until(lambda: seen.known(first))
    with cluster.down():
        until(lambda: seen.reflector.known().trouble)
        assert seen.known(first)
    cluster.put(NODES, node(second))
    until(lambda: seen.known(second) and not seen.reflector.known().trouble, 90)


@pytest.mark.parametrize("version", ["1", "99999999999"], ids=["too old", "of the future"])
def test_a_version_to_go_on_from_that_there_is_not(cluster: Any, ways: Ways, watch: Callable[..., Watched], version: str) -> None:
    one = name()
    cluster.put(NODES, node(one))
    if hasattr(cluster, "store"):
        cluster.store.compact(move_on=True)
    seen = watch(ways.api(), nodes(), version)
    until(lambda: seen.known(one))
    assert not seen.told, "that is no trouble, only a new list"


def test_a_configmap_by_its_name_alone(cluster: Any, ways: Ways, watch: Callable[..., Watched]) -> None:
    one = name()
    seen = watch(ways.api(), configmap(f"plumbline-system/{one}"))
    until(lambda: seen.reflector.known().values == ())
    cluster.put(CONFIGMAPS, {"metadata": {"name": one}, "data": {"network.yaml": "a: 1", "notes.txt": "x"}})
    until(lambda: seen.reflector.known().values == (((b"a: 1", "network.yaml"),),))
    with pytest.raises(Trouble) as refused:
        ways.api().send("POST", CONFIGMAPS, {"metadata": {"name": name()}, "data": {"network.yaml": "x" * (1 << 21)}})
    assert refused.value.status == 422
    cluster.delete(f"{CONFIGMAPS}/{one}")
    until(lambda: seen.reflector.known().values == ())


def test_the_rights_that_the_manifests_give_are_enough_for_what_the_daemon_watches(cluster: Any, ways: Ways) -> None:
    one = name()
    cluster.put(NODES, node(one))
    api = ways.api(cluster.daemon(one))
    view = ClusterView(api, one, lambda: None, timing=TIMING)
    try:
        view.select(load_text("apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nfabric: {}\nservices: {}\n").spec)
        until(lambda: all(watch.values is not None for watch in view.known()))
        uid = (cluster.get("/api/v1/namespaces/kube-system") or {})["metadata"]["uid"]
        assert view.view().cluster_id == uid
        assert not view.view().awaited
    finally:
        view.close()
    for path in ("/api/v1/secrets", CONFIGMAPS, PODS):
        with pytest.raises(Trouble) as refused:
            api.get(path)
        assert refused.value.status in (403, 404)


class Speaker:
    """A daemon of a node, as its service account."""

    def __init__(self, cluster: Any, ways: Ways, node_: str, token: str = "") -> None:
        self.cluster, self.node, self.told = cluster, node_, list[str]()
        self.publisher = Publisher(ways.api(token or cluster.daemon(node_)), node_, lambda what, why: self.told.append(why), pause=0.05)
        self.publisher.start()

    def say(self, status: Status) -> None:
        self.publisher.tell(published(status))

    @property
    def status(self) -> dict[str, Any]:
        said: dict[str, Any] = (self.cluster.get(f"{NODE_NETWORKS}/{self.node}") or {}).get("status", {})
        return said


@pytest.fixture
def speak(cluster: Any, ways: Ways) -> Iterator[Callable[..., Speaker]]:
    made: list[Speaker] = []

    def start(node_: str, token: str = "") -> Speaker:
        made.append(Speaker(cluster, ways, node_, token))
        return made[-1]

    yield start
    for one in made:
        one.publisher.stop(seconds=10)


def refused() -> Status:
    return GOOD._replace(
        suspect=Refusal("it names none of the other 2 nodes any more", ""), content="c" * 64, state="/var/lib/plumbline", refusal=Refusal("w", ""),
        plan="d" * 64, errors=("y" * 5000,), conflicts=("z",), rolled_back="e" * 64,
    )  # fmt: skip


def test_all_that_a_node_says_is_kept_as_it_says_it(cluster: Any, speak: Callable[..., Speaker]) -> None:
    """Fields that the schema does not know would be dropped, and values that it does not allow refused."""
    one = name()
    cluster.put(NODES, node(one))
    speaker = speak(one)
    speaker.say(refused())
    until(lambda: speaker.status or speaker.told)
    assert not speaker.told
    said = dict(published(refused()).status)
    kept = [{key: value for key, value in each.items() if key != "lastTransitionTime"} for each in speaker.status["conditions"]]
    assert {**speaker.status, "conditions": kept} == said
    uid = (cluster.get(f"{NODES}/{one}") or {})["metadata"]["uid"]
    assert (cluster.get(f"{NODE_NETWORKS}/{one}") or {})["metadata"]["ownerReferences"][0]["uid"] == uid
    events = [event for event in cluster.things(EVENTS) if event["regarding"]["name"] == one]
    assert sorted(event["reason"] for event in events) == ["Conflict", "ContentRefused", "PlanRefused", "RolledBack"]


def test_an_event_that_comes_again_counts_up(cluster: Any, speak: Callable[..., Speaker]) -> None:
    one = name()
    cluster.put(NODES, node(one))
    speaker = speak(one)

    def events() -> list[Any]:
        return [event for event in cluster.things(EVENTS) if event["regarding"]["name"] == one and event["reason"] == "Conflict"]

    for count in (1, 2, 3):
        speaker.say(GOOD._replace(conflicts=("z",)))
        until(lambda count=count: any(event.get("series", {}).get("count", 1) == count for event in events()))  # type: ignore[misc]
        speaker.say(GOOD._replace(found=count))
        until(lambda count=count: speaker.status.get("drift", {}).get("found") == count)  # type: ignore[misc]
    assert len(events()) == 1


def test_what_did_not_change_is_not_written(cluster: Any, speak: Callable[..., Speaker]) -> None:
    one = name()
    cluster.put(NODES, node(one))
    speaker = speak(one)
    speaker.say(GOOD)
    until(lambda: speaker.status)
    before = (cluster.get(f"{NODE_NETWORKS}/{one}") or {})["metadata"]["resourceVersion"]
    speaker.publisher.stop(seconds=10)
    again = speak(one)
    for rounds in range(5):
        again.say(GOOD._replace(rounds=rounds))
    until(lambda: again.publisher._there is not None)
    assert (cluster.get(f"{NODE_NETWORKS}/{one}") or {})["metadata"]["resourceVersion"] == before


def test_a_node_writes_for_itself_and_for_nobody_else(cluster: Any, ways: Ways, speak: Callable[..., Speaker]) -> None:
    one, other = name(), name()
    for each in (one, other):
        cluster.put(NODES, node(each))
    token = cluster.daemon(one)
    mine = speak(one, token)
    mine.say(GOOD)
    until(lambda: mine.status)
    foreign = speak(other, token)
    foreign.say(GOOD)
    until(lambda: foreign.told)
    assert one in foreign.told[0]
    assert not foreign.status
    theirs = speak(other)
    theirs.say(GOOD)
    until(lambda: theirs.status)
    body, api = (
        {"apiVersion": "plumbline.dev/v1alpha1", "kind": "NodeNetwork", "metadata": {"name": other}, "status": {"lastError": "x"}},
        ways.api(token),
    )
    with pytest.raises(Trouble) as refused_:
        api.send("PATCH", f"{NODE_NETWORKS}/{other}/status", body, query={"fieldManager": "p", "force": "true"}, content=APPLY_PATCH)
    assert refused_.value.status == 403
    event = next(found for found in speaker_events(cluster, mine, api) if found["regarding"]["name"] == one)
    for regarding, allowed in ((one, True), (other, False)):
        named = {"name": f"{name()}.{uuid.uuid4().hex}", "namespace": "default"}
        body = {**event, "metadata": named, "regarding": {**event["regarding"], "name": regarding}}
        if allowed:
            api.send("POST", EVENTS, body)
            continue
        with pytest.raises(Trouble, match=f"a pod on node '{one}'"):
            api.send("POST", EVENTS, body)


def speaker_events(cluster: Any, speaker: Speaker, api: Api) -> list[Any]:
    """What it said about its own node."""
    speaker.say(GOOD._replace(conflicts=("z",), found=9))
    until(lambda: speaker.status.get("drift", {}).get("found") == 9)
    return list(cluster.things(EVENTS))


def test_a_field_of_somebody_else_is_a_conflict_until_it_is_forced(cluster: Any, ways: Ways) -> None:
    one, api = name(), ways.api()

    def send(manager: str, text: str, force: str = "false") -> None:
        body = {"apiVersion": "plumbline.dev/v1alpha1", "kind": "NodeNetwork", "metadata": {"name": one, "labels": {"a": text}}}
        api.send("PATCH", f"{NODE_NETWORKS}/{one}", body, query={"fieldManager": manager, "force": force}, content=APPLY_PATCH)

    send("first", "x")
    with pytest.raises(Trouble) as conflict:
        send("second", "y")
    assert conflict.value.status == 409
    assert '"first"' in str(conflict.value)
    send("second", "y", "true")
    assert (cluster.get(f"{NODE_NETWORKS}/{one}") or {})["metadata"]["labels"]["a"] == "y"


def test_turns_by_leases_with_the_rights_that_the_manifests_give(cluster: Any, ways: Ways) -> None:
    one, other = name(), name()
    for each in (one, other):
        cluster.put(NODES, node(each))
    first, second = (Rollout(ways.api(cluster.daemon(each)), each) for each in (one, other))
    assert first.turn(1) == ""
    assert second.turn(1) == f"rollout.maxUnavailable: waits for {one}"
    first.release()
    assert second.turn(1) == ""
    second.release()


def test_what_another_node_had_to_undo_is_found(cluster: Any, ways: Ways, speak: Callable[..., Speaker]) -> None:
    one, other = name(), name()
    for each in (one, other):
        cluster.put(NODES, node(each))
    digest = uuid.uuid4().hex * 2
    speaker = speak(one)
    speaker.say(GOOD._replace(rolled_back=digest))
    until(lambda: speaker.status)
    api = ways.api(cluster.daemon(other))
    assert Rollout(api, other).elsewhere(digest) == f"{one} had to undo it: kubectl get nodenetworks"
    assert Rollout(api, one).elsewhere(digest) == ""
    assert Rollout(api, other).elsewhere("f" * 64) == ""


def test_a_rollcall(cluster: Any, ways: Ways, speak: Callable[..., Speaker]) -> None:
    one, other = name(), name()
    for each in (one, other):
        cluster.put(NODES, node(each))
    speaker = speak(one)
    speaker.say(GOOD)
    until(lambda: speaker.status)
    found = {each.node: each for each in rollcall(ways.api())}
    assert found[one].has("a" * 64)
    assert not found[other].ready
