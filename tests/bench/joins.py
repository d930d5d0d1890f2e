"""One node joins and leaves: from the moment that its Node stands in the manifests to the verified round of a running daemon.

python -m tests.bench.joins [NODES [TIMES]]: beside the bare batch of a cold start's lines, and in milliseconds; the daemon's
own log is the clock.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from tests.bench.__main__ import bare, plumbline
from tests.bench.clusters import Files, host, write
from tests.namespaces import fresh_namespace
from tests.process import Process, daemon

NODES, TIMES = 10_000, 10


def rounds(log: Path) -> list[dict[str, object]]:
    """Those that changed something."""
    said = [json.loads(line) for line in log.read_text().splitlines()]
    return [one for one in said if one["event"] == "round" and one["planned"]]


def changed(process: Process, facts: Path, text: str) -> tuple[float, int]:
    """Seconds until it is in place and verified, and how many rows that took."""
    before = len(rounds(process.log))
    new = facts.with_suffix(".new")
    new.write_text(text)
    began = time.time()
    new.rename(facts)
    process.until(lambda: len(rounds(process.log)) > before, every=0.05)
    last = rounds(process.log)[-1]
    assert last["converged"], last
    return datetime.fromisoformat(str(last["timestamp"])).timestamp() - began, int(str(last["done"]))


def floor(files: Files, folder: Path) -> float:
    """Seconds of the bare batch of all lines."""
    out = folder / "out"
    with fresh_namespace():
        host()
        plumbline("plan", str(files.spec), "--facts", str(files.facts), "--node", "n0", "--out", str(out))
    with fresh_namespace():
        host()
        return bare([line for line in (out / "n0.sh").read_text().splitlines() if line.startswith(("ip ", "bridge ", "nft "))])


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:]]
    count, times = (*numbers, *(NODES, TIMES)[len(numbers) :])
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name:
        folder = Path(name)
        files = write(folder, count + 1)
        batch = floor(files, folder)
        more = files.facts.read_text()
        items = json.loads(more)
        items["items"].pop()
        less = json.dumps(items)
        files.facts.write_text(less)
        with fresh_namespace():
            host()
            with daemon(folder, files.spec, files.facts, node="n0") as process:
                process.until(lambda: process.ready, 60)
                before = process.seconds()
                taken = [changed(process, files.facts, text) for _ in range(times) for text in (more, less)]
                busy = (process.seconds() - before) / len(taken)
    seconds = sorted(took for took, _ in taken)
    print(
        f"{count:>6} nodes, one joins or leaves ({taken[0][1]} rows): bare batch of all 1.00 (= {batch:.3f} s) · "
        f"p50 {statistics.median(seconds) / batch:.2f} (= {statistics.median(seconds) * 1000:.0f} ms) · worst {seconds[-1] * 1000:.0f} ms · "
        f"processor time for each {busy * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main()
