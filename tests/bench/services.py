"""Services by the thousand: from parsed facts to the last entry written, and one endpoint more in a warm round.

python -m tests.bench.services [SERVICES [BACKENDS]]: beside `bpftool batch` fed with the very lines of the plan.
"""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from reconciler.engine.model import Verb
from reconciler.engine.round import Result
from reconciler.facts.model import Backend, EndpointSlice, Service, ServicePort
from reconciler.spec.load import load_text
from tests.bpf.machine import Machine, machine_of_its_own
from tests.namespaces import fresh_namespace

SERVICES, BACKENDS = 10_000, 10
TIMES = 20
SPEC = load_text("apiVersion: plumbline.dev/v1alpha1\nkind: ClusterNetwork\nservices: {nodePort: {devices: ['nic*']}}\n")


def address(first: int, number: int) -> str:
    return f"{first}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def service(number: int, backends: int) -> Service:
    key = f"default/s{number}"
    there = tuple(Backend(address(11, number * 64 + one), "n2") for one in range(backends))
    slices = (EndpointSlice(f"{key}-1", key, (("http", "TCP", 8080),), there),)
    return Service(
        "default", f"s{number}", "ClusterIP", (address(10, 96 * 65536 + number),), (ServicePort("http", "TCP", 80, 0),), slices=slices
    )


def seconds(machine: Machine, services: list[Service]) -> tuple[float, Result]:
    gc.disable()
    began = time.perf_counter()
    result = machine.apply(*services)
    took = time.perf_counter() - began
    gc.enable()
    assert result.converged, result.errors[:3]
    return took, result


def bare(result: Result, folder: Path) -> float:
    """Seconds of `bpftool batch` with the plan's entries, into the maps that are there by now."""
    lines = [line.words.partition(" # ")[0] for action in result.first.actions for line in action.lines]
    entries = [line.removeprefix("bpftool ") for line in lines if line.startswith("bpftool map update") and "/pl_j_" not in line]
    batch = folder / "batch"
    batch.write_text("\n".join(entries) + "\n")
    began = time.perf_counter()
    subprocess.run(["bpftool", "batch", "file", str(batch)], check=True, capture_output=True)
    return time.perf_counter() - began


def changes(services: list[Service], backends: int) -> Iterator[list[Service]]:
    """One endpoint more and less, of one service after the other."""
    for turn in range(TIMES):
        number = turn * 37 % len(services)
        for count in (backends + 1, backends):
            services = [*services]
            services[number] = service(number, count)
            yield services


def main() -> None:
    count, backends = (*map(int, sys.argv[1:]), *(SERVICES, BACKENDS)[len(sys.argv) - 1 :])
    services = [service(number, backends) for number in range(count)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with fresh_namespace(), tempfile.TemporaryDirectory(prefix="plt-") as folder, machine_of_its_own(SPEC, Path(folder)) as machine:
        cold, first = seconds(machine, services)
        entries = sum(action.verb is Verb.CREATE and action.change.kind == "bpf_map_entry" for action in first.first.actions)
        batch = bare(first, Path(folder))
        idle, _ = seconds(machine, services)
        one = sorted(seconds(machine, changed)[0] for changed in changes(services, backends))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{count} services of {backends} backends, {entries} entries: bpftool batch 1.00 (= {batch:.3f} s) · cold, from facts to verified {cold / batch:.2f} "
        f"(= {cold:.3f} s) · nothing to do {idle / batch:.4f} · one endpoint p50 {one[len(one) // 2] / batch:.4f} (= {one[len(one) // 2] * 1000:.1f} ms), "
        f"worst {one[-1] / batch:.4f} · memory of it {(peak - before) >> 10} MiB"
    )


if __name__ == "__main__":
    main()
