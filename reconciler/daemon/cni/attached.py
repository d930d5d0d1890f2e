"""Which pods the container runtime has connected here, as it said itself: known at once, and again after a restart.

The API tells a pod's address, and the runtime's own files its namespace, only once the pod's sandbox
stands; a pod that waits for its segments needs both before. No namespace is held open for it: each is
known by device and inode, and what is said of one that has gone counts no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from reconciler.engine.reader import ObservationFailed
from reconciler.facts.model import Host, Pod
from reconciler.kernel.files import write_private
from reconciler.kernel.netns import Identity, identity
from reconciler.kernel.pods import Finder, with_pods

FILE, VERSION = "attachments.json", 1


class Attachment(NamedTuple):
    """One interface of one container, as CNI names them, and the pod that it is of."""

    container: str
    ifname: str
    pod: str  # "default/a"
    uid: str  # "": the runtime did not say
    netns: str  # name or path
    known: Identity  # of the namespace, then
    addresses: tuple[str, ...]

    @property
    def there(self) -> bool:
        """Whether its namespace still is the one that it was."""
        return _identity(self.netns) == self.known


class Attachments:
    """Changed by the runtime's requests, read by rounds. `folder`: where it is kept for a restart; None: nowhere."""

    def __init__(self, folder: Path | None, problem: Callable[[str], None] = lambda problem: None) -> None:
        self._file, self._problem = folder / FILE if folder else None, problem
        self._lock = Lock()
        self._held: dict[tuple[str, str], Attachment] = {}
        self._left: dict[str, Identity] = {}  # namespaces that pods were taken out of, and that may stand for a moment yet
        if self._file is not None:
            self._held = {(one.container, one.ifname): one for one in _read(self._file, problem) if one.there}

    def add(self, attachment: Attachment) -> None:
        with self._lock:
            self._left.pop(attachment.netns, None)
            if self._held.get((attachment.container, attachment.ifname)) != attachment:
                self._held[attachment.container, attachment.ifname] = attachment
                self._keep()

    def drop(self, gone: Callable[[Attachment], bool]) -> list[Attachment]:
        """Those that it drops: what is held in their namespaces for them is wanted no more."""
        with self._lock:
            dropped = [one for one in self._held.values() if gone(one)]
            if dropped:
                self._left |= {one.netns: one.known for one in dropped}
                self._held = {key: one for key, one in self._held.items() if one not in dropped}
                self._keep()
            return dropped

    def _keep(self) -> None:
        self._held = {key: one for key, one in self._held.items() if one.there}
        if self._file is None:
            return
        document = {"version": VERSION, "attachments": [one._asdict() for one in self._held.values()]}
        try:
            write_private(self._file, json.dumps(document, indent=2).encode() + b"\n")
        except OSError as error:
            self._problem(f"{self._file}: {error.strerror}; pods that start now are known again after a restart once the API tells of them")

    def on(self, host: Host, where: Finder, pods: Iterable[Pod] | None, node: str) -> Host:
        """A host's facts with the namespaces of its pods, and the addresses of those that were connected."""
        mine = [pod for pod in pods or () if pod.node == node]
        host = with_pods(host, self.among(where), mine, node)
        return host._replace(attached={key: one.addresses for key, one in self._of(mine).items()})

    def among(self, where: Finder) -> Finder:
        """Finds what the runtime said before what it wrote."""
        return _Among(self, where)

    def _of(self, pods: Iterable[Pod]) -> dict[str, Attachment]:
        with self._lock:
            held = {one.pod: one for one in self._held.values() if one.there}  # of a pod's several sandboxes the last
        return {pod.key: held[pod.key] for pod in pods if pod.key in held and is_of(pod, held[pod.key].uid)}

    def found(self, where: Finder, pods: Iterable[Pod]) -> Mapping[str, str]:
        pods = list(pods)
        left = self._namespaces_left()
        found = {key: netns for key, netns in where.find(pods).items() if netns not in left}
        return found | {key: one.netns for key, one in self._of(pods).items()}

    def every(self) -> Collection[str]:
        """Namespaces in which something of ours may be."""
        with self._lock:
            held = {one.netns for one in self._held.values() if one.there}
        return held | self._namespaces_left()

    def _namespaces_left(self) -> set[str]:
        with self._lock:
            self._left = {netns: known for netns, known in self._left.items() if _identity(netns) == known}
            return set(self._left)


class _Among:
    def __init__(self, attachments: Attachments, where: Finder) -> None:
        self._attachments, self._where = attachments, where

    def find(self, pods: Iterable[Pod]) -> Mapping[str, str]:
        return self._attachments.found(self._where, pods)

    def every(self) -> tuple[str, ...]:
        return tuple(sorted({*self._where.every(), *self._attachments.every()}))


def is_of(pod: Pod, uid: str) -> bool:
    """Whether a runtime means this pod, and not one of the same name that came before or after."""
    return not uid or not pod.uid or uid == pod.uid


def _identity(netns: str) -> Identity | None:
    try:
        return identity(netns)
    except ObservationFailed:
        return None


def _read(path: Path, problem: Callable[[str], None]) -> list[Attachment]:
    """What was kept; of it counts what still is the namespace that it was."""
    try:
        document = json.loads(path.read_bytes())
        if document["version"] != VERSION:
            raise ValueError("version")
        return [_attachment(one) for one in document["attachments"]]
    except FileNotFoundError:
        return []
    except OSError as error:
        problem(f"{path}: {error.strerror}; pods are known again once the API tells of them")
    except (ValueError, KeyError, TypeError, RecursionError):
        problem(f"{path}: is damaged, and not used; pods are known again once the API tells of them")
    return []


def _attachment(said: Mapping[str, Any]) -> Attachment:
    texts = {name: said[name] for name in ("container", "ifname", "pod", "uid", "netns")}
    device, inode = said["known"]
    if not all(isinstance(text, str) for text in (*texts.values(), *said["addresses"])):
        raise ValueError("no text")
    return Attachment(**texts, known=(int(device), int(inode)), addresses=tuple(said["addresses"]))
