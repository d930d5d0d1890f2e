"""kill -9 behind each line of each example's plan, on each node, and a start with no memory.

By default every line of a few nodes that between them hold every kind of row and
both families; with PLUMBLINE_FAULTS=all (`make faults`) every line of every node.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.facts.merge import build_facts
from reconciler.spec.load import load_spec

ROOT = Path(__file__).parents[2]
ALL = [(file.parent.name, node) for file in sorted(ROOT.glob("examples/*/network.yaml")) for node in build_facts(load_spec(file), []).nodes]
FEW = [("quickstart", "n1"), ("kube-router", "n1"), ("ipv6-underlay", "n1")]
NODES = ALL if os.environ.get("PLUMBLINE_FAULTS") == "all" else FEW


@pytest.mark.kernel
@pytest.mark.parametrize(("example", "node"), NODES)
def test_killed_behind_each_line(namespaces_can_be_made: None, example: str, node: str) -> None:
    file = ROOT / "examples" / example / "network.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.killed", str(file), node], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"{example} {node}: {done.stdout}", end="")
