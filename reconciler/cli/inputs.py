"""What the verbs work on: the spec, the facts, and which node is meant."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.cli.trouble import CannotGoOn
from reconciler.engine.guard import Limits
from reconciler.engine.model import Plan, Seen, Wanted
from reconciler.engine.pipeline import make_plan
from reconciler.engine.reader import ObservationFailed, Scope
from reconciler.engine.render import Renderer
from reconciler.facts.content import content_digest
from reconciler.facts.lint import lint
from reconciler.facts.manifests import BadManifest, read_manifests
from reconciler.facts.merge import build_facts, nodes_of
from reconciler.facts.model import Facts, Host, Node
from reconciler.facts.pods import pods_of
from reconciler.facts.policies import policies_of, unenforced
from reconciler.facts.services import services_of
from reconciler.intents import Compiled, Context, IntentError, Remark, compile_node
from reconciler.intents.blank import blank_node
from reconciler.kinds import all_kinds
from reconciler.spec.load import Loaded, load_spec
from reconciler.spec.problems import Problem, SpecError

if TYPE_CHECKING:  # what a verb does not need is not imported
    from reconciler.kernel.node import KernelNode
    from reconciler.kernel.pods import Finder


Told = tuple[Mapping[str, Any], str]  # a Kubernetes object, and who says it


class Inputs(NamedTuple):
    """A valid network.yaml with the facts of its cluster."""

    loaded: Loaded
    facts: Facts
    warnings: tuple[Problem | Remark, ...]

    @property
    def limits(self) -> Limits:
        said = self.loaded.spec.limits
        return Limits(said.share, said.floor)

    @property
    def title(self) -> str:
        return f"{self.loaded.name} {self.loaded.digest[:8]}"

    def pod_finder(self, node: str) -> Finder:
        """How this node finds its pods' namespaces. Raises CannotGoOn."""
        from reconciler.kernel.pods import finder

        try:
            return finder(self.loaded.spec.membership.netns, node)
        except ObservationFailed as error:
            raise CannotGoOn([str(error)]) from None

    def scope(self, io: KernelNode, node: str, wanted: Wanted, root: str = "") -> Scope:
        """What a round on this host looks at."""
        from reconciler.kernel.pods import node_scope

        return node_scope(io, self.pod_finder(node), self.facts.pods, wanted, root)

    @property
    def content(self) -> str:
        """What a person confirms of it, the same on every node and as the daemon says it."""
        return content_digest(self.loaded.digest, self.loaded.spec.metadata.name, self.facts.nodes)

    def context(self, node: str) -> Context:
        return Context(self.loaded.spec, self.facts, node, self.loaded.where)


def read_inputs(path: str | os.PathLike[str], facts: Sequence[str | os.PathLike[str]] = (), told: Iterable[Told] = ()) -> Inputs:
    """Read and judge network.yaml, the manifests and what the API told. Raises CannotGoOn with every mistake."""
    try:
        loaded = load_spec(path)
        objects = [*told, *(thing for one in facts for thing in read_manifests(one))]
        nodes, wrong = nodes_of(objects)
        pods, wrong_pods = pods_of(objects)
        services, wrong_services = services_of(objects)
    except SpecError as error:
        raise CannotGoOn(str(problem) for problem in error.problems) from None
    except BadManifest as error:
        raise CannotGoOn([str(error)]) from None
    if wrong:
        raise CannotGoOn(wrong)
    built = build_facts(loaded, nodes, pods=pods, services=services)
    found = [*lint(loaded, built), *unenforced(loaded, policies_of(objects))]
    errors = [str(problem) for problem in found if problem.severity == "error"]
    if errors:
        raise CannotGoOn(errors)
    return Inputs(loaded, built, (*found, *(Remark(one) for one in (*wrong_pods, *wrong_services))))


def this_node(inputs: Inputs, said: str | None) -> str:
    """The node that is meant: --node, else $NODE_NAME, else the host's name. Raises CannotGoOn."""
    name = said or os.environ.get("NODE_NAME") or socket.gethostname()
    if name not in inputs.facts.nodes and inputs.facts.nodes:
        known = ", ".join(sorted(inputs.facts.nodes)[:12]) + (", …" if len(inputs.facts.nodes) > 12 else "")
        raise CannotGoOn([f"{name} is not a node of {inputs.loaded.name}; say --node NAME; its nodes are {known}"], 64 if said else 1)
    return name


