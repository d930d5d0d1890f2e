"""What the API holds of one sort of object, kept up: a list in pages, then a watch from there on, for as long as we live.

(Kubernetes' "API concepts" describes lists, watches, bookmarks and 410 Gone.) What is known stays
known when the API is away: only an answer changes it. Each object is reduced at once to what is
read of it; one that is as it was, as after the heartbeat of a node, wakes nobody.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

import tenacity

from reconciler.cluster.known import Known, Report
from reconciler.cluster.transport import Api, Cut, Stream, Trouble, no_mistake_ends_it

T = TypeVar("T")


class Unreadable(Exception):
    """An object that says something impossible; names it and the field."""


class Resource(NamedTuple, Generic[T]):
    """A sort of object to be kept up: where it is, which of them, and what is read of each."""

    name: str  # for people
    path: str
    read: Callable[[Mapping[str, Any]], T | None]  # None: no concern of ours; raises Unreadable
    fields: str = ""  # field selector
    labels: str = ""  # label selector


class Timing(NamedTuple):
    """Seconds, and objects to a page. Others than these only in tests."""

    page: int = 500
    lasts: float = 300.0  # a watch, until the server ends it: what a balancer forgot or a server never told is found then
    silence: float = 150.0  # without a bookmark, which come once a minute, a watch is dead
    first: float = 0.5  # pause after a failure, doubled with every further one
    most: float = 60.0


class Reflector(Generic[T]):
    """Keeps one sort up, in a thread of its own; `changed` is called from there when something is otherwise than before."""

    def __init__(
        self,
        api: Api,
        resource: Resource[T],
        changed: Callable[[], None],
        *,
        report: Report = lambda name, why: None,
        before: Callable[[], None] | None = None,
        timing: Timing = Timing(),
    ) -> None:
        """`before` is called before every list; it may raise Trouble."""
        self.resource = resource
        self._api, self._changed, self._report, self._before, self._timing = api, changed, report, before, timing
        self._items: dict[str, T] = {}
        self._faults: dict[str, str] = {}
        self._listed = False
        self._version = ""  # the watch goes on from here; empty: a list first
        self._trouble, self._since = "", 0.0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._stream: Stream | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch {resource.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; `join` waits until it has."""
        self._stop.set()
        if (stream := self._stream) is not None:
            stream.interrupt()

    def join(self, seconds: float = 5.0) -> None:
        """Wait until it has ended; whoever waits for an answer then, ends with the process."""
        if self._thread.is_alive():
            self._thread.join(timeout=max(0.0, seconds))

    def known(self) -> Known[T]:
        with self._lock:
            values = tuple(self._items.values()) if self._listed else None
            return Known(self.resource.name, values, tuple(self._faults.values()), self._trouble, self._since if self._trouble else None)

    # -- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        patience = tenacity.wait_random_exponential(multiplier=self._timing.first, min=self._timing.first / 2, max=self._timing.most)
        while not self._stop.is_set():
            retrying = tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(Trouble),
                wait=lambda state: max(patience(state), _asked(state)),
                stop=tenacity.stop_when_event_set(self._stop),
                sleep=tenacity.sleep_using_event(self._stop),
                before_sleep=self._say,
            )
            with suppress(tenacity.RetryError):
                retrying(self._safe_turn)

    def _safe_turn(self) -> None:
        """Raises Trouble, and nothing else: who is deaf must at least say so."""
        with no_mistake_ends_it(self.resource.path):
            self._turn()

    def _turn(self) -> None:
        """A list where one is needed, and a watch until it ends. Raises Trouble; comes back where the next turn may begin at once."""
        if self._stop.is_set():
            return
        began, resumed = time.monotonic(), bool(self._version)
        try:
            if not resumed:
                if self._before is not None:
                    self._before()
                self._list()
                self._well()
            else:
                self._reached()
            self._watch()
        except Cut:
            if time.monotonic() - began < self._timing.first:
                raise
        except Trouble as trouble:
            if trouble.gone:
                self._version = ""
            if not trouble.gone or not (resumed or time.monotonic() - began >= self._timing.first):
                raise  # after a long outage what we know is always too old: to list at once is no failure, and waits for none
        if time.monotonic() - began < self._timing.first:  # whoever ends every watch at once is not asked without end
            self._stop.wait(random.uniform(self._timing.first / 2, self._timing.first))  # noqa: S311 — no secret

    def _say(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if self._stop.is_set() or (isinstance(error, Trouble) and error.gone):
            return
        with self._lock:
            news = not self._trouble
            if news:
                self._since = time.time()
            self._trouble = str(error)
            first = news and not self._listed
        if news:
            self._report(self.resource.name, str(error))
        if first:
            self._changed()  # whoever waits for the first answer need wait no longer

    def _well(self) -> None:
        with self._lock:
            news, self._trouble = self._trouble, ""
        if news:
            self._report(self.resource.name, "")

    def _query(self) -> dict[str, str]:
        selectors = {"fieldSelector": self.resource.fields, "labelSelector": self.resource.labels}
        return {name: value for name, value in selectors.items() if value}

    def _list(self) -> None:
        """All of them, page by page; nothing counts before the last one is there. Raises Trouble."""
        items: dict[str, T] = {}
        faults: dict[str, str] = {}
        version = ""
        for page in pages(self._api, self.resource.path, self._query(), self._timing.page):
            for thing in page.get("items") or ():
                self._take(thing, items, faults)
            version = str((page.get("metadata") or {}).get("resourceVersion") or "")
            if self._stop.is_set():
                return
        with self._lock:
            news = not self._listed or items != self._items or faults != self._faults
            self._items, self._faults, self._listed = items, faults, True
        self._version = version
        if news:
            self._changed()

    def _reached(self) -> None:
        """Whether the server has come as far as what we know. Raises Trouble: after a backup was put back it has not.

        A watch from a version of the future is not refused, and hears nothing; a list is, and one that selects nobody costs nothing.
        """
        fields = self.resource.fields if "metadata.name=" in self.resource.fields else "metadata.name=none"
        self._api.get(self.resource.path, {"resourceVersion": self._version, "fieldSelector": fields, "limit": "1"})

    def _take(self, thing: Mapping[str, Any], items: dict[str, T], faults: dict[str, str]) -> None:
        """An object that cannot be read is as it was when it last could: one typing mistake must not take its routes away."""
        key = key_of(thing)
        try:
            found = self.resource.read(thing)
            faults.pop(key, None)
            if found is None:
                items.pop(key, None)
            else:
                items[key] = found
        except Unreadable as error:
            faults[key] = str(error)
            if key in self._items:
                items[key] = self._items[key]

    def _watch(self) -> None:
        """Until the server ends it. Raises Trouble."""
        query = {
            **self._query(),
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(1, round(self._timing.lasts * random.uniform(0.8, 1.0)))),  # noqa: S311 — no secret
        }
        with self._api.stream(self.resource.path, query, self._timing.silence) as stream:
            self._stream = stream
            try:
                if self._stop.is_set():
                    return
                self._well()
                self._hear(stream.lines())
            finally:
                self._stream = None

    def _hear(self, lines: Iterable[bytes]) -> None:
        """Raises Trouble."""
        for line in lines:
            if self._stop.is_set():
                return
            if not line.strip():
                continue
            try:
                event = json.loads(line)
                kind, thing = event["type"], event["object"]
                if kind == "ERROR":
                    code, reason = int(thing.get("code") or 0), str(thing.get("reason") or "")
                    raise Trouble(f"{self.resource.path}: {thing.get('message')}", code, reason)
                version = str(thing["metadata"]["resourceVersion"])
            except (ValueError, KeyError, TypeError, AttributeError):
                raise Trouble(f"{self.resource.path}: a watch said something that is no event: {line[:80]!r}") from None
            if kind != "BOOKMARK":
                self._event(kind, thing)
            self._version = version

    def _event(self, kind: str, thing: Mapping[str, Any]) -> None:
        key = key_of(thing)
        with self._lock:
            before, faulty = self._items.get(key), self._faults.get(key)
            if kind == "DELETED":
                self._items.pop(key, None)
                self._faults.pop(key, None)
            else:
                self._take(thing, self._items, self._faults)
            same = self._items.get(key) == before and self._faults.get(key) == faulty
        if not same:
            self._changed()


