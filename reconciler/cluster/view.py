"""The cluster as its API tells it: one watch for each sort of object that network.yaml makes use of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from reconciler.cluster.known import Known, Report
from reconciler.cluster.reflector import Reflector, Resource, Timing, end, items, key_of
from reconciler.cluster.resources import (
    KINDS,
    MEMBERS,
    NODES,
    PODS_HERE,
    POLICIES,
    SERVICES,
    SLICES,
    nodes,
    pods,
    policies,
    services,
    slices,
)
from reconciler.cluster.transport import Api, Trouble
from reconciler.facts.model import Node, Pod, Service
from reconciler.facts.services import joined
from reconciler.spec.model import ClusterNetwork

T = TypeVar("T")
IDENTITY = "/api/v1/namespaces/kube-system"  # its UID is what people tell clusters apart by


class View(NamedTuple):
    """What is known now. None: the API never told."""

    nodes: tuple[Node, ...] | None = None
    pods: tuple[Pod, ...] | None = None
    services: tuple[Service, ...] | None = None
    cluster_id: str = ""  # "": not known
    awaited: tuple[str, ...] = ()  # what rows are made of, and was never told
    faults: tuple[str, ...] = ()  # objects that could not be read, and are left as they were
    policies: tuple[str, ...] = ()  # NetworkPolicies by name


class ClusterView:
    """Watches what `select` asks for. `changed` comes from other threads, whenever a view is otherwise than the one before."""

    def __init__(
        self, api: Api, node: str, changed: Callable[[], None], *, report: Report = lambda name, why: None, timing: Timing = Timing()
    ) -> None:
        self._api, self._node, self._changed, self._report, self._timing = api, node, changed, report, timing
        self._watches: dict[Resource[Any] | tuple[str, ...], Reflector[Any]] = {}
        self._identity = ""

    def select(self, spec: ClusterNetwork) -> None:
        """Watch what this spec makes use of, and nothing else."""
        wanted = {(one.name, one.fields, one.labels, *keep): one for one, keep in resources_of(spec, self._node)}
        for key in self._watches.keys() - wanted.keys():
            self._watches.pop(key).stop()
        for key, resource in wanted.items():
            if key not in self._watches:
                self._watches[key] = self._reflector(resource)
                self._watches[key].start()

    def _reflector(self, resource: Resource[Any]) -> Reflector[Any]:
        before = self._identify if resource.name == NODES else None
        return Reflector(self._api, resource, self._changed, report=self._report, before=before, timing=self._timing)

    def _identify(self) -> None:
        """Raises Trouble. Whoever may not ask does without: only `metadata.clusterID` needs it."""
        try:
            self._identity = str(self._api.get(IDENTITY)["metadata"]["uid"])
        except Trouble as trouble:
            if trouble.status not in (403, 404):
                raise

    def view(self) -> View:
        known = {one.name: one for one in self.known()}
        awaited = tuple(name for name, one in known.items() if one.values is None and name != POLICIES)
        faults = tuple(f"{fault}; it stays as it last was" for one in known.values() for fault in one.faults)
        here, members = _values(known, PODS_HERE), _values(known, MEMBERS)
        found = None
        if here is not None or members is not None:
            found = tuple({pod.key: pod for pod in (*(members or ()), *(here or ()))}.values())
        served, backends = _values(known, SERVICES), _values(known, SLICES)
        together = None if served is None or backends is None else joined(served, backends)
        return View(_values(known, NODES), found, together, self._identity, awaited, faults, _values(known, POLICIES) or ())

    def known(self) -> list[Known[Any]]:
        """Each watch by itself."""
        return [watch.known() for watch in list(self._watches.values())]  # other threads ask too

    def close(self) -> None:
        end(self._watches.values())


def resources_of(spec: ClusterNetwork, node: str) -> Iterator[tuple[Resource[Any], tuple[str, ...]]]:
    """What a spec makes use of on a node, and which annotations of it."""
    yield nodes(), ()
    if spec.segments or spec.membership.pod_defined:
        said = spec.membership
        keep = (said.annotation, said.segments_annotation)
        yield pods(PODS_HERE, keep, fields=f"spec.nodeName={node}"), keep
        yield pods(MEMBERS, keep, labels=f"{said.label}=true"), keep
    if spec.services is not None:
        yield services(), ()
        yield slices(), ()
    if spec.policy != "external":
        yield policies(), ()


def objects_of(api: Api, spec: ClusterNetwork, node: str) -> list[dict[str, Any]]:
    """What rows are made of, as the API has it now, as manifests: each object once. Raises Trouble."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for resource, _ in resources_of(spec, node):
        if resource.name == POLICIES:
            continue
        kind = KINDS[resource.name]
        version = resource.path.removeprefix("/api/").removeprefix("/apis/").rpartition("/")[0]
        query = {name: said for name, said in (("fieldSelector", resource.fields), ("labelSelector", resource.labels)) if said}
        for thing in items(api, resource.path, query):
            found[kind, key_of(thing)] = {**thing, "apiVersion": version, "kind": kind}
    return list(found.values())


def _values(known: dict[str, Known[Any]], name: str) -> tuple[Any, ...] | None:
    return known[name].values if name in known else None
