"""How much plumbline costs beside the very lines that it runs, fed to bare `ip -batch`, `bridge -batch` and `nft -f`.

python -m tests.bench [NODES ...]: for each size, in fresh namespaces of one run: the bare batch, a cold
`plumbline apply` from process start to verified, and one with nothing to do.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.namespaces import fresh_namespace, sh

SPEC = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes: {n0: {address: 10.0.0.1/8}}
fabric: {podNetwork: [100.64.0.0/10], masquerade: false}
"""
RUNS = 3


def nodes(count: int) -> str:
    """What `kubectl get nodes -o json` prints, as far as plumbline reads it."""
    items = []
    for number in range(count + 1):
        high, low = divmod(number, 256)
        own = number + 1
        items.append(
            {
                "metadata": {"name": f"n{number}", "labels": {"kubernetes.io/hostname": f"n{number}"}},
                "spec": {"podCIDRs": [f"100.{64 + high // 256}.{high % 256}.{low}/32" if count > 16000 else f"100.{64 + high}.{low}.0/24"]},
                "status": {"addresses": [{"type": "InternalIP", "address": f"10.{1 + (own >> 16)}.{(own >> 8) & 255}.{own & 255}"}]},
            }
        )
    items[0]["status"] = {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}
    return json.dumps({"kind": "NodeList", "items": items})


def plumbline(*words: str) -> float:
    """Wall-clock seconds of one plumbline process, which must succeed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "reconciler.cli", *words], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return seconds


def host() -> None:
    sh("ip link add eth0 type veth peer name gateway && ip link set gateway up && ip link set eth0 up && ip addr add 10.0.0.1/8 dev eth0")


def bare(lines: list[str]) -> float:
    """Seconds that the tools need for the lines, one process for each run of lines of one tool."""
    batches: list[tuple[str, list[str]]] = []
    for line in lines:
        tool, _, rest = line.partition(" ")
        if tool not in ("ip", "bridge", "nft"):
            continue
        if not batches or batches[-1][0] != tool:
            batches.append((tool, []))
        batches[-1][1].append(rest.replace("'", "") if tool == "nft" else rest)
    texts = [(tool, "\n".join(rest) + "\n") for tool, rest in batches]
    start = time.perf_counter()
    for tool, text in texts:
        subprocess.run([tool, "-f" if tool == "nft" else "-batch", "-"], input=text, text=True, check=True, capture_output=True)
    return time.perf_counter() - start


def measure(count: int, folder: Path) -> None:
    spec, facts, out = folder / "network.yaml", folder / "nodes.json", folder / "out"
    spec.write_text(SPEC)
    facts.write_text(nodes(count))
    with fresh_namespace():
        host()
        plumbline("plan", str(spec), "--facts", str(facts), "--node", "n0", "--out", str(out))
    lines = [line for line in (out / "n0.sh").read_text().splitlines() if line.startswith(("ip ", "bridge ", "nft "))]
    cold, idle, base = [], [], []
    for _ in range(RUNS):
        with fresh_namespace():
            host()
            base.append(bare(lines))
        with fresh_namespace():
            host()
            cold.append(plumbline("apply", str(spec), "--facts", str(facts), "--node", "n0"))
            idle.append(plumbline("apply", str(spec), "--facts", str(facts), "--node", "n0"))
    floor = statistics.median(base)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{count:>6} nodes, {len(lines):>6} lines: bare batch 1.00 (= {floor:.3f} s) · "
        f"cold apply {statistics.median(cold) / floor:.2f} · nothing to do {statistics.median(idle) / floor:.2f} · peak memory {peak:.0f} MiB"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        for count in [int(word) for word in sys.argv[1:]] or [1_000, 10_000]:
            place = Path(folder) / str(count)
            place.mkdir()
            measure(count, place)


if __name__ == "__main__":
    main()