def end(reflectors: Iterable[Reflector[Any]]) -> None:
    """All of them, in a second."""
    running = list(reflectors)
    for one in running:
        one.stop()
    until = time.monotonic() + 1.0
    for one in running:
        one.join(until - time.monotonic())


def pages(api: Api, path: str, query: Mapping[str, str], size: int) -> Iterator[Mapping[str, Any]]:
    """A list, in pieces of the same version of everything. Raises Trouble."""
    asked = {**query, "limit": str(size)}
    while True:
        page = api.get(path, asked)
        yield page
        more = (page.get("metadata") or {}).get("continue")
        if not more:
            return
        asked["continue"] = str(more)


def items(api: Api, path: str, query: Mapping[str, str] = {}) -> Iterator[Mapping[str, Any]]:
    """All of a sort, once. Raises Trouble."""
    for page in pages(api, path, query, Timing().page):
        yield from page.get("items") or ()


def key_of(thing: Mapping[str, Any]) -> str:
    """ "default/a"; without a namespace just the name."""
    metadata = thing.get("metadata") or {}
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata.get('name')}" if namespace else str(metadata.get("name"))


def _asked(state: tenacity.RetryCallState) -> float:
    """What the server asked for by Retry-After."""
    error = state.outcome.exception() if state.outcome else None
    return error.wait if isinstance(error, Trouble) else 0.0
