"""The lab: the cluster of network.yaml as network namespaces on one machine.

`topology.py` says what there is, `build.py` makes it, `nodes.py` runs plumbline on
it, `probe.py` proves with packets that pods reach each other, `demo.py` shows it all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # what a verb does not need is not imported
    from reconciler.engine.round import Result
    from reconciler.lab.probe import Matrix
    from reconciler.lab.state import Lab


class Up(NamedTuple):
    """A lab that was built, and what a round on each of its nodes did."""

    lab: Lab
    results: dict[str, Result]

    @property
    def converged(self) -> bool:
        return all(result.converged for result in self.results.values())


def up(path: str | os.PathLike[str], name: str | None = None, facts: Iterable[str | os.PathLike[str]] = ()) -> Up:
    """Build the lab of a network.yaml, in place of one of the same name, and converge every node once.

    name: None takes metadata.name. Raises SpecError, IntentError, LabError.
    """
    from reconciler.lab.nodes import apply_all, read_network

    network = read_network(path, facts)
    lab = raise_lab(name or network.loaded.spec.metadata.name, [network.cluster])
    try:
        return Up(lab, apply_all(lab, network))
    except BaseException:
        down(lab.name)
        raise


def raise_lab(name: str, clusters: Iterable[object]) -> Lab:
    """The namespaces alone, able to hold each of the clusters; nothing of plumbline's runs yet. Raises LabError."""
    from reconciler.lab.build import build
    from reconciler.lab.mounts import mount
    from reconciler.lab.state import Lab, folder_of, save
    from reconciler.lab.topology import Cluster, make_topology
    from reconciler.lab.user import need_rights

    need_rights()
    folder_of(name)
    wanted = [one for one in clusters if isinstance(one, Cluster)]
    lab = Lab(make_topology(name, wanted))
    down(name)
    try:
        save(lab)
        build(lab.topology)
        if any(one.spec.services is not None for one in wanted):
            mount(lab)
    except BaseException:
        down(name)
        raise
    return lab


def down(name: str) -> bool:
    """Take a lab away: daemons, namespaces, folder. False: there was none. Raises LabError."""
    from reconciler.lab.build import tear_down
    from reconciler.lab.mounts import unmount
    from reconciler.lab.nodes import stop_daemons
    from reconciler.lab.state import find, folder_of, forget
    from reconciler.lab.user import need_rights

    need_rights()
    if not folder_of(name).is_dir():
        return False
    if (folder_of(name) / "lab.json").is_file():
        lab = find(name)
        stop_daemons(lab)
        tear_down(lab.topology.namespaces)
        unmount(lab)
    forget(name)
    return True


def verify(name: str, within: float = 5.0) -> Matrix:
    """Prove with packets that every pod reaches every other, and the world outside. Raises LabError."""
    from reconciler.lab.probe import probe
    from reconciler.lab.state import find

    return probe(find(name).topology, within=within)


def shell(name: str, node: str, command: Iterable[str] = ()) -> int:
    """A shell, or a command, on a node or in a pod ("n1-p1"); its exit status. Raises LabError."""
    import subprocess

    from reconciler.lab.mounts import join
    from reconciler.lab.state import find

    lab = find(name)
    pod = next((pod for pod in lab.topology.pods if pod.name == node), None)
    netns = pod.netns if pod else lab.topology.machine(node).netns
    words = list(command) or [os.environ.get("SHELL", "/bin/sh")]
    environment = {**os.environ, "PS1": f"{node}# "}
    entering = join(lab, pod.node if pod else node, ["nsenter", f"--net=/run/netns/{netns}", *words])
    return subprocess.run(entering, env=environment, check=False).returncode


def names() -> list[str]:
    """The labs that are up."""
    from reconciler.lab.state import names as found

    return found()


def demo(path: str | os.PathLike[str]) -> int:
    """Everything, shown: exit status 0 when all was as claimed."""
    from reconciler.lab.demo import run
    from reconciler.lab.user import reexec_in_user_namespace

    reexec_in_user_namespace()
    return run(Path(path))
