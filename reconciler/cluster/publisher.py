"""What a node says of itself at the Kubernetes API: its NodeNetwork, and Events about its Node. Nothing waits for it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import tenacity

from reconciler.cluster.known import Report
from reconciler.cluster.transport import APPLY_PATCH, MERGE_PATCH, Api, Trouble, no_mistake_ends_it

GROUP = "plumbline.dev/v1alpha1"
NODE_NETWORKS = f"/apis/{GROUP}/nodenetworks"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"  # where Events about objects without a namespace live
MANAGER = "plumbline"
ROLLED_BACK = "plumbline.dev/rolled-back"  # label: which network.yaml this node had to undo
LABEL_DIGITS = 32  # of a digest: a label holds at most 63 characters
PAUSE = 10.0  # seconds between two writes
SELDOM = (
    600.0  # seconds until it is tried again where there is no such resource, or we may not write it; and between looks at what is there
)
NOTE = 1000  # characters of an Event's note; the API takes 1024 bytes or so
_REFUSALS = (403, 404, 405, 422)


class Happening(NamedTuple):
    """Something that people should hear of where they look for it: kubectl describe node."""

    reason: str  # in CamelCase
    note: str
    warning: bool = True


class Published(NamedTuple):
    """What a node says. Conditions have no times yet: these are when they last changed."""

    labels: Mapping[str, str]
    status: Mapping[str, Any]
    happenings: frozenset[Happening] = frozenset()


class Publisher:
    """Writes the newest of what it is told, from a thread of its own, and only where that is something else than what is there."""

    def __init__(
        self,
        api: Api,
        node: str,
        report: Report,
        *,
        pause: float = PAUSE,
        seldom: float = SELDOM,
        clock: Callable[[], datetime] | None = None,
        written: Callable[[Published], None] = lambda said: None,
    ) -> None:
        """`written`: told in our thread whenever this is what is there."""
        self._api, self._node, self._report, self._pause, self._seldom = api, node, report, pause, seldom
        self._clock = clock or (lambda: datetime.now(UTC))
        self._written = written
        self._news = threading.Event()
        self._urgent = threading.Event()  # no pause before the next write
        self._stop = threading.Event()
        self._newest: Published | None = None
        self._there: _There | None = None  # None: not looked yet
        self._looked = float("-inf")  # when
        self._told: frozenset[Happening] = frozenset()
        self._counts: dict[str, int] = {}
        self._silent = False  # its trouble was told
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self, said: Published) -> None:
        """From any thread; waits for nothing."""
        if self._newest is None or said.labels != self._newest.labels:
            self._urgent.set()  # others ask for it before they do what we have done
        self._newest = said
        self._news.set()

    def stop(self, seconds: float = 0.5) -> None:
        """Whoever waits for an answer after this time ends with the process."""
        self._stop.set()
        self._news.set()
        self._urgent.set()
        if self._thread.is_alive():
            self._thread.join(timeout=seconds)

    # -- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        patience = tenacity.wait_random_exponential(multiplier=1, min=0.5, max=60)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Trouble),
            wait=lambda state: self._seldom if _hopeless(state) else patience(state),
            stop=tenacity.stop_when_event_set(self._stop),
            sleep=tenacity.sleep_using_event(self._stop),
            before_sleep=self._say,
        )
        while not self._stop.is_set():
            self._news.wait()
            self._news.clear()
            self._urgent.clear()
            try:
                retrying(self._safe_write)
            except tenacity.RetryError:
                return
            if self._silent:
                self._report(NODE_NETWORKS, "")
                self._silent = False
            if not self._stop.is_set():  # its call to hurry may be what was cleared above
                self._urgent.wait(self._pause)

    def _say(self, state: tenacity.RetryCallState) -> None:
        if not self._silent and not self._stop.is_set():
            error = state.outcome.exception() if state.outcome else None
            more = "; is the CRD installed? (charts/plumbline/crds)" if isinstance(error, Trouble) and error.status == 404 else ""
            self._report(NODE_NETWORKS, f"{error}{more}")
            self._silent = True

    def _safe_write(self) -> None:
        """Raises Trouble, and nothing else."""
        with no_mistake_ends_it(NODE_NETWORKS):
            self._write()

    def _write(self) -> None:
        """Raises Trouble."""
        newest = self._newest
        if newest is None or self._stop.is_set():
            return
        self._tell_happenings(newest)
        known = self._there if time.monotonic() - self._looked < self._seldom else None  # a Node made anew takes it along
        try:
            self._put(newest, known or self._look())
        except Trouble as trouble:
            if known is None or trouble.status != 404:
                raise
            self._put(newest, self._look())  # somebody has removed it

    def _put(self, newest: Published, there: _There) -> None:
        """Raises Trouble."""
        self._there = None  # if it does not come to its end: look again first
        if newest.labels != there.labels or not there.owned:
            self._apply("", {"metadata": {"labels": dict(newest.labels), "ownerReferences": [self._owner()]}})
        status = {**newest.status, "conditions": self._timed(newest.status["conditions"], there.status.get("conditions", []))}
        if status != there.status:
            self._apply("/status", {"status": status})
        self._there = _There(newest.labels, status, owned=True)
        self._written(newest)

    def _look(self) -> _There:
        """Our own object as it is: conditions keep their times over a restart. Raises Trouble."""
        self._looked = time.monotonic()
        found = self._api.get(NODE_NETWORKS, {"fieldSelector": f"metadata.name={self._node}"}).get("items") or []
        if not found:
            return _There({}, {}, owned=False)
        metadata, node = found[0]["metadata"], self._its_node()
        labels = {name: text for name, text in (metadata.get("labels") or {}).items() if name == ROLLED_BACK}
        owners = {one["uid"] for one in metadata.get("ownerReferences") or ()}
        return _There(labels, found[0].get("status") or {}, owned=node is None or node["uid"] in owners)

    def _owner(self) -> Mapping[str, Any]:
        """The object goes with its Node: without one it would stay for ever. Raises Trouble."""
        node = self._its_node()
        if node is None:
            raise Trouble(f"there is no Node {self._node}: what it says is written once there is one")
        return {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": node["uid"]}

    def _its_node(self) -> Mapping[str, Any] | None:
        """The metadata of our Node. Raises Trouble."""
        found = self._api.get("/api/v1/nodes", {"fieldSelector": f"metadata.name={self._node}"}).get("items") or []
        return found[0]["metadata"] if found else None

    def _apply(self, subresource: str, said: Mapping[str, Any]) -> None:
        """Raises Trouble. It is our object: whoever else wrote our fields loses them."""
        body = {"apiVersion": GROUP, "kind": "NodeNetwork", **said, "metadata": {**said.get("metadata", {}), "name": self._node}}
        query = {"fieldManager": MANAGER, "force": "true"}
        self._api.send("PATCH", f"{NODE_NETWORKS}/{self._node}{subresource}", body, query=query, content=APPLY_PATCH)

    def _timed(self, conditions: list[Mapping[str, Any]], before: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        known = {one["type"]: one for one in before}
        now = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        found: list[Mapping[str, Any]] = []
        for one in conditions:
            old = known.get(one["type"])
            since = old["lastTransitionTime"] if old is not None and old["status"] == one["status"] else now
            found.append({**one, "lastTransitionTime": since})
        return found

    def _tell_happenings(self, newest: Published) -> None:
        """Each once when it begins; one that comes again counts up what is there. Raises Trouble."""
        for one in sorted(newest.happenings - self._told):
            try:
                self._event(one)
            except Trouble as trouble:
                if trouble.status not in _REFUSALS:
                    raise
            self._told |= {one}
        self._told &= newest.happenings

    def _event(self, one: Happening) -> None:
        """Raises Trouble."""
        name = f"{self._node[:200]}.{hashlib.sha256(f'{one.reason} {one.note}'.encode()).hexdigest()[:16]}"
        now = self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        node = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": self._node}  # as the kubelet does: kubectl describe looks so
        self._counts[name] = self._counts.get(name, 0) + 1
        try:
            self._api.send(
                "POST", EVENTS,
                {
                    "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"}, "eventTime": now,
                    "type": "Warning" if one.warning else "Normal", "reason": one.reason, "action": "Reconcile", "note": one.note[:NOTE],
                    "regarding": node, "reportingController": "plumbline.dev/daemon", "reportingInstance": self._node[:128],
                },
            )  # fmt: skip
        except Trouble as trouble:
            if trouble.status != 409:
                raise
            count = self._counts[name] = max(2, self._counts[name])
            self._api.send("PATCH", f"{EVENTS}/{name}", {"series": {"count": count, "lastObservedTime": now}}, content=MERGE_PATCH)


class _There(NamedTuple):
    """Our object, as it is at the API."""

    labels: Mapping[str, str]
    status: Mapping[str, Any]
    owned: bool  # by our Node as it is now, which may have been made anew; no: where it is not there at all


def _hopeless(state: tenacity.RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    return isinstance(error, Trouble) and error.status in _REFUSALS
