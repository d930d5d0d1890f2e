"""How much plumbline costs beside the very lines that it runs, in a thousand pods' namespaces on one node.

python -m tests.bench.segments [PODS [SEGMENTS]]: in fresh namespaces of one run: the bare batches (one `ip -batch` and
one `bridge -batch` for each pod, the least that these tools can do), a cold round and one with nothing to do, both in
one process as the daemon runs them. Prints ratios.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from reconciler.engine.guard import Limits
from reconciler.engine.model import Line
from reconciler.engine.reader import Scope
from reconciler.engine.round import Round
from reconciler.facts.merge import build_facts
from reconciler.facts.model import Host, Pod
from reconciler.intents import Context, compile_node
from reconciler.kernel.node import KernelNode
from reconciler.kernel.pods import ByTemplate, node_scope, with_pods
from reconciler.kinds import all_kinds
from reconciler.spec.load import load_text
from tests.namespaces import fresh_namespace

RUNS = 3


def spec(segments: int) -> str:
    """Segments that pods join by plumbline's annotation."""
    lines = "\n".join(f"  seg{number}: {{vni: {100 + number}}}" for number in range(segments))
    return f"apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nnodes: {{n1: {{}}}}\nsegments:\n{lines}\n"


def members(pods: int, segments: int) -> tuple[Pod, ...]:
    """Pods spread evenly over the segments, all on one node."""
    made = []
    for number in range(pods):
        segment, seat = number % segments, number // segments + 1
        note = f"seg{segment}: {{ip: 192.168.{segment}.{seat}/24}}"
        address = f"10.{200 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        made.append(Pod("bench", f"p{number}", "", "n1", (address,), annotations={"plumbline.dev/segments": note}, phase="Running"))
    return tuple(made)


@contextmanager
def namespaces(prefix: str, count: int) -> Iterator[None]:
    """A namespace for each pod, each with an eth0; gone afterwards."""
    names = [f"{prefix}_bench_p{number}" for number in range(count)]
    subprocess.run(["ip", "-batch", "-"], input="".join(f"netns add {name}\n" for name in names), text=True, check=True)
    try:
        made = "".join(f"link add h{number} type veth peer name eth0 netns {name}\n" for number, name in enumerate(names))
        subprocess.run(["ip", "-batch", "-"], input=made, text=True, check=True)
        yield
    finally:
        subprocess.run(["ip", "-batch", "-"], input="".join(f"netns del {name}\n" for name in names), text=True, check=True)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def bare(lines: list[Line]) -> None:
    """Every pod's lines, in as few processes as the tools allow."""
    batches: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        tool, _, rest = line.words.partition(" ")
        batches.setdefault((line.netns, tool), []).append(rest)
    for (netns, tool), rest in batches.items():
        subprocess.run([tool, "-n", netns, "-batch", "-"], input="\n".join(rest) + "\n", text=True, check=True, capture_output=True)


def measure(pods: int, segments: int) -> None:
    loaded, everybody = load_text(spec(segments)), members(pods, segments)
    facts = build_facts(loaded, [], pods=everybody)
    base, cold, idle = [], [], []
    for run in range(RUNS):
        prefix = f"plt-bench-{os.getpid()}-{run}"
        where = ByTemplate(f"/run/netns/{prefix}_{{namespace}}_{{name}}")

        def look(io: KernelNode, where: ByTemplate = where) -> Scope:
            host = with_pods(Host("", 0), where, everybody, "n1")
            found = compile_node(Context(loaded.spec, facts._replace(host=host), "n1", loaded.where))
            assert not found.clashes
            assert not found.remarks
            return node_scope(io, where, everybody, found.wanted)

        with fresh_namespace(), namespaces(prefix, pods):
            io = KernelNode()
            engine = Round(io, all_kinds(), limits=Limits(1.0, 1 << 30), name="n1")
            gc.disable()
            lines = [line for action in engine.plan(look(io))[0].actions for line in action.lines]
            cold.append(timed(partial(_converged, engine, look, io)))
            idle.append(timed(partial(_converged, engine, look, io)))
            gc.enable()
            io.close()
        with fresh_namespace(), namespaces(prefix, pods):
            base.append(timed(partial(bare, lines)))
    floor = statistics.median(base)
    print(
        f"{pods} pods in {segments} segments, {len(lines)} lines, {threading.active_count()} threads left: bare batches 1.00 "
        f"(= {floor:.2f} s) · cold round {statistics.median(cold) / floor:.2f} · nothing to do {statistics.median(idle) / floor:.2f}"
    )


def _converged(engine: Round, look: Callable[[KernelNode], Scope], io: KernelNode) -> None:
    result = engine.converge(look(io))
    assert result.converged, result.errors[:3]


def main() -> None:
    words = [int(word) for word in sys.argv[1:]]
    measure(*(words or [1000, 50]))


if __name__ == "__main__":
    main()
