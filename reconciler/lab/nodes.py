"""What runs on the lab's nodes: one round in this process, or a daemon each."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from reconciler.engine.guard import Limits
from reconciler.engine.model import Plan, Wanted
from reconciler.engine.reader import Scope
from reconciler.engine.round import Result, Round
from reconciler.facts.manifests import BadManifest, read_manifests
from reconciler.facts.merge import build_facts, nodes_of
from reconciler.facts.model import Facts
from reconciler.facts.pods import pods_of
from reconciler.facts.services import services_of
from reconciler.intents import Compiled, Context, compile_node
from reconciler.kernel.devices import with_devices
from reconciler.kernel.host import observe_host
from reconciler.kernel.netns import RUN, inside
from reconciler.kernel.node import KernelNode
from reconciler.kernel.pods import TEMPLATE, ByTemplate, node_scope, with_pods
from reconciler.kernel.services import with_services
from reconciler.kinds import all_kinds
from reconciler.lab.interrupts import uninterrupted
from reconciler.lab.state import Lab
from reconciler.lab.topology import Cluster, LabError, pod_netns
from reconciler.spec.load import Loaded, load_spec, load_text

T = TypeVar("T")
ANYTHING = Limits(1.0, 1 << 30)  # nothing here is worth a person's word
PORT = 9474  # of every daemon, in its own namespace


class Network(NamedTuple):
    """network.yaml and the nodes of the cluster, as every node reads them."""

    loaded: Loaded
    facts: Facts

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.loaded.spec, self.facts)


def read_network(path: str | os.PathLike[str], facts: Iterable[str | os.PathLike[str]] = ()) -> Network:
    """From files. Raises SpecError or LabError."""
    try:
        objects = [thing for one in facts for thing in read_manifests(one)]
        nodes, wrong = nodes_of(objects)
        pods, wrong_pods = pods_of(objects)
        services, wrong_services = services_of(objects)
    except BadManifest as error:
        raise LabError(str(error)) from error
    if wrong or wrong_pods or wrong_services:
        raise LabError("; ".join((*wrong, *wrong_pods, *wrong_services)))
    loaded = load_spec(path)
    return Network(loaded, build_facts(loaded, nodes, pods=pods, services=services))


def text_network(text: str) -> Network:
    """From a text. Raises SpecError."""
    loaded = load_text(text)
    return Network(loaded, build_facts(loaded, []))


def compiled_node(lab: Lab, network: Network, node: str) -> Compiled:
    """What a node should hold; to be called in its namespace. Raises IntentError, ObservationFailed, LabError."""
    io = KernelNode()
    try:
        host = observe_host(io, network.facts.nodes[node], lab.root(node))
        host = with_devices(host, io, network.loaded.spec.devices)
        host = with_services(host, io, network.loaded.spec.services)
        host = with_pods(host, pod_finder(lab, node), network.facts.pods, node)
    finally:
        io.close()
    compiled = compile_node(Context(network.loaded.spec, network.facts._replace(host=host), node, network.loaded.where))
    if compiled.clashes:
        raise LabError("; ".join(str(clash) for clash in compiled.clashes))
    return compiled


def pod_finder(lab: Lab, node: str) -> ByTemplate:
    """The lab's own way to its pods' namespaces."""
    return ByTemplate(_template(lab, node), node)


def _template(lab: Lab, node: str) -> str:
    return f"{RUN}/{pod_netns(lab.name, node, '{namespace}', '{name}')}"


def _at(lab: Lab, node: str, network: Network | None, call: Callable[[Round, Scope], T]) -> T:
    """What `call` returns, in the node's namespace, for what the network wants of it; None wants nothing."""

    def work() -> T:
        io = KernelNode()
        try:
            wanted = compiled_node(lab, network, node).wanted if network else Wanted()
            scope = node_scope(io, pod_finder(lab, node), network.facts.pods if network else (), wanted, lab.root(node))
            return call(Round(io, all_kinds(), limits=ANYTHING, name=node), scope)
        finally:
            io.close()

    return inside(lab.topology.machine(node).netns, work)


def plan_node(lab: Lab, network: Network, node: str) -> Plan:
    """What would run on a node now."""
    return _at(lab, node, network, lambda engine, scope: engine.plan(scope)[0])


