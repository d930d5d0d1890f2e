"""Where pods' network namespaces stand on this node, by what the container runtime itself keeps on disk.

Both runtimes that Kubernetes runs on write the OCI specification of every sandbox below /run
(OCI runtime-spec, config-linux.md: `namespaces`), with the pod's name in its annotations. Reading
it needs no connection to the runtime, works while it is restarted, and costs no process.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from reconciler.engine.model import Wanted
from reconciler.engine.reader import ObservationFailed, Reader, Scope, scope_of
from reconciler.facts.model import Host, Pod
from reconciler.kernel.netns import Identity, identity
from reconciler.kinds.link.decode import REQUEST, decode
from reconciler.kinds.marks import GROUP
from reconciler.spec.segments import netns_template

TEMPLATE = "PLUMBLINE_POD_NETNS"  # environment: a template that stands above network.yaml's (a lab's own)
CONTAINERD = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/*/config.json"
CRIO = "/run/containers/storage/*-containers/*/userdata/config.json"
_NAMED = re.compile(r"/(?:var/)?run/netns/([A-Za-z0-9_.+@-]+)")
_PATH = re.compile(r"(/[A-Za-z0-9_.+@-]+)+")


class Finder(Protocol):
    """How a node finds its pods' namespaces."""

    def find(self, pods: Iterable[Pod]) -> Mapping[str, str]:
        """Of these pods those that are here: "default/a" to the name (below /run/netns) or the path of its namespace."""

    def every(self) -> tuple[str, ...]:
        """The namespaces of all pods on this node, members of something or not."""


class Sandbox(NamedTuple):
    """What a runtime says of one pod."""

    key: str  # "default/a"
    uid: str
    netns: str
    since: float  # when it was written, seconds since the epoch: a pod of the same name may have been there before


class Runtime:
    """containerd and CRI-O, whichever is there. Files that did not change are not read again."""

    def __init__(self, patterns: Sequence[str] = (CONTAINERD, CRIO)) -> None:
        self._patterns = tuple(patterns)
        self._read: dict[str, tuple[tuple[int, int], Sandbox | None]] = {}

    def find(self, pods: Iterable[Pod]) -> Mapping[str, str]:
        by_key: dict[str, list[Sandbox]] = {}
        for sandbox in sorted(self._sandboxes(), key=lambda one: one.since):
            by_key.setdefault(sandbox.key, []).append(sandbox)
        found = {}
        for pod in pods:
            mine = [one for one in by_key.get(pod.key, ()) if not pod.uid or one.uid in ("", pod.uid)]
            if mine:
                found[pod.key] = mine[-1].netns
        return found

    def every(self) -> tuple[str, ...]:
        return tuple(sorted({sandbox.netns for sandbox in self._sandboxes()}))

    def _sandboxes(self) -> list[Sandbox]:
        """Those whose namespace is there, and is not this node's own."""
        own = identity("")
        known, self._read = self._read, {}
        found = []
        for path in (path for pattern in self._patterns for path in glob(pattern)):  # noqa: PTH207 - absolute patterns
            try:
                status = os.stat(path)
                stamp = (status.st_ino, status.st_mtime_ns)
                before = known.get(path)
                sandbox = before[1] if before and before[0] == stamp else _sandbox(path, status.st_mtime)
            except (OSError, ValueError):
                continue  # it went, or is being written: the next look sees it
            self._read[path] = (stamp, sandbox)
            if sandbox is not None and _is_another(sandbox.netns, own):
                found.append(sandbox)
        return found


class ByTemplate:
    """A path for every pod, with {namespace}, {name}, {uid} and {node} in it. `node`: which one this is; "": any."""

    def __init__(self, template: str, node: str = "") -> None:
        self._template = template.replace("{node}", node) if node else template

    def find(self, pods: Iterable[Pod]) -> Mapping[str, str]:
        own = identity("")
        found = {}
        for pod in pods:
            netns = _name(self._template.format(namespace=pod.namespace, name=pod.name, uid=pod.uid, node=pod.node))
            if netns and _is_another(netns, own):
                found[pod.key] = netns
        return found

    def every(self) -> tuple[str, ...]:
        own = identity("")
        names = (_name(path) for path in glob(re.sub(r"\{[a-z]+\}", "*", self._template)))  # noqa: PTH207 - an absolute pattern
        return tuple(sorted(name for name in names if name and _is_another(name, own)))


