"""What the chart lets the daemon do at the API: enough for it, and nothing that it does not ask for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import yaml

from reconciler.cluster.access import Access
from reconciler.cluster.publisher import EVENTS, NODE_NETWORKS, Publisher
from reconciler.cluster.reflector import Reflector
from reconciler.cluster.rollout import Rollout
from reconciler.cluster.transport import Api
from reconciler.cluster.view import ClusterView
from reconciler.daemon.live import configmap
from reconciler.daemon.publish import published
from reconciler.daemon.status import Status
from reconciler.spec.load import load_texts
from tests.api import server as small
from tests.api.rules import Asked, User, allowed
from tests.api.server import SmallApi
from tests.charts.manifests import CHART, DEPLOY, objects, template
from tests.cluster.objects import node

CRD = yaml.safe_load((CHART / "crds" / "nodenetworks.yaml").read_text())
SPEC = "apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nservices: {}\n"
BAD = Status("n1", "/etc/plumbline", digest="a" * 64, conflicts=("link plumb0: is somebody else's",))


def rules_of(things: list[dict[str, Any]]) -> dict[str, list[Mapping[str, Sequence[str]]]]:
    """By namespace, "" for the whole cluster, as the bindings give them to the daemon."""
    found: dict[str, list[Mapping[str, Sequence[str]]]] = {}
    for one in things:
        if one["kind"] in ("Role", "ClusterRole"):
            found.setdefault(one["metadata"].get("namespace", ""), []).extend(one["rules"])
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, Asked]]:
    """Every request that was judged, and how."""
    judged: list[tuple[bool, Asked]] = []

    def judge(user: User, one: Asked) -> bool:
        judged.append((allowed(user, one), one))
        return judged[-1][0]

    monkeypatch.setattr(small, "allowed", judge)
    return judged


@pytest.fixture
def until(server: SmallApi) -> Callable[[Callable[[], Any]], None]:
    def wait(condition: Callable[[], Any]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, condition
            threading.Event().wait(0.01)

    return wait


def daemons_rights(server: SmallApi, rules: Mapping[str, Sequence[Mapping[str, Sequence[str]]]]) -> None:
    server.kinds.define(CRD)
    server.put("/api/v1/nodes", node("n1"))
    server.put("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}})
    server.users["admin"] = User("system:serviceaccount:plumbline-system:plumbline", rules, "n1")


@pytest.fixture
def watching(api: Api) -> Iterator[Callable[[str], ClusterView]]:
    views: list[ClusterView] = []

    def start(spec: str) -> ClusterView:
        views.append(ClusterView(api, "n1", lambda: None))
        views[-1].select(load_texts([(spec.encode(), "network.yaml")]).spec)
        return views[-1]

    yield start
    for view in views:
        view.close()


def tell(api: Api, until: Callable[[Callable[[], Any]], None], written: Callable[[], Any]) -> None:
    """As a daemon that starts says what is wrong."""
    publisher = Publisher(api, "n1", lambda what, why: None, pause=0.01)
    publisher.start()
    publisher.tell(published(BAD))
    until(written)
    publisher.stop()


def take_a_turn(api: Api) -> None:
    """As a daemon that changes something: nobody had to undo it, and it is its turn."""
    rollout = Rollout(api, "n1")
    assert not rollout.elsewhere("a" * 64)
    assert not rollout.turn(1)
    rollout.release()


def judged(asked: list[tuple[bool, Asked]], rules: Mapping[str, Sequence[Mapping[str, Sequence[str]]]]) -> None:
    assert {one for granted, one in asked if not granted} == set(), "more is asked for than is allowed"
    used = {(one.group, one.resource, one.verb) for _, one in asked}
    given = {
        (group, resource, verb)
        for some in rules.values() for rule in some
        for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
    }  # fmt: skip
    assert given - used == set(), "more is allowed than is asked for"


def seen_by_all(view: ClusterView, server: SmallApi, watches: int) -> Callable[[], bool]:
    def ready() -> bool:
        known = view.known()
        watched = sum(count for what, count in server.seen.items() if what.startswith("watch "))
        return (
            len(known) == watches and all(one.values is not None for one in known) and watched >= watches and bool(view.view().cluster_id)
        )

    return ready


def test_the_daemon_may_do_what_it_does_and_nothing_else(
    server: SmallApi, api: Api, asked: list[tuple[bool, Asked]], until: Callable[..., None], watching: Callable[[str], ClusterView]
) -> None:
    rules = rules_of(objects((DEPLOY / "plumbline.yaml").read_text()))
    daemons_rights(server, rules)
    until(seen_by_all(watching(SPEC), server, watches=4))
    tell(api, until, lambda: (server.get(f"{NODE_NETWORKS}/n1") or {}).get("status"))
    (event,) = server.things(EVENTS)
    tell(api, until, lambda: server.things(EVENTS)[0] != event)  # a daemon that was started anew counts on
    take_a_turn(api)
    judged(asked, rules)


def test_everything_switched_on(
    server: SmallApi, api: Api, asked: list[tuple[bool, Asked]], until: Callable[..., None], watching: Callable[[str], ClusterView]
) -> None:
    rules = rules_of(objects(template("features.segments=true", "cluster.configmapWatch=true")))
    daemons_rights(server, rules)
    until(seen_by_all(watching(f"{SPEC}segments: {{a: {{vni: 7}}}}\n"), server, watches=6))
    reflector = Reflector(api, configmap("plumbline-system/plumbline-network"), lambda: None)
    reflector.start()
    until(lambda: reflector.known().values is not None and server.seen["watch configmaps"])
    reflector.stop()
    reflector.join()
    tell(api, until, lambda: (server.get(f"{NODE_NETWORKS}/n1") or {}).get("status"))
    tell(api, until, lambda: any("series" in event for event in server.things(EVENTS)))
    take_a_turn(api)
    judged(asked, rules)


@pytest.mark.parametrize("way", ["argocd", "flux"])
def test_the_job_that_waits_may_read_who_is_ready(
    way: str, server: SmallApi, access: Access, asked: list[tuple[bool, Asked]], until: Callable[..., None]
) -> None:
    from reconciler.cluster.rollcall import Rollcall

    rules = rules_of(objects((CHART.parents[1] / "examples" / way / "cluster" / "wait.yaml").read_text()))
    daemons_rights(server, rules)
    call = Rollcall(Api(access), lambda: None)
    until(lambda: call.standings() is not None and server.seen["watch nodenetworks"] and server.seen["watch nodes"])
    call.close()
    judged(asked, rules)
