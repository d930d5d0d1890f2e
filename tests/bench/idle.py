"""What a daemon costs that has nothing to do: memory and processor time, with many peers.

python -m tests.bench.idle [NODES [SECONDS]]: IPv4 alone and dual stack; resident memory at its highest and at the end,
and the share of one core over the window, which should hold two resyncs (one a minute) or more.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.bench.clusters import host, write
from tests.namespaces import fresh_namespace
from tests.process import daemon

NODES, SECONDS = 10_000, 130


def measure(nodes: int, seconds: int, folder: Path, *, dual: bool) -> None:
    files = write(folder, nodes, dual=dual)
    with fresh_namespace():
        host()
        began = time.monotonic()
        with daemon(folder, files.spec, files.facts, node="n0") as process:
            process.until(lambda: process.ready, 120, every=0.05)
            ready, first = time.monotonic() - began, process.figures()
            rounds = process.status["rounds"]
            before, start = process.seconds(), time.monotonic()
            threading.Event().wait(seconds)
            share = (process.seconds() - before) / (time.monotonic() - start)
            rounds, last = process.status["rounds"] - rounds, process.figures()
    print(
        f"{nodes:>6} nodes, {'dual stack' if dual else 'IPv4':<10}: ready after {ready:.2f} s, peak {first.peak >> 20} MiB · after {seconds} s "
        f"and {rounds} rounds with nothing to do: {last.resident >> 20} MiB resident, peak {last.peak >> 20} MiB, {share * 100:.2f} % of a core"
    )


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:]]
    nodes, seconds = (*numbers, *(NODES, SECONDS)[len(numbers) :])
    for dual in (False, True):
        with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
            measure(nodes, seconds, Path(folder), dual=dual)


if __name__ == "__main__":
    main()
