"""Content by watch: what the Kubernetes API says, what it said before where it does not answer, and what is left of that on disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from reconciler.cluster.known import Known, Report
from reconciler.cluster.reflector import Reflector, Resource, Timing, end
from reconciler.cluster.transport import Api
from reconciler.cluster.view import ClusterView, View
from reconciler.daemon.content import Rejected
from reconciler.daemon.inputs import FileInputs, Texts, Told, unpack_inputs
from reconciler.daemon.settings import Settings
from reconciler.facts.model import Facts, Node
from reconciler.intents.membership import asks
from reconciler.spec.load import Loaded, load_spec, load_texts
from reconciler.spec.model import ClusterNetwork
from reconciler.spec.problems import SpecError

CONFIGMAP = "configmap"
_NOTHING = ClusterNetwork(api_version="plumbline.dev/v1alpha1", kind="ClusterNetwork")  # which nodes there are matters to any
_SUFFIXES = (".yaml", ".yml")


class Live:
    """What the daemon hears of the API; one `Teller`. Watches begin with `start`, and with the first content that asks for them."""

    def __init__(self, settings: Settings, api: Api, report: Report, timing: Timing = Timing()) -> None:
        self._settings, self._api, self._report, self._timing = settings, api, report, timing
        self._kept: FileInputs | None = None
        self._me: Node | None = None  # this node, as it was when there was one
        self._parsed: tuple[Texts, Loaded] | None = None
        self._view: ClusterView | None = None
        self._configmap: Reflector[Texts] | None = None

    def start(self, changed: Callable[[], None]) -> None:
        """`changed` comes from threads of the watches."""
        if self._settings.cluster:
            self._view = ClusterView(self._api, self._settings.node, changed, report=self._report, timing=self._timing)
            self._ask_early(self._view)
        if self._settings.configmap:
            self._configmap = Reflector(self._api, configmap(self._settings.configmap), changed, report=self._report, timing=self._timing)
            self._configmap.start()

    def _ask_early(self, view: ClusterView) -> None:
        """What the first round will want to know. What is wrong with the files is told then."""
        try:
            if self._settings.config is not None and not self._settings.configmap:
                loaded = load_spec(self._settings.config)
                self._reach(loaded)
                view.select(loaded.spec)
            else:
                view.select(self._kept.loaded.spec if self._kept is not None else _NOTHING)
        except SpecError:
            return

    def close(self) -> None:
        if self._configmap is not None:
            end([self._configmap])
        if self._view is not None:
            self._view.close()

    def restore(self, body: bytes) -> FileInputs:
        """Content that was kept: it says where the API is, and what it said. Raises Rejected."""
        kept = unpack_inputs(self._settings, body)
        self._reach(kept.loaded)
        self._kept, self._me = kept, kept.node
        return kept

    @property
    def known(self) -> list[Known[Any]]:
        """Each watch by itself."""
        watches = [self._configmap.known()] if self._configmap is not None else []
        return watches + (self._view.known() if self._view is not None else [])

    # -- Teller ----------------------------------------------------------------------------------

    def texts(self) -> Texts | None:
        if self._configmap is None:
            return None
        known, name = self._configmap.known(), self._settings.configmap
        if known.values is None:
            if self._settings.config is not None:
                return None
            if self._kept is not None:
                return self._kept.texts
            raise Rejected((f"configmap {name} was not read yet: {known.trouble or 'the Kubernetes API is asked for it'}",))
        if not known.values:
            raise Rejected((f"configmap {name}: there is none; make it again, or say another one with --configmap",))
        if not known.values[0]:
            raise Rejected((f"configmap {name}: holds no key that ends in .yaml; put network.yaml there",))
        return known.values[0]

    def parsed(self, texts: Texts) -> Loaded:
        if self._parsed is None or self._parsed[0] != texts:
            self._parsed = texts, load_texts(texts)
        return self._parsed[1]

    def told(self, loaded: Loaded) -> Told:
        self._reach(loaded)
        if self._view is None:
            return Told(stale=self._configmap is not None and self._configmap.known().values is None)
        self._view.select(loaded.spec)
        view = self._view.view()
        kept = self._kept.facts if self._kept is not None else None
        if view.nodes is None and kept is None and self._settings.node not in loaded.spec.nodes:
            why = next((one.trouble for one in self.known if one.trouble), "it is asked")
            raise Rejected((f"the Kubernetes API has not told yet which nodes there are: {why}",))
        if not (view.awaited or self._unread):
            self._kept = None  # all of it is known anew
        self._me = next((node for node in view.nodes or () if node.name == self._settings.node), self._me)
        warnings = (*_detour(view, self._api.server), *_unlabelled(view, loaded, self._settings.node))
        told = _told(view, kept, *warnings)
        return told._replace(stale=bool(view.awaited) or self._unread, renamed=_heir(self._me, told.nodes or ()))

    @property
    def _unread(self) -> bool:
        return self._configmap is not None and self._configmap.known().values is None

    def _reach(self, loaded: Loaded) -> None:
        self._api.reach(self._settings.servers or tuple(loaded.spec.cluster.api_servers))


def _heir(me: Node | None, nodes: Collection[Node]) -> str:
    """Who has this node's address under another name; empty where nobody has, or where it still has it."""
    if me is None or not me.addresses or any(node.name == me.name for node in nodes):
        return ""
    return next((node.name for node in nodes if node.addresses == me.addresses), "")


def _told(view: View, kept: Facts | None, *warnings: str) -> Told:
    """What is not known now is as it was before this start."""
    before = kept or Facts({})
    return Told(
        tuple(before.nodes.values()) if view.nodes is None else view.nodes,
        before.pods if view.pods is None else view.pods,
        before.services if view.services is None else view.services,
        view.cluster_id or before.cluster_id,
        policies=view.policies,
        warnings=(*view.faults, *warnings),
    )


def _detour(view: View, server: str) -> list[str]:
    """The API must be reached without what it is needed for."""
    host = urlsplit(server).hostname
    for service in view.services or ():
        if host in service.cluster_ips:
            backends = {backend.address for piece in service.slices for backend in piece.backends}
            ports = {number for piece in service.slices for _, _, number in piece.ports}
            servers = ", ".join(
                f"https://[{one}]:{port}" if ":" in one else f"https://{one}:{port}" for one in sorted(backends) for port in ports
            )
            return [
                f"the Kubernetes API is reached at {host}, the address of service {service.key} that this network itself provides: "
                f"a node that has lost it could not ask any more; say cluster: {{apiServers: [{servers}]}}"
            ]
    return []


def _unlabelled(view: View, loaded: Loaded, node: str) -> list[str]:
    """Pods of other nodes are watched by a label: one without it is a member here, and nowhere else."""
    said = loaded.spec.membership
    return [
        f'{pod.where}: joins its segments here alone, as no other node hears of it: give it the label {said.label}: "true" as well'
        for pod in view.pods or ()
        if pod.node == node
        and said.segments_annotation in pod.annotations
        and pod.labels.get(said.label) != "true"
        and asks(loaded.spec, pod)  # one that has ended does not any more
    ]


def configmap(name: str) -> Resource[Texts]:
    """`name`: NAMESPACE/NAME."""
    namespace, _, one = name.partition("/")

    def read(thing: Mapping[str, Any]) -> Texts:
        data = thing.get("data") or {}
        return tuple((text.encode(), key) for key, text in sorted(data.items()) if key.endswith(_SUFFIXES))

    return Resource(CONFIGMAP, f"/api/v1/namespaces/{namespace}/configmaps", read, f"metadata.name={one}")