def apply_node(lab: Lab, network: Network, node: str) -> Result:
    """One converging round on a node."""
    return _at(lab, node, network, lambda engine, scope: engine.converge(scope))


def clean_node(lab: Lab, node: str) -> Result:
    """Take away all that is plumbline's on a node."""
    return _at(lab, node, None, lambda engine, scope: engine.converge(scope))


def on_all(nodes: Sequence[str], call: Callable[[str], T]) -> dict[str, T]:
    """The same on several nodes at once."""
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="lab") as pool:
        return dict(zip(nodes, pool.map(call, nodes), strict=True))


def members(lab: Lab, network: Network) -> list[str]:
    """The nodes of a network that the lab has."""
    return [machine.name for machine in lab.topology.machines if machine.name in network.facts.nodes]


def apply_all(lab: Lab, network: Network) -> dict[str, Result]:
    """One converging round on every node of the network."""
    return on_all(members(lab, network), lambda node: apply_node(lab, network, node))


def clean_all(lab: Lab, nodes: Sequence[str]) -> dict[str, Result]:
    """Take away all that is plumbline's on these nodes."""
    return on_all(nodes, lambda node: clean_node(lab, node))


# -- daemons ---------------------------------------------------------------------------------


def start_daemons(lab: Lab, config: Path, nodes: Iterable[str], facts: Iterable[Path] = ()) -> None:
    """`plumbline run` on each node, as a process in its namespace; its log is in the node's folder."""
    for node in nodes:
        folder = lab.node_folder(node)
        command = [
            *("nsenter", f"--net=/run/netns/{lab.topology.machine(node).netns}", sys.executable, "-m", "reconciler.cli", "run"),
            *("--config", str(config), "--node", node, "--root", lab.root(node), "--listen", f"127.0.0.1:{PORT}"),
            *("--state", str(folder / "state")),  # whatever the environment says: two daemons share none
            *(word for path in facts for word in ("--facts", str(path))),
        ]
        environment = {**os.environ, TEMPLATE: _template(lab, node)}
        log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        files = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, str(folder / "log"), log, 0o644)]
        with uninterrupted() as mask:  # a process that nobody wrote down would stay
            pid = os.posix_spawnp(  # it outlives whoever starts it, which subprocess takes for a mistake
                command[0], command, environment, file_actions=[*files, (os.POSIX_SPAWN_DUP2, 1, 2)], setsid=True, setsigmask=mask
            )
            (folder / "daemon").write_text(f"{pid} {_born(pid)}")


def stop_daemons(lab: Lab, nodes: Iterable[str] | None = None, seconds: float = 5.0) -> None:
    """SIGTERM to each of them by its pid, and SIGKILL to one that does not end in time. Twice is once."""
    chosen = [machine.name for machine in lab.topology.machines] if nodes is None else list(nodes)
    running = []
    for node in chosen:
        file = lab.node_folder(node) / "daemon"
        descriptor = _daemon(file)
        if descriptor is not None:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            running.append(descriptor)
        file.unlink(missing_ok=True)
    end = time.monotonic() + seconds
    for descriptor in running:
        if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], 1.0)
        _reap(descriptor)
        os.close(descriptor)


def _daemon(file: Path) -> int | None:
    """A descriptor of the process that a file names; None when it has ended or its number is somebody else's by now."""
    try:
        pid, _, born = file.read_text().partition(" ")
        descriptor = os.pidfd_open(int(pid))
    except (OSError, ValueError):
        return None
    if _born(int(pid)) != born:
        os.close(descriptor)
        return None
    return descriptor


def _reap(descriptor: int) -> None:
    with suppress(ChildProcessError):  # started by another process than this one
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)


def _born(pid: int) -> str:
    """When a process started, in clock ticks (proc(5), field 22 of stat): with the pid, it is that process and no other."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def status(lab: Lab, node: str) -> Mapping[str, Any]:
    """/status of the node's daemon; empty while it does not answer."""

    def ask() -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=2)
        try:
            connection.request("GET", "/status")
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return b"{}"
        finally:
            connection.close()

    said: Mapping[str, Any] = json.loads(inside(lab.topology.machine(node).netns, ask))
    return said


def log_tail(lab: Lab, node: str, lines: int = 5) -> str:
    """The end of the daemon's log."""
    try:
        return "\n".join((lab.node_folder(node) / "log").read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