def compiled(inputs: Inputs, node: str) -> Compiled:
    """What a node should hold. Raises CannotGoOn."""
    try:
        found = compile_node(inputs.context(node))
    except IntentError as error:
        raise CannotGoOn([str(error)]) from None
    if found.clashes:
        raise CannotGoOn(f"{clash}; keep one of the two" for clash in found.clashes)
    return found


def on_this_host(inputs: Inputs, node: str, root: str = "") -> Inputs:
    """The inputs with the facts of the host that this process runs on. Raises CannotGoOn."""
    from reconciler.kernel.devices import with_devices
    from reconciler.kernel.host import observe_host
    from reconciler.kernel.node import KernelNode
    from reconciler.kernel.pods import with_pods
    from reconciler.kernel.services import with_services

    facts, spec = inputs.facts, inputs.loaded.spec
    io = KernelNode()
    try:
        try:
            host = observe_host(io, facts.nodes.get(node, Node(node)), root)
        except ObservationFailed:
            if spec.fabric is not None or spec.cni is not None:
                raise
            host = Host("", 0, root=root)
        host = with_services(with_devices(host, io, spec.devices), io, spec.services)
    except ObservationFailed as error:
        raise CannotGoOn([f"{node}: {error}"]) from None
    finally:
        io.close()
    return inputs._replace(facts=facts._replace(host=with_pods(host, inputs.pod_finder(node), facts.pods, node)))


def host_now(inputs: Inputs, node: str, root: str = "") -> Host:
    """The facts of the host that this process runs on, as they are now; none where it has no uplink that can be told."""
    from reconciler.kernel.host import observe_host
    from reconciler.kernel.node import KernelNode

    io = KernelNode()
    try:
        return observe_host(io, inputs.facts.nodes.get(node, Node(node)), root)
    except ObservationFailed:
        return Host("", 0, root=root)
    finally:
        io.close()


def is_this_host(inputs: Inputs, node: str) -> bool:
    """Whether one of the node's addresses is on this host: only then is its plan made against this kernel."""
    from reconciler.kernel.host import addresses_here
    from reconciler.kernel.node import KernelNode

    io = KernelNode()
    try:
        here = addresses_here(io)
    except ObservationFailed:
        return False
    finally:
        io.close()
    return any(address.address in here for address in inputs.facts.nodes[node].addresses) if node in inputs.facts.nodes else False


def not_this_host(inputs: Inputs, node: str) -> str:
    """What to say where a node's addresses are known and none of them is on this host; empty where all is well."""
    known = inputs.facts.nodes[node].addresses if node in inputs.facts.nodes else ()
    if not known or is_this_host(inputs, node):
        return ""
    addresses = ", ".join(one.address for one in known)
    return f"no interface of this host has an address of {node} ({addresses}): is this {node}, or --node another one?"


def live_plan(inputs: Inputs, node: str, root: str = "") -> tuple[Plan, Seen]:
    """The node's plan against the kernel that this process runs on. Raises CannotGoOn."""
    from reconciler.engine.round import Round
    from reconciler.kernel.node import KernelNode

    inputs = on_this_host(inputs, node, root)
    wanted = compiled(inputs, node).wanted
    io = KernelNode()
    try:
        return Round(io, all_kinds(), limits=inputs.limits, name=node).plan(inputs.scope(io, node, wanted, root))
    finally:
        io.close()


def offline_plan(inputs: Inputs, node: str, renderer: Renderer, seen: Seen | None = None, limits: Limits | None = None) -> Plan:
    """The node's plan against an empty node, or against what was seen of it. `limits`: the guard's; none for what nobody runs."""
    wanted = compiled(inputs, node).wanted
    against = seen if seen is not None else blank_node(inputs.context(node), wanted)
    return make_plan(node, all_kinds(), renderer, wanted, against, limits or Limits(1.0, 1 << 30))


def existing(path: str) -> Path:
    """A path that has to be there. Raises CannotGoOn."""
    if not Path(path).exists():
        raise CannotGoOn([f"{path}: no such file or folder"])
    return Path(path)
