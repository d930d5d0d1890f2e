"""How long pods are cut off when somebody deletes the VXLAN device of a node with many peers: measured with packets.

python -m tests.bench.outage [NODES ...]: two nodes of a lab with a pod each, the rest of the cluster in manifests. A
stream flows between the pods; the device is deleted, and made again by `ip -batch` and `bridge -batch` with the very
lines of the plan, and then by a running daemon that nobody told. Prints both, and their ratio.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from reconciler import lab as labs
from reconciler.kernel.netns import inside
from reconciler.kernel.tools import run_tool
from reconciler.lab.nodes import Network, apply_node, plan_node, read_network
from reconciler.lab.probe import Path as Way
from reconciler.lab.probe import stream
from reconciler.lab.state import Lab
from tests.bench.clusters import write
from tests.process import Process, daemon

RUNS = 3
EVERY = 0.002  # seconds between packets of each path
SPEC = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes:
  a0: {address: 10.0.0.11/24, podCIDRs: [100.127.1.0/24]}
  b0: {address: 10.0.9.12/24, podCIDRs: [100.127.2.0/24]}
fabric: {podNetwork: [100.64.0.0/10], masquerade: false}
"""
DELETE = ("ip", "link", "del", "plumb0")


class Outage(NamedTuple):
    """One deletion of the device."""

    whole: float  # seconds until everything was as before
    silent: float  # seconds, the longest without an answer between the pods
    lost: int
    sent: int


def bare(netns: str, lines: Sequence[str]) -> None:
    """The lines, one process for each run of lines of one tool."""
    texts = [
        (tool, "".join(f"{line.partition(' ')[2]}\n" for line in group)) for tool, group in groupby(lines, key=lambda line: line.split()[0])
    ]
    for tool, text in texts:
        command = ["nsenter", f"--net=/run/netns/{netns}", tool, *(["-f", "-"] if tool == "nft" else ["-batch", "-"])]
        subprocess.run(command, input=text, text=True, check=True, capture_output=True)


def outage(lab: Lab, node: str, repair: Callable[[], None]) -> Outage:
    with stream(lab.topology, families=[4], every=EVERY) as pings:
        assert run_tool(lab.topology.machine(node).netns, DELETE).returncode == 0
        deleted = time.perf_counter()
        repair()
        end = time.perf_counter()
    loss = pings.losses[Way("a0-p1", "b0-p1", 4)]
    return Outage(end - deleted, loss.gap, loss.lost, loss.sent)


def by_hand(lab: Lab, network: Network) -> list[Outage]:
    """The lines that the plan says once the device is gone, fed to the tools."""
    netns = lab.topology.machine("a0").netns
    run_tool(netns, DELETE)
    plan = plan_node(lab, network, "a0")
    lines = [line.words for action in plan.actions for line in action.lines]
    apply_node(lab, network, "a0")
    return [outage(lab, "a0", partial(bare, netns, lines)) for _ in range(RUNS)]


def by_daemon(lab: Lab, process: Process) -> list[Outage]:
    found = []
    for _ in range(RUNS):
        rounds = process.status["rounds"]

        def repaired(rounds: int = rounds) -> bool:
            said = process.status
            return said["rounds"] > rounds and said["ready"] and said["lastRound"]["actions"] > 0

        found.append(outage(lab, "a0", lambda repaired=repaired: process.until(repaired, 60, every=0.002)))  # type: ignore[misc]
    return found


def median(outages: Sequence[Outage]) -> Outage:
    return Outage(*(statistics.median(values) for values in zip(*outages, strict=True)))  # type: ignore[arg-type]


def measure(count: int, folder: Path) -> None:
    spec, facts = folder / "network.yaml", write(folder, count).facts
    spec.write_text(SPEC)
    small, large = read_network(spec), read_network(spec, [facts])
    lab = labs.raise_lab(f"plt-outage-{os.getpid()}", [small.cluster])
    try:
        assert apply_node(lab, small, "b0").converged
        assert apply_node(lab, large, "a0").converged
        hand = by_hand(lab, large)
        own = inside(lab.topology.machine("a0").netns, lambda: _with_daemon(lab, folder, spec, facts))
    finally:
        labs.down(lab.name)
    base, ours = median(hand), median(own)
    print(
        f"{count:>6} nodes: bare batch 1.00 (= {base.whole:.3f} s; silent {base.silent:.3f} s, {base.lost} of {base.sent} packets lost) · "
        f"daemon: pods cut off {ours.silent / base.whole:.2f} (= {ours.silent:.3f} s, {ours.lost} of {ours.sent} packets lost), "
        f"all as before and verified {ours.whole / base.whole:.2f} (= {ours.whole:.3f} s)"
    )


def _with_daemon(lab: Lab, folder: Path, spec: Path, facts: Path) -> list[Outage]:
    with daemon(folder, spec, facts, node="a0") as process:
        process.until(lambda: process.ready, 120)
        return by_daemon(lab, process)


def main() -> None:
    for count in [int(word) for word in sys.argv[1:]] or [1_000, 10_000]:
        with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
            measure(count, Path(folder))


if __name__ == "__main__":
    main()