def finder(template: str = "auto", node: str = "") -> Finder:
    """The one that network.yaml asks for (`membership.netns`), unless the environment knows better. Raises ObservationFailed."""
    try:
        said = netns_template(os.environ.get(TEMPLATE) or template)
    except ValueError as error:
        raise ObservationFailed(f"{TEMPLATE}: {error}") from None
    return Runtime() if said == "auto" else ByTemplate(said, node)


def with_pods(host: Host, where: Finder, pods: Iterable[Pod] | None, node: str) -> Host:
    """A host's facts with the namespaces of the pods that are on it."""
    mine = [pod for pod in pods or () if pod.node == node]
    return host._replace(namespaces=where.find(mine)) if mine else host


def node_scope(io: Reader, where: Finder, pods: Iterable[Pod] | None, wanted: Wanted, root: str = "") -> Scope:
    """The node's namespace, those that wanted rows lie in, and those of pods that still hold something of ours.

    pods: None where nobody said which there are; then what other namespaces hold may well be wanted.
    """
    named = scope_of(wanted, root)
    if pods is None:
        return named
    return scope_of(wanted, root, also=marked(io, [name for name in where.every() if name not in named.netns]))


def marked(io: Reader, namespaces: Sequence[str]) -> tuple[str, ...]:
    """Those of the namespaces that hold a device of ours."""
    found = []
    with io.visit(namespaces) as absent:
        for name in namespaces:
            if name not in absent:
                try:
                    rows = io.decoded(name, REQUEST, decode)
                except ObservationFailed:
                    continue  # nothing is known of it, so nothing is done in it
                if any(row.group == GROUP for row in rows):
                    found.append(name)
    return tuple(found)


def pod_namespace(path: str) -> tuple[str, Identity] | None:
    """Name (or path) of a pod's namespace and what it is known by; None where no namespace stands there, or the node's own."""
    name = _name(path)
    if not name or not _is_another(name, identity("")):
        return None
    return name, identity(name)


def _is_another(netns: str, own: Identity) -> bool:
    """Whether a namespace stands there, and not the node's own: rows for a pod must never end up in that."""
    try:
        found = identity(netns)
    except ObservationFailed:
        return False
    return found != own and found[0] == own[0]  # one device for all namespaces: anything else is a plain file


def _name(path: str) -> str:
    """A namespace's name where it has one, else its path; "" for what cannot stand in a command line."""
    named = _NAMED.fullmatch(path)
    if named:
        return named[1]
    return path if _PATH.fullmatch(path) else ""


def _sandbox(path: str, since: float) -> Sandbox | None:
    """What one OCI specification says; None for a container that is not a sandbox, or has the node's network.

    Raises OSError, ValueError.
    """
    document = json.loads(Path(path).read_bytes())
    notes: Mapping[str, Any] = document.get("annotations") or {}
    namespace = next(iter(_network(document)), "")
    netns = _name(namespace)
    if notes.get("io.kubernetes.cri.container-type") == "sandbox":
        names = ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name", "io.kubernetes.cri.sandbox-uid")
    elif notes.get("io.kubernetes.cri-o.ContainerType") == "sandbox":
        names = ("io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.pod.uid")
    else:
        return None
    pod_namespace, name, uid = (str(notes.get(one, "")) for one in names)
    return Sandbox(f"{pod_namespace}/{name}", uid, netns, since) if netns and name else None


def _network(document: Mapping[str, Any]) -> Iterator[str]:
    for one in (document.get("linux") or {}).get("namespaces") or ():
        if one.get("type") == "network" and one.get("path"):
            yield str(one["path"])
