"""Everything plumbline does for pods, on one machine, in under a minute: `make demo`.

Each chapter shows one thing and claims what came of it; a claim that does not
hold makes the exit status 1. Whatever happens, the lab is taken down.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from reconciler.kernel.tools import run_tool
from reconciler.lab import down, nodes, raise_lab
from reconciler.lab.configmap import ConfigMapFolder
from reconciler.lab.dumps import changes, held, sabotage
from reconciler.lab.edits import Document, indirect_pair, newcomer
from reconciler.lab.interrupts import shielded, terminated_like_ctrl_c
from reconciler.lab.nodes import Network
from reconciler.lab.probe import Stream, probe, stream
from reconciler.lab.screen import Screen
from reconciler.lab.state import Lab
from reconciler.lab.topology import LabError
from reconciler.lab.wait import until

CHAPTERS = 8
SECONDS = 15.0  # that a daemon has to do what is asked of it


def run(path: Path) -> int:
    """Show it all. Exit status: 0 everything was as claimed, 1 something was not, 130 interrupted. Raises SpecError, LabError."""
    began = time.monotonic()
    network = nodes.read_network(path)
    if len(network.facts.nodes) < 3:
        raise LabError(f"{path}: the demo wants three nodes or more: one of them leaves")
    name = f"demo-{network.loaded.spec.metadata.name}"
    with terminated_like_ctrl_c(), Screen(CHAPTERS) as screen:
        try:
            _Demo(screen, name, path, network).show()
            screen.chapter("The lab goes", "Daemons, namespaces, files: nothing of it stays on this machine.")
            down(name)
            left = [one for one in run_tool("", ("ip", "netns", "list")).stdout.split() if one.startswith(f"{name}-")]
            screen.claim("nothing is left", not left, " ".join(left))
        except KeyboardInterrupt:
            screen.say("", "interrupted: the lab is taken down")
            return 130
        except LabError as error:
            screen.claim("the demo runs to its end", False, str(error))
        finally:
            shielded(lambda: down(name))
        screen.say("")
        screen.show(f"{screen.held} claims held, {len(screen.failed)} did not · {time.monotonic() - began:.1f} s")
        for one in screen.failed:
            screen.show(f"✗ {one}")
        return 1 if screen.failed else 0


class _Demo:
    def __init__(self, screen: Screen, name: str, path: Path, network: Network) -> None:
        self.screen, self.name, self.path, self.network = screen, name, path, network
        self.text = path.read_text() if path.is_file() else ""
        if not self.text:
            raise LabError(f"{path}: the demo wants one file")
        self.document = Document.of(self.text)
        self.joining, said = newcomer(network)
        self.pair = indirect_pair(network)
        staying = {node.name for node in self.pair or ()}
        self.leaving = next(node for node in reversed(list(network.facts.nodes)) if node not in staying)
        self.grown = self.document.with_node(self.joining, **said)
        self.lab: Lab
        self.config: ConfigMapFolder

    def show(self) -> None:
        self.build()
        before = held(self.lab)
        self.plans()
        self.daemons()
        self.packets()
        self.breaks()
        self.edits()
        self.cleanup(before)

    # -- chapters ------------------------------------------------------------------------------

    def build(self) -> None:
        self.screen.chapter(
            "A cluster on this machine",
            f"{self.path} describes a Kubernetes cluster's nodes and its pod network.",
            "Each node becomes a network namespace with an uplink and one pod; a router joins their subnets.",
            f"({self.joining} is a spare machine: it joins later.)",
        )
        began = time.monotonic()
        self.lab = raise_lab(self.name, [self.network.cluster, nodes.text_network(self.grown.text).cluster])
        self.config = ConfigMapFolder(self.lab.folder / "config")
        self.screen.show(f"{'node':<8}{'its address':<34}{'its pod':<8}{'the pod has'}")
        for machine in self.lab.topology.machines:
            pod = next(iter(machine.pods), None)
            said = "  ".join(pod.addresses) if pod else "-"
            self.screen.show(f"{machine.name:<8}{'  '.join(machine.addresses):<34}{pod.name if pod else '-':<8}{said}")
        self.screen.claim(f"built in {time.monotonic() - began:.1f} s; no pod reaches a pod of another node yet", not self.reached(0.3))

    def plans(self) -> None:
        self.screen.chapter(
            "What would be done, before it is done",
            "The plan of every node. It is not a description: these are the lines that will run,",
            "and pasted into a shell they do the same. After the # stands which part of network.yaml wants it.",
        )
        for node in self.members:
            self.screen.plan(nodes.plan_node(self.lab, self.network, node))

    def daemons(self) -> None:
        self.screen.chapter(
            "A daemon on every node",
            "As in a cluster: it watches the folder of a mounted ConfigMap that holds network.yaml,",
            "runs the plan, looks again, and is Ready when nothing is left to do.",
        )
        self.config.swap(self.text)
        began = time.monotonic()
        nodes.start_daemons(self.lab, self.config.folder, self.members)
        self.settled(self.members, self.text)
        self.screen.claim(f"{', '.join(self.members)} are ready, {time.monotonic() - began:.1f} s after their start", True)

    def packets(self) -> None:
        self.screen.chapter(
            "Proof by packets",
            "Every pod pings every other pod, and the world outside. The world has no route to pods:",
            "its answers come back only because nodes put their own address on what leaves the pod network.",
        )
        self.all_reached()
        full = probe(self.lab.topology, nodes=self.members, full_size=True)
        self.screen.claim("also with the largest packets that fit, which nobody may fragment", full.ok, full.text)

    def breaks(self) -> None:
        self.screen.chapter(
            "Somebody breaks things by hand",
            "Nobody tells the daemon: the kernel's own events do. Meanwhile all pods keep pinging each other.",
        )
        node = self.members[0]
        for what, words in sabotage(self.lab, self.network, node):
            self.screen.command(f"{words[0]} -n {node} {' '.join(words[1:])}")
            known = nodes.status(self.lab, node)["drift"]["repaired"]
            with self.pings() as pings:
                began = time.monotonic()
                done = run_tool(self.lab.topology.machine(node).netns, words)
                if done.returncode != 0:
                    raise LabError(f"{' '.join(words)}: {done.stderr.strip()}")
                took = self.repaired(node, began, known)
            rows = [one["row"] for one in nodes.status(self.lab, node)["drift"]["recent"]][known:]
            named = rows[0] if len(rows) == 1 else f"{rows[0]} and {len(rows) - 1} more that went with it" if rows else ""
            self.screen.claim(
                f"{what}: as before after {took * 1000:.0f} ms ({named}); {pings.lost} of {pings.sent} packets lost",
                took < 5 and bool(rows),
            )
        self.all_reached(short=True)

    def edits(self) -> None:
        self.screen.chapter(
            "network.yaml is edited",
            "A commit changes the file; the ConfigMap's folder swaps to it in one step. First the plan is shown, then it happens.",
        )
        if self.pair is not None:
            a, b = (node.name for node in self.pair)
            self.screen.say("", f"{a} and {b} share a subnet: from now on without a tunnel")
            self.edit(self.document.with_node(a, directRouting=True).with_node(b, directRouting=True))
        self.screen.say("", f"{self.joining} joins")
        self.edit(self.document.with_node(self.joining, **newcomer(self.network)[1]))
        leaving = self.leaving
        self.screen.say("", f"{leaving} leaves")
        self.edit(self.document.without_node(leaving))
        said = str(nodes.status(self.lab, leaving).get("notReady", ""))
        self.screen.claim(f"{leaving} itself keeps its network until somebody says otherwise", leaving in said, said)

    def cleanup(self, before: dict[str, str]) -> None:
        self.screen.chapter(
            "And all of it taken back",
            "`plumbline cleanup` removes what plumbline made, known by its marks in the kernel, and nothing else.",
        )
        nodes.stop_daemons(self.lab)
        self.screen.claim("the daemons ended, and pods still reach each other", self.reached_all())
        every = [machine.name for machine in self.lab.topology.machines]
        results = nodes.clean_all(self.lab, every)
        gone = sum(len(result.first.actions) for result in results.values())
        self.screen.claim(f"{gone} rows removed on {len(every)} nodes", all(result.converged for result in results.values()))
        after = held(self.lab)
        differs = [line for node in every for line in changes(before[node], after[node])]
        self.screen.claim("links, addresses, routes, nexthops, rules and nft tables of all nodes are as before, to the letter", not differs)
        self.screen.show("\n".join(differs))
        files = [str(file) for node in every for file in Path(self.lab.root(node)).rglob("*") if file.is_file()]
        self.screen.claim("no file of plumbline's is left, the CNI configuration is gone", not files, "\n".join(files))
        self.screen.say("(Kernel settings stay as they are: nobody can know what else relies on them by now.)")

    # -- parts of them ---------------------------------------------------------------------------

    @property
    def members(self) -> list[str]:
        return nodes.members(self.lab, self.network)

    def edit(self, edited: Document) -> None:
        """Show the difference and the plans, swap, wait, prove."""
        before, network = self.members, nodes.text_network(edited.text)
        after = nodes.members(self.lab, network)
        self.screen.edit(self.document.changes_to(edited))
        staying = [node for node in after if node in before]
        for node in after:
            self.screen.plan(nodes.plan_node(self.lab, network, node))
        with self.pings(staying) as pings:
            began = time.monotonic()
            self.config.swap(edited.text)
            nodes.start_daemons(self.lab, self.config.folder, [node for node in after if node not in before])
            self.settled(after, edited.text)
            took = time.monotonic() - began
        self.document, self.network, self.text = edited, network, edited.text
        lost = f"{pings.lost} of {pings.sent} packets between {', '.join(staying)} lost"
        self.screen.claim(f"in place on {', '.join(after)} after {took * 1000:.0f} ms; {lost}", True)
        self.all_reached(short=True)

    def repaired(self, node: str, began: float, known: int) -> float:
        """Seconds until the daemon has repaired something and the node is as it should be."""

        def good() -> bool:
            return nodes.status(self.lab, node).get("drift", {}).get("repaired", 0) > known and self.as_wanted(node)

        with self.screen.waiting("waiting for the repair"):
            until(good, SECONDS, lambda: f"{node} was not repaired\n{nodes.log_tail(self.lab, node)}")
        return time.monotonic() - began

    def as_wanted(self, node: str) -> bool:
        return nodes.plan_node(self.lab, self.network, node).empty

    def settled(self, members: Iterable[str], text: str) -> None:
        """Until every node has put this content in place."""
        digest = sha256(text.encode()).hexdigest()
        for node in members:
            with self.screen.waiting(f"waiting for {node}"):

                def ready(node: str = node) -> bool:
                    said = nodes.status(self.lab, node)
                    return bool(said.get("ready")) and said["spec"]["digest"] == digest

                until(ready, SECONDS, lambda node=node: f"{node} is not ready\n{nodes.log_tail(self.lab, node)}")  # type: ignore[misc]

    @contextmanager
    def pings(self, members: Iterable[str] | None = None) -> Iterator[Stream]:
        with stream(self.lab.topology, nodes=self.members if members is None else members) as pings:
            yield pings

    def reached(self, within: float) -> list[str]:
        """Paths between pods that answer."""
        answers = probe(self.lab.topology, within=within).answers
        return [str(path) for path, answer in answers.items() if answer is not None]

    def reached_all(self) -> bool:
        return probe(self.lab.topology, nodes=self.members, within=3.0).ok

    def all_reached(self, *, short: bool = False) -> None:
        matrix = probe(self.lab.topology, nodes=self.members, within=3.0)
        if not short:
            self.screen.show(matrix.text)
        self.screen.claim(f"all {len(matrix.answers)} paths answer, pod to pod and pod to the world", matrix.ok, matrix.text)
