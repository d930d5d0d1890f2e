"""Content as files hold it: the spec and the facts of the nodes, read together and judged as one."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.cluster.config import read_content
from reconciler.daemon.controller import Rejected
from reconciler.daemon.settings import Settings
from reconciler.engine.guard import Limits
from reconciler.facts.lint import lint
from reconciler.facts.manifests import BadManifest, read_manifests
from reconciler.facts.merge import build_facts, nodes_of
from reconciler.facts.model import Facts, Host, Node
from reconciler.facts.nodes import BadNode
from reconciler.intents import Compiled, Context, compile_node
from reconciler.spec.load import Loaded, load_spec
from reconciler.spec.problems import SpecError

_TRIES = 5  # for content that is swapped while it is read


class FileInputs(NamedTuple):
    """A valid network.yaml, and the nodes that it and the manifests name."""

    loaded: Loaded
    facts: Facts
    node: Node
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return self.loaded.digest

    @property
    def limits(self) -> Limits:
        said = self.loaded.spec.limits
        return Limits(said.share, said.floor)

    @property
    def needs_uplink(self) -> bool:
        return self.loaded.spec.fabric is not None or self.loaded.spec.cni is not None

    def compile(self, host: Host) -> Compiled:
        """Raises IntentError."""
        return compile_node(Context(self.loaded.spec, self.facts._replace(host=host), self.node.name, self.loaded.where))


def load_inputs(settings: Settings) -> FileInputs:
    """Read and judge everything at one moment. Raises Rejected."""
    paths = (settings.config, *settings.facts)
    before = read_content(paths)
    for _ in range(_TRIES):
        inputs = _load(settings)
        now = read_content(paths)
        if now == before:
            return inputs
        before = now
    raise Rejected((f"{settings.config}: the content changed {_TRIES} times while it was read",))


def _load(settings: Settings) -> FileInputs:
    """A node that cannot be read is not left out: to its peers that would mean to remove all that leads to it."""
    try:
        loaded = load_spec(settings.config)
        nodes, wrong = nodes_of(thing for path in settings.facts for thing in read_manifests(path))
        facts = build_facts(loaded, nodes)
    except SpecError as error:
        raise Rejected(tuple(str(problem) for problem in error.problems)) from error
    except (BadManifest, BadNode) as error:
        raise Rejected((str(error),)) from error
    if wrong:
        raise Rejected(tuple(wrong))
    found = lint(loaded, facts)
    errors = tuple(str(problem) for problem in found if problem.severity == "error")
    if errors:
        raise Rejected(errors)
    return FileInputs(loaded, facts, _this_node(settings, facts), tuple(str(problem) for problem in found))


def _this_node(settings: Settings, facts: Facts) -> Node:
    """Raises Rejected: a node that is named no more keeps its network until a person removes it."""
    node = facts.nodes.get(settings.node)
    if node is not None:
        return node
    if not facts.nodes:
        return Node(settings.node)
    raise Rejected(
        (
            f"{settings.config}: node {settings.node} is not among the {len(facts.nodes)} nodes that network.yaml and the facts name; "
            f"if it has another name here, say --node NAME; if it left the cluster, remove what it holds: plumbline cleanup",
        )
    )
