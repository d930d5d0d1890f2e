"""Verbs that look at the node: verify, snapshot."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click

from reconciler import __version__
from reconciler.cli.inputs import Inputs, Told, compiled, on_this_host, read_inputs, this_node
from reconciler.cli.options import api_of, facts_option, kubeconfig_option, node_option, root_option, server_option
from reconciler.cli.trouble import CannotGoOn
from reconciler.engine.model import Seen, Wanted
from reconciler.engine.reader import ObservationFailed, Scope
from reconciler.engine.serial import BadSnapshot, document_of, seen_document, seen_from, value_from
from reconciler.facts.model import Host
from reconciler.report import screen
from reconciler.spec.load import load_spec
from reconciler.spec.problems import SpecError


@click.command()
@click.option("--config", required=True, metavar="PATH", help="network.yaml, or its folder.")
@node_option
@facts_option
@click.option("--cluster", is_flag=True, help="Ask the Kubernetes API which Nodes there are.")
@server_option
@kubeconfig_option
@click.option("--within", default=3.0, show_default=True, help="Seconds that a peer has for its answer.")
def verify(
    config: str, node: str | None, facts: Sequence[str], cluster: bool, server: Sequence[str], kubeconfig: str, within: float
) -> int:
    """Does every peer answer through the fabric, in each family that pods have."""
    if shutil.which("ping") is None:
        raise CannotGoOn(["ping not found; install iputils-ping (Debian, Ubuntu: apt-get install iputils-ping)"])
    inputs = read_inputs(config, facts, _nodes(config, server, kubeconfig) if cluster else ())
    name = this_node(inputs, node)
    targets = {f"{peer} {address}": address for peer, address in _peers(inputs, name)}

    def answers(address: str) -> bool:
        words = ["ping", "-n", "-q", "-c", "1", "-W", str(max(1, round(within))), address]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    if not targets:
        screen.write(f"{name} has no peers in {inputs.loaded.name}: nothing to verify")
        return 0
    with ThreadPoolExecutor(32) as pool:
        found = dict(zip(targets, pool.map(answers, targets.values()), strict=True))
    for what, there in found.items():
        screen.write(f"{'ok' if there else 'silent':8}{what}")
    return 0 if all(found.values()) else 1


def _nodes(config: str, servers: Sequence[str], kubeconfig: str) -> list[Told]:
    """The Nodes as the API has them now. Raises CannotGoOn."""
    from reconciler.cluster.reflector import items
    from reconciler.cluster.transport import Trouble

    try:
        with api_of(servers or load_spec(config).spec.cluster.api_servers, kubeconfig) as api:
            return [({**thing, "kind": "Node"}, "the Kubernetes API") for thing in items(api, "/api/v1/nodes")]
    except (SpecError, Trouble) as error:
        raise CannotGoOn([str(error)]) from None


def _peers(inputs: Inputs, node: str) -> Iterator[tuple[str, str]]:
    """Names of the peers and addresses that answer there: on the overlay's device, without overlay the nodes' own."""
    from reconciler.intents.vtep import vtep_address

    fabric = inputs.loaded.spec.fabric
    if fabric is None or fabric.mode == "none":
        raise CannotGoOn([f"{inputs.loaded.name} has no fabric: nothing here connects this node to others"])
    for peer in inputs.facts.nodes.values():
        if peer.name == node:
            continue
        for family in (4, 6):
            cidr, address = peer.pod_cidr(family), peer.address(family)
            if fabric.mode == "direct" and address is not None:
                yield peer.name, address.address
            elif fabric.mode != "direct" and cidr is not None:
                yield peer.name, vtep_address(cidr)


@click.command()
@click.argument("file", required=False, type=click.Path())
@node_option
@facts_option
@root_option
def snapshot(file: str | None, node: str | None, facts: Sequence[str], root: str) -> int:
    """What this node holds, as JSON for `plan --snapshot`: a test case, a bug report."""
    inputs = read_inputs(file, facts) if file is not None else None
    screen.write(json.dumps(snapshot_document(inputs, this_node(inputs, node) if inputs else "", root), indent=1))
    return 0


def snapshot_document(inputs: Inputs | None, node: str, root: str = "") -> dict[str, Any]:
    """What this node holds, as JSON has it; of pods' namespaces what `inputs` wants there. Raises CannotGoOn."""
    from reconciler.engine.observe import observe
    from reconciler.kernel.node import KernelNode
    from reconciler.kinds import all_kinds

    wanted, host, look = Wanted(), None, None
    if inputs is not None:
        inputs = on_this_host(inputs, node, root)
        wanted, host, look = compiled(inputs, node).wanted, inputs.facts.host, partial(inputs.scope, node=node)
    io = KernelNode()
    try:
        scope = look(io, wanted=wanted, root=root) if look else Scope(("",), wanted, root)
        seen = observe(all_kinds(), io, scope)
    finally:
        io.close()
    seen = Seen(
        {name: one._replace(rows=[row for row in one.rows if not getattr(row, "secret", False)]) for name, one in seen.observed.items()}
    )
    return {**seen_document(seen, all_kinds()), "host": document_of(host), "plumbline": __version__, "kernel": platform.release()}


def _host_from(document: object) -> Host | None:
    """Raises ValueError."""
    from reconciler.kinds import all_kinds

    host = (
        value_from(Host | None, document, all_kinds()) if document is None or (isinstance(document, dict) and "" in document) else document
    )
    if host is not None and not isinstance(host, Host):
        raise BadSnapshot("what it says of the host is not as this plumbline writes it: take it anew with `plumbline snapshot`")
    return host


def read_snapshot(path: Path) -> tuple[Seen, Host | None]:
    """Raises CannotGoOn."""
    from reconciler.kinds import all_kinds

    try:
        document = json.loads(path.read_bytes())
        seen = seen_from(document, all_kinds())
        return seen, _host_from(document.get("host"))
    except (OSError, ValueError, TypeError, KeyError, BadSnapshot, ObservationFailed) as error:
        raise CannotGoOn([f"{path}: {error}"]) from None
