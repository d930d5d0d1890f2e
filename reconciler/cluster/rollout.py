"""One change and many nodes: whether another one had to undo it, and whose turn it is. Answers wait for the API, briefly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

from reconciler.cluster.publisher import LABEL_DIGITS, NODE_NETWORKS, ROLLED_BACK
from reconciler.cluster.transport import Api, Trouble

LEASE = "plumbline-rollout"
HELD = 600  # seconds that a node which says nothing more keeps its turn: it may be the one that was cut off
_WITHIN = 5.0  # seconds for an answer
_AGAIN = 10.0  # seconds that an answer holds
_LOOKED_AT = 16  # Leases that are looked at for a turn of before


class Rollout:
    """What one node asks the cluster before it changes something, from any thread. `clock`: monotonic seconds."""

    def __init__(self, api: Api, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._node, self._clock = api, node, clock
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
        self._asked: tuple[str, float, str] = ("", 0.0, "")
        self._seen: dict[str, tuple[str, float]] = {}  # a lease's last renewal, and when we saw it first: no clock but ours counts
        self._mine = ""
        self._owes = ""  # digest that this node had to undo in its turn, and that the others do not know of yet
        self._lock = threading.RLock()

    @property
    def holds(self) -> str:
        """The Lease by which it is this node's turn; empty while it is not."""
        return self._mine

    def elsewhere(self, digest: str) -> str:
        """Why a network.yaml must not be begun here: another node had to undo it, or nobody could be asked; empty where it may."""
        known, until, why = self._asked
        if digest == known and self._clock() < until:
            return why
        why = self._undone(digest)
        self._asked = (digest, self._clock() + _AGAIN, why)
        return why

    def _undone(self, digest: str) -> str:
        query = {"labelSelector": f"{ROLLED_BACK}={digest[:LABEL_DIGITS]}", "limit": "5"}
        try:
            found = self._api.get(NODE_NETWORKS, query, within=_WITHIN).get("items") or []
        except Trouble as trouble:
            if trouble.status in (403, 404):  # nobody says so here
                return ""
            return f"whether another node had to undo it could not be asked: {trouble}"
        names = [str(one["metadata"]["name"]) for one in found if one["metadata"]["name"] != self._node]
        return f"{', '.join(sorted(names))} had to undo it: kubectl get nodenetworks" if names else ""

    def turn(self, at_once: int) -> str:
        """Why a change that disturbs traffic must wait; empty once it is this node's turn, which it keeps until `release`."""
        with self._lock:
            return self._turn(at_once)

    def _slots(self, at_once: int) -> list[str]:
        """The Leases of which one is a turn, in the order in which this node asks for them."""
        return [f"{LEASE}-{(crc32(self._node.encode()) + number) % at_once}" for number in range(at_once)]

    def recall(self, at_once: int) -> None:
        """A turn that this node had before its daemon was started anew is its own still, to be given on."""
        with self._lock:
            for slot in self._slots(at_once)[: 0 if self._mine else _LOOKED_AT]:
                try:
                    lease = self._api.get(f"{self._path}/{slot}", within=_WITHIN)
                except Trouble as trouble:
                    if trouble.status != 404:
                        return  # it ends by itself
                    continue
                if lease["spec"].get("holderIdentity") == self._node:
                    self._mine = slot
                    return

    def _turn(self, at_once: int) -> str:
        slots = self._slots(at_once)
        if self._mine in slots:
            slots = [self._mine, *(one for one in slots if one != self._mine)]
        holders = []
        try:
            for slot in slots:
                holder = self._take(slot)
                if not holder:
                    if not self._mine:
                        self._asked = ("", 0.0, "")  # whoever had its turn before may have had to undo it
                    self._mine, self._owes = slot, ""
                    return ""
                holders.append(holder)
        except Trouble as trouble:
            return f"rollout.maxUnavailable: whose turn it is could not be asked: {trouble}"
        return f"rollout.maxUnavailable: waits for {', '.join(sorted(set(holders)))}"

    def release(self) -> None:
        """The change is done, and the next node may begin: at once, or once the others can know of what was undone."""
        with self._lock:
            if self._mine and not self._owes:
                self._release()

    def undone(self, digest: str) -> None:
        """This node had to undo it: its turn is over once the others can know, and no sooner, for they would do the same."""
        with self._lock:
            self._owes = digest if self._mine else ""

    def told(self, label: str) -> None:
        """What this node's NodeNetwork says of what it had to undo."""
        with self._lock:
            if self._owes and label == self._owes[:LABEL_DIGITS]:
                self._release()

    def _release(self) -> None:
        try:
            lease = self._api.get(f"{self._path}/{self._mine}", within=_WITHIN)
            if lease["spec"].get("holderIdentity") == self._node:
                self._put(lease, "")
            self._mine = self._owes = ""
        except Trouble as trouble:
            if trouble.status in (404, 409):
                self._mine = self._owes = ""

    def _take(self, slot: str) -> str:
        """Who holds it; empty where we do now. Raises Trouble."""
        try:
            lease = self._api.get(f"{self._path}/{slot}", within=_WITHIN)
        except Trouble as trouble:
            if trouble.status != 404:
                raise
            return self._made(slot)
        holder = str(lease["spec"].get("holderIdentity") or "")
        if holder not in ("", self._node) and not self._over(slot, lease["spec"]):
            return holder
        try:
            self._put(lease, self._node)
        except Trouble as trouble:
            if trouble.status != 409:
                raise
            return "another node, which was quicker"
        return ""

    def _made(self, slot: str) -> str:
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": slot, "namespace": self._api.namespace}}
        try:
            self._api.send("POST", self._path, {**body, "spec": self._spec(self._node)}, within=_WITHIN)
        except Trouble as trouble:
            if trouble.status != 409:
                raise
            return "another node, which was quicker"
        return ""

    def _over(self, slot: str, spec: dict[str, Any]) -> bool:
        """Whether its holder has not renewed it for as long as it said, by our own clock."""
        renewed = f"{spec.get('holderIdentity')} {spec.get('renewTime')}"
        before, since = self._seen.get(slot, ("", 0.0))
        if renewed != before:
            self._seen[slot] = (renewed, self._clock())
            return False
        return self._clock() - since > float(spec.get("leaseDurationSeconds") or HELD)

    def _put(self, lease: dict[str, Any], holder: str) -> None:
        """Raises Trouble; 409 where somebody else was quicker."""
        body = {**lease, "spec": self._spec(holder)}
        self._api.send("PUT", f"{self._path}/{lease['metadata']['name']}", body, within=_WITHIN)

    def _spec(self, holder: str) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {"holderIdentity": holder, "leaseDurationSeconds": HELD, "acquireTime": now, "renewTime": now}
