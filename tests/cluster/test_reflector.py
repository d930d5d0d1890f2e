"""A list and a watch, through everything that an API does to its clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.cluster.access import Access
from reconciler.cluster.reflector import Reflector, Timing
from reconciler.cluster.resources import nodes, pods
from reconciler.cluster.transport import Api
from reconciler.facts.model import Node
from tests.api.certificates import make
from tests.api.rules import User
from tests.api.server import SmallApi
from tests.cluster.objects import node, pod

NODES = "/api/v1/nodes"
QUICK = Timing(page=3, lasts=60, silence=5, first=0.02, most=0.1)


class Watched:
    """A reflector of Nodes, and what it told."""

    def __init__(self, api: Api, timing: Timing = QUICK) -> None:
        self.changes = 0
        self.told: list[str] = []
        self._something = threading.Condition()
        self.reflector: Reflector[Node] = Reflector(
            api, nodes(), self._changed, report=lambda name, why: self.told.append(why), timing=timing
        )
        self.reflector.start()

    def _changed(self) -> None:
        with self._something:
            self.changes += 1
            self._something.notify_all()

    @property
    def names(self) -> list[str] | None:
        known = self.reflector.known().values
        return None if known is None else sorted(one.name for one in known)

    def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        with self._something:
            while not condition():
                assert time.monotonic() < end, f"{self.names} {self.told} {self.reflector.known()}"
                self._something.wait(0.01)


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def start(api: Api, timing: Timing = QUICK) -> Watched:
        made.append(Watched(api, timing))
        return made[-1]

    yield start
    for one in made:
        one.reflector.stop()
    for one in made:
        one.reflector.join()
        assert not one.reflector._thread.is_alive(), "it does not stop"


def test_pages_then_events(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    for number in range(8):
        server.put(NODES, node(f"n{number}"))
    seen = watch(api)
    seen.until(lambda: seen.names == [f"n{number}" for number in range(8)])
    assert server.seen["list nodes"] == 3, "pages of three"
    server.put(NODES, node("n8"))
    seen.until(lambda: "n8" in (seen.names or ()))
    server.delete(f"{NODES}/n0")
    seen.until(lambda: "n0" not in (seen.names or ()))
    server.put(NODES, node("n1", address="10.0.9.9"))
    seen.until(lambda: any(one.name == "n1" and one.addresses[0].address == "10.0.9.9" for one in seen.reflector.known().values or ()))
    assert seen.changes == 4


def test_a_heartbeat_wakes_nobody(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    server.put(NODES, node("n1"))
    seen = watch(api)
    seen.until(lambda: seen.names == ["n1"])
    for beat in range(50):
        server.put(NODES, node("n1", beat=beat + 1))
    server.put(NODES, node("n2"))
    seen.until(lambda: seen.names == ["n1", "n2"])
    assert seen.changes == 2


def test_a_watch_that_breaks_goes_on_where_it_was(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    server.put(NODES, node("n1"))
    seen = watch(api)
    seen.until(lambda: server.seen["watch nodes"] == 1)
    for number in range(2, 6):
        server.drop()
        server.put(NODES, node(f"n{number}"))
        server.delete(f"{NODES}/n{number - 1}")
        seen.until(lambda number=number: seen.names == [f"n{number}"])  # type: ignore[misc]
    assert server.seen["list nodes"] == 1, "no new list"


def test_the_servers_own_end_of_a_watch_is_no_trouble(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    server.put(NODES, node("n1"))
    seen = watch(api, QUICK._replace(lasts=1))
    seen.until(lambda: server.seen["watch nodes"] >= 3)
    assert server.seen["list nodes"] == 1
    assert not seen.told


def test_a_version_that_is_gone_means_a_new_list(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    server.put(NODES, node("n1"))
    server.put(NODES, node("n2"))
    seen = watch(api)
    seen.until(lambda: server.seen["watch nodes"] == 1)
    with server.down():
        server.delete(f"{NODES}/n1")
        server.put(NODES, node("n3"))
        server.store.compact(move_on=True)
    seen.until(lambda: seen.names == ["n2", "n3"])
    assert server.seen["list nodes"] == 2


def test_a_bookmark_saves_the_list(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    """Other sorts of objects move the version on; a watch that hears of that by bookmarks is not too old after a compaction."""
    server.bookmarks = 0.05
    server.put(NODES, node("n1"))
    seen = watch(api)
    seen.until(lambda: server.seen["watch nodes"] == 1)
    server.put("/api/v1/namespaces/default/pods", pod("a"))
    version = server.store.version
    seen.until(lambda: seen.reflector._version == str(version))
    server.store.compact()
    server.drop()
    server.put(NODES, node("n2"))
    seen.until(lambda: seen.names == ["n1", "n2"])
    assert server.seen["list nodes"] == 1


def test_a_list_that_grows_too_old_between_pages_begins_anew(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    for number in range(8):
        server.put(NODES, node(f"n{number}"))

    def compact_once(what: str) -> None:
        if what == "list nodes" and server.seen[what] == 2:
            server.store.compact(move_on=True)

    server.fault = compact_once
    seen = watch(api)
    seen.until(lambda: seen.names == [f"n{number}" for number in range(8)])
    assert server.seen["list nodes"] == 5, "two pages, the second refused; then three"


def test_a_backup_that_was_put_back_is_listed(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    """The server has not reached the version that we know."""
    server.put(NODES, node("n1"))
    seen = watch(api)
    seen.until(lambda: server.seen["watch nodes"] == 1)
    with server.down():
        server.store.version -= 50
        server.store._things["nodes"].clear()
        server.put(NODES, node("n2"))
    seen.until(lambda: seen.names == ["n2"])


def test_an_api_that_is_away_changes_nothing_and_is_told_once(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    server.put(NODES, node("n1"))
    seen = watch(api)
    seen.until(lambda: server.seen["watch nodes"] == 1)
    with server.down():
        seen.until(lambda: bool(seen.reflector.known().trouble))
        assert seen.names == ["n1"]
        assert "Connection refused" in seen.reflector.known().trouble
    seen.until(lambda: seen.reflector.known().trouble == "")
    assert seen.changes == 1
    assert len(seen.told) == 2, seen.told
    assert seen.told[1] == ""


def test_at_a_start_without_an_api_nothing_is_known_until_it_comes(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    server.put(NODES, node("n1"))
    with server.down():
        seen = watch(api)
        seen.until(lambda: bool(seen.reflector.known().trouble))
        assert seen.names is None, "which is not the same as none"
    seen.until(lambda: seen.names == ["n1"])


@pytest.mark.parametrize(
    ("code", "headers", "says"),
    [(500, {}, "500"), (429, {"Retry-After": "0"}, "429"), (503, {}, "503"), (401, {}, "401")],
)
@pytest.mark.parametrize("verb", ["list", "watch"])
def test_answers_that_are_none(
    server: SmallApi, api: Api, watch: Callable[..., Watched], verb: str, code: int, headers: dict[str, str], says: str
) -> None:
    server.put(NODES, node("n1"))
    server.fault = lambda what: (code, headers) if what == f"{verb} nodes" else None
    seen = watch(api)
    seen.until(lambda: says in seen.reflector.known().trouble)
    assert seen.names == (None if verb == "list" else ["n1"])
    server.fault = lambda what: None
    server.put(NODES, node("n2"))
    seen.until(lambda: seen.names == ["n1", "n2"])


def test_a_server_that_asks_to_wait_is_left_in_peace(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    server.fault = lambda what: (429, {"Retry-After": "3600"})
    seen = watch(api)
    seen.until(lambda: bool(seen.reflector.known().trouble))
    assert server.seen["list nodes"] == 1


def test_a_watch_that_dies_without_a_word_is_noticed(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    server.put(NODES, node("n1"))
    seen = watch(api, QUICK._replace(silence=0.3))
    seen.until(lambda: server.seen["watch nodes"] == 1)
    server.mute = True
    server.put(NODES, node("n2"))
    seen.until(lambda: server.seen["watch nodes"] >= 2)
    server.mute = False
    seen.until(lambda: seen.names == ["n1", "n2"])
    assert server.seen["list nodes"] == 1


def test_a_slow_answer_is_no_answer(server: SmallApi, api: Api, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.cluster.transport.READ", 0.1)
    server.put(NODES, node("n1"))
    server.slow.set()
    seen = watch(api)
    seen.until(lambda: "no answer in time" in seen.reflector.known().trouble)
    server.slow.clear()
    seen.until(lambda: seen.names == ["n1"])


def test_an_object_that_cannot_be_read_stays_as_it_was(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    """Whoever may annotate one Node must not be able to stop the others, nor to take its routes away from them."""
    server.put(NODES, node("n1"))
    server.put(NODES, node("n2"))
    seen = watch(api)
    seen.until(lambda: seen.names == ["n1", "n2"])
    server.put(NODES, node("n2", address="not an address"))
    seen.until(lambda: bool(seen.reflector.known().faults))
    assert "n2" in seen.reflector.known().faults[0]
    assert seen.names == ["n1", "n2"]
    server.put(NODES, node("n3"))
    seen.until(lambda: seen.names == ["n1", "n2", "n3"])
    with server.down():
        server.store.compact(move_on=True)
    seen.until(lambda: server.seen["list nodes"] >= 2)
    assert seen.names == ["n1", "n2", "n3"]
    server.put(NODES, node("n2", address="10.0.1.12"))
    seen.until(lambda: not seen.reflector.known().faults)


def test_what_is_no_event_does_no_harm(server: SmallApi, api: Api, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    server.put(NODES, node("n1"))
    with monkeypatch.context() as wrong:
        wrong.setattr("tests.api.server._Handler._event", lambda self, event, matches: self.wfile.write(b"6\r\nfalse\n\r\n"))
        seen = watch(api)
        seen.until(lambda: server.seen["watch nodes"] == 1)
        server.put(NODES, node("n2"))
        seen.until(lambda: server.seen["watch nodes"] >= 2)
    server.drop()
    seen.until(lambda: seen.names == ["n1", "n2"])


def test_what_rbac_forbids_is_said(server: SmallApi, api: Api, watch: Callable[..., Watched]) -> None:
    server.put(NODES, node("n1"))
    server.users["admin"] = User("system:serviceaccount:plumbline-system:plumbline", {})
    seen = watch(api)
    seen.until(lambda: "403" in seen.reflector.known().trouble)
    assert "cannot list" in seen.told[0]
    server.users["admin"] = User("plumbline", {"": [{"verbs": ["list", "watch"], "apiGroups": [""], "resources": ["nodes"]}]})
    seen.until(lambda: seen.names == ["n1"])


def test_a_token_that_is_renewed_is_read_again(server: SmallApi, access: Access, api: Api, watch: Callable[..., Watched]) -> None:
    server.put(NODES, node("n1"))
    seen = watch(api)
    seen.until(lambda: server.seen["watch nodes"] == 1)
    server.users = {"second": User("admin")}
    assert access.token is not None
    access.token.write_text("second\n")
    server.drop()
    server.put(NODES, node("n2"))
    seen.until(lambda: seen.names == ["n1", "n2"])


def test_a_certificate_of_somebody_else_is_no_server_of_ours(
    server: SmallApi, access: Access, tmp_path: Path, watch: Callable[..., Watched]
) -> None:
    other = make(tmp_path / "other")
    api = Api(access._replace(authority=other.authority))
    try:
        seen = watch(api)
        seen.until(lambda: "certificate" in seen.reflector.known().trouble)
        assert str(other.authority) in seen.reflector.known().trouble
        assert server.seen["list nodes"] == 0
    finally:
        api.close()


def test_the_next_server_is_asked_where_one_is_away(server: SmallApi, access: Access, watch: Callable[..., Watched]) -> None:
    server.put(NODES, node("n1"))
    away = SmallApi(server.certificates)
    away.start()
    away.stop()
    api = Api(access._replace(servers=(away.url, server.url)))
    try:
        seen = watch(api)
        seen.until(lambda: seen.names == ["n1"])
    finally:
        api.close()


def test_a_selected_object_comes_and_goes(server: SmallApi, api: Api) -> None:
    changed = threading.Event()
    resource = pods("labelled", ("a",), labels="member=true")
    reflector = Reflector(api, resource, changed.set, timing=QUICK)
    reflector.start()
    path = "/api/v1/namespaces/default/pods"
    try:
        assert changed.wait(5)
        for labels, count in (({"member": "true"}, 1), ({"member": "false"}, 0), ({"member": "true"}, 1)):
            changed.clear()
            server.put(path, pod("a", labels=labels, a="kept", b="not read"))
            assert changed.wait(5)
            values = reflector.known().values or ()
            assert [one.annotations for one in values] == [{"a": "kept"}] * count
    finally:
        reflector.stop()
        reflector.join()


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.SystemTimeWarning")
def test_a_clock_that_jumps_moves_nothing(
    server: SmallApi, api: Api, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(NODES, node("n1"))
    seen = watch(api)
    seen.until(lambda: server.seen["watch nodes"] == 1)
    real = time.time
    for years in (-10, 10):
        monkeypatch.setattr(time, "time", lambda years=years: real() + years * 31_536_000)
        with server.down():
            seen.until(lambda: bool(seen.reflector.known().trouble))
        server.put(NODES, node(f"n{years + 20}"))
        seen.until(lambda years=years: f"n{years + 20}" in (seen.names or ()) and not seen.reflector.known().trouble)  # type: ignore[misc]
    assert server.seen["list nodes"] == 1


def test_a_mistake_of_ours_makes_it_neither_deaf_nor_dumb(
    server: SmallApi, api: Api, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(NODES, node("n1"))
    with monkeypatch.context() as wrong:
        wrong.setattr("reconciler.cluster.resources.parse_node", lambda thing: {}["a mistake"])
        seen = watch(api)
        seen.until(lambda: "a mistake in plumbline, KeyError" in seen.reflector.known().trouble)
        assert seen.names is None
    seen.until(lambda: seen.names == ["n1"])
