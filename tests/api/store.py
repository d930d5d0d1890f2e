"""What an API server keeps: objects, one counter of versions for all of them, and the events since some version."""

from __future__ import annotations

import copy
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Thing = dict[str, Any]
Matches = Callable[[Thing], bool]
MOST_BYTES = 1_048_576  # of a ConfigMap's data, and more or less of any object


class Refused(Exception):
    """A Status: code, reason and message."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details

    def status(self) -> Thing:
        said: Thing = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        }  # fmt: skip
        return {**said, "details": self.details} if self.details else said


class Event(NamedTuple):
    version: int
    collection: str  # "nodes", "apps/deployments"
    old: Thing | None
    new: Thing | None  # None: deleted
    last: Thing  # as a DELETED event shows it


class Store:
    """Thread safe. A version is a number for us and a word for everybody else."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 100
        self.oldest = 0  # events up to this one are compacted away
        self._things: dict[str, dict[str, Thing]] = {}
        self._events: list[Event] = []
        self.uid = lambda: str(uuid.uuid4())

    def get(self, collection: str, key: str) -> Thing | None:
        with self.changed:
            found = self._things.get(collection, {}).get(key)
            return copy.deepcopy(found) if found else None

    def put(self, collection: str, key: str, new: Thing, *, version: str = "", create: bool = False) -> Thing:
        """Raises Refused. `version`: what it must replace; "" anything."""
        with self.changed:
            things = self._things.setdefault(collection, {})
            old = things.get(key)
            name = new["metadata"]["name"]
            if create and old is not None:
                raise Refused(409, "AlreadyExists", f'{collection} "{name}" already exists', name=name)
            if version and (old is None or old["metadata"]["resourceVersion"] != version):
                raise Refused(
                    409, "Conflict", f'Operation cannot be fulfilled on {collection} "{name}": the object has been modified; '
                    "please apply your changes to the latest version and try again",
                )  # fmt: skip
            if len(json.dumps({**new.get("data", {}), **new.get("binaryData", {})})) > MOST_BYTES + 1024:
                raise Refused(422, "Invalid", f'{collection} "{name}" is invalid: []: Too long: may not be more than {MOST_BYTES} bytes')
            if old is not None and _same(old, new):
                return copy.deepcopy(old)  # a write that changes nothing makes no version and no event
            self.version += 1
            made = copy.deepcopy(new)
            metadata = made["metadata"]
            metadata["resourceVersion"] = str(self.version)
            metadata["uid"] = old["metadata"]["uid"] if old else metadata.get("uid") or self.uid()
            metadata.setdefault("creationTimestamp", "2024-01-01T00:00:00Z")
            things[key] = made
            self._tell(Event(self.version, collection, old, made, made))
            return copy.deepcopy(made)

    def delete(self, collection: str, key: str) -> Thing:
        """Raises Refused."""
        with self.changed:
            old = self._things.get(collection, {}).pop(key, None)
            if old is None:
                raise not_found(collection, key)
            self.version += 1
            last = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.version)}}
            self._tell(Event(self.version, collection, old, None, last))
            return last

    def list(self, collection: str, matches: Matches) -> tuple[list[Thing], int]:
        """In the order of their keys, and the version that they are of. Not copied: nobody changes them."""
        with self.changed:
            things = self._things.get(collection, {})
            return [things[key] for key in sorted(things) if matches(things[key])], self.version

    def compact(self, *, move_on: bool = False) -> None:
        """Nobody can go on from any version before this one; with `move_on`, nobody can that knows of what there is now."""
        with self.changed:
            self.version += move_on
            self.oldest = self.version
            self._events.clear()
            self.changed.notify_all()

    def events(self, collection: str, after: int) -> tuple[list[Event], int]:
        """Those after a version, and the newest version there is. Raises Refused where they are compacted away."""
        with self.changed:
            if after < self.oldest:
                raise Refused(410, "Expired", f"too old resource version: {after} ({self.oldest})")
            return [event for event in self._newer(after) if event.collection == collection], self.version

    def _newer(self, after: int) -> Iterator[Event]:
        found = []
        for event in reversed(self._events):
            if event.version <= after:
                break
            found.append(event)
        return reversed(found)

    def _tell(self, event: Event) -> None:
        self._events.append(event)
        self.changed.notify_all()


def not_found(collection: str, key: str) -> Refused:
    name = key.rpartition("/")[2]
    return Refused(404, "NotFound", f'{collection} "{name}" not found', name=name, kind=collection)


def _same(old: Thing, new: Thing) -> bool:
    def bare(thing: Thing) -> Thing:
        drop = ("resourceVersion", "uid", "creationTimestamp", "managedFields")
        return {**thing, "metadata": {name: value for name, value in thing["metadata"].items() if name not in drop}}

    return bare(old) == bare(new) and _managers(old) == _managers(new)


def _managers(thing: Thing) -> Any:
    return [{name: value for name, value in one.items() if name != "time"} for one in thing["metadata"].get("managedFields", [])]
