"""Content as files hold it: the spec and the facts of the nodes, read together and judged as one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import NamedTuple, Protocol

from pydantic import TypeAdapter, ValidationError

from reconciler.cluster.config import read_content
from reconciler.confirm.commit import Trial
from reconciler.confirm.trials import Trials
from reconciler.daemon.content import Rejected
from reconciler.daemon.settings import Settings
from reconciler.engine.guard import Limits
from reconciler.facts.content import content_digest
from reconciler.facts.lint import lint
from reconciler.facts.manifests import BadManifest, read_manifests
from reconciler.facts.merge import build_facts, nodes_of
from reconciler.facts.model import Facts, Host, Node, Pod, Service
from reconciler.facts.nodes import BadNode, KnownNodes
from reconciler.facts.pods import pods_of
from reconciler.facts.policies import unenforced
from reconciler.facts.services import services_of
from reconciler.intents import Compiled, Context, IntentError, Memo, compile_node
from reconciler.intents.fabric import unsendable
from reconciler.spec.cluster import Rollout
from reconciler.spec.load import Loaded, load_texts, read_texts
from reconciler.spec.partition import wire
from reconciler.spec.problems import SpecError
from reconciler.spec.services import Services

_TRIES = 5  # for content that is swapped while it is read

Texts = tuple[tuple[bytes, str], ...]  # content and name of each file of the spec


class FileInputs(NamedTuple):
    """A valid network.yaml, and the nodes that it and the manifests name."""

    loaded: Loaded
    facts: Facts
    node: Node
    texts: Texts
    warnings: tuple[str, ...] = ()
    stale: bool = False
    memo: Memo | None = None

    @property
    def digest(self) -> str:
        return self.loaded.digest

    @property
    def content(self) -> str:
        """The same on every node, and while nodes only change their labels or addresses."""
        return content_digest(self.digest, self.name, self.facts.nodes)

    @property
    def name(self) -> str:
        return self.loaded.spec.metadata.name

    @property
    def nodes(self) -> Collection[str]:
        return self.facts.nodes.keys()

    @property
    def pod_cidrs(self) -> Mapping[str, tuple[str, ...]]:
        return {name: node.pod_cidrs for name, node in self.facts.nodes.items()}

    @property
    def limits(self) -> Limits:
        said = self.loaded.spec.limits
        return Limits(said.share, said.floor)

    @property
    def rollout(self) -> Rollout:
        return self.loaded.spec.rollout

    @property
    def wire(self) -> Mapping[str, int]:
        return wire(self.loaded.spec)

    @property
    def served(self) -> int | None:
        """How many services there are; None where nobody said."""
        return None if self.facts.services is None else len(self.facts.services)

    @property
    def needs_uplink(self) -> bool:
        return self.loaded.spec.fabric is not None or self.loaded.spec.cni is not None

    @property
    def pods(self) -> tuple[Pod, ...] | None:
        return self.facts.pods

    @property
    def devices(self) -> Collection[str]:
        return self.loaded.spec.devices

    @property
    def pod_netns(self) -> str:
        return self.loaded.spec.membership.netns

    @property
    def services(self) -> Services | None:
        return self.loaded.spec.services

    def same(self, other: object) -> bool:
        return isinstance(other, FileInputs) and self[1:] == other[1:] and self.digest == other.digest

    def trial(self, trials: Trials, look: Callable[[], Host]) -> Trial:
        return trials.of(self.digest, self.node.name, self.loaded.spec.confirm, self.facts, look)

    def context(self, host: Host) -> Context:
        return Context(self.loaded.spec, self.facts._replace(host=host), self.node.name, self.loaded.where, self.memo)

    def compile(self, host: Host) -> Compiled:
        """Raises IntentError."""
        context = self.context(host)
        if why := unsendable(context):
            raise IntentError(why)
        return compile_node(context)

    def packed(self) -> bytes:
        return bytes(_packing().dump_json(_Packed(self.texts, self.facts._replace(host=None))))


class _Packed(NamedTuple):
    """What of the content is kept on disk: the texts as they were, and facts in our own small types."""

    texts: Texts
    facts: Facts


@cache
def _packing() -> TypeAdapter[_Packed]:
    return TypeAdapter(_Packed)


def unpack_inputs(settings: Settings, body: bytes) -> FileInputs:
    """Content that was kept, judged again as this version judges. Raises Rejected."""
    try:
        packed = _packing().validate_json(body)
        loaded = load_texts(packed.texts)
    except ValidationError as error:
        raise Rejected((f"cannot be read by this version of plumbline: {error.errors()[0]['msg']}",)) from error
    except SpecError as error:
        raise Rejected(tuple(str(problem) for problem in error.problems)) from error
    return _judged(settings, loaded, packed.facts, packed.texts)._replace(stale=True)


class Told(NamedTuple):
    """What the Kubernetes API says. None: it never did, nor did it before this start."""

    nodes: tuple[Node, ...] | None = None
    pods: tuple[Pod, ...] | None = None
    services: tuple[Service, ...] | None = None
    cluster_id: str = ""
    policies: tuple[str, ...] = ()  # NetworkPolicies by name
    stale: bool = False  # some of it was kept on disk, or is still to come
    renamed: str = ""  # this node is not among them, and has this name there now
    warnings: tuple[str, ...] = ()


class Teller(Protocol):
    """Whoever speaks with the Kubernetes API."""

    def texts(self) -> Texts | None:
        """network.yaml; None: files hold it. Raises Rejected."""

    def parsed(self, texts: Texts) -> Loaded:
        """The same as before where the texts are: objects change more often than network.yaml. Raises SpecError."""

    def told(self, loaded: Loaded) -> Told:
        """What there is of all that this spec makes use of. Raises Rejected."""


def load_inputs(settings: Settings, memo: Memo | None = None, known: KnownNodes | None = None, teller: Teller | None = None) -> FileInputs:
    """Read and judge everything at one moment. Raises Rejected. `memo`, `known`: of the times before."""
    before = read_content(settings.paths)
    for _ in range(_TRIES):
        inputs = _load(settings, known, teller)
        now = read_content(settings.paths)
        if now == before:
            return inputs._replace(memo=memo)
        before = now
    raise Rejected((f"{settings.source}: the content changed {_TRIES} times while it was read",))


def _load(settings: Settings, known: KnownNodes | None, teller: Teller | None) -> FileInputs:
    """A node that cannot be read is not left out: to its peers that would mean to remove all that leads to it."""
    try:
        texts = teller.texts() if teller else None
        if texts is None and settings.config is not None:
            texts = tuple(read_texts(settings.config))
        loaded = teller.parsed(texts or ()) if teller else load_texts(texts or ())
        objects = [thing for path in settings.facts for thing in read_manifests(path)]
        nodes, wrong = nodes_of(objects, known)
        pods, wrong_pods = pods_of(objects)
        services, wrong_services = services_of(objects)
    except SpecError as error:
        raise Rejected(tuple(str(problem) for problem in error.problems)) from error
    except (BadManifest, BadNode) as error:
        raise Rejected((str(error),)) from error
    if wrong:
        raise Rejected(tuple(wrong))
    told = teller.told(loaded) if teller else Told()
    nodes = [*{node.name: node for node in (*nodes, *(told.nodes or ()))}.values()]
    pods, services = pods if told.pods is None else told.pods, services if told.services is None else told.services
    facts = build_facts(loaded, nodes, pods=pods, services=services)._replace(cluster_id=told.cluster_id)
    if settings.node not in facts.nodes and (facts.nodes or told.nodes is not None):
        raise Rejected((_unknown(settings, facts, told.renamed),))
    inputs = _judged(settings, loaded, facts, texts or ())
    unserved = map(str, unenforced(loaded, told.policies, warning=True))
    return inputs._replace(warnings=(*inputs.warnings, *wrong_pods, *wrong_services, *told.warnings, *unserved), stale=told.stale)


def _judged(settings: Settings, loaded: Loaded, facts: Facts, texts: Texts) -> FileInputs:
    """Raises Rejected for what contradicts itself."""
    found = lint(loaded, facts)
    errors = tuple(str(problem) for problem in found if problem.severity == "error")
    if errors:
        raise Rejected(errors)
    return FileInputs(loaded, facts, _this_node(settings, facts), texts, tuple(str(problem) for problem in found))


def _this_node(settings: Settings, facts: Facts) -> Node:
    """Raises Rejected: a node that is named no more keeps its network until a person removes it."""
    node = facts.nodes.get(settings.node)
    if node is None and facts.nodes:
        raise Rejected((_unknown(settings, facts),))
    return node or Node(settings.node)


def _unknown(settings: Settings, facts: Facts, renamed: str = "") -> str:
    here = f"{settings.source}: node {settings.node} is not among the {len(facts.nodes)} nodes that network.yaml and the facts name; "
    if renamed:
        return f"{here}its address is that of node {renamed} now: if it was renamed, start this daemon with --node {renamed}"
    return f"{here}if it has another name here, say --node NAME; if it left the cluster, remove what it holds: plumbline cleanup"
