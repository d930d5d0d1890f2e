"""The demo as a person starts it: it holds what it claims, and leaves nothing, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.lab.state import FOLDER
from reconciler.lab.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("demo")]  # one at a time: the lab's name is the file's

ROOT = Path(__file__).parents[2]
NETWORK = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
metadata: {{name: {name}}}
nodes:
  n1: {{address: 10.0.1.11/24, podCIDRs: [10.244.1.0/24]}}
  n2: {{address: 10.0.1.12/24, podCIDRs: [10.244.2.0/24]}}
  n3: {{address: 10.0.2.13/24, podCIDRs: [10.244.3.0/24]}}
fabric: {{podNetwork: [10.244.0.0/16]}}
cni: {{}}
"""


def start(file: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "reconciler.cli", "lab", "demo", str(file)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


@pytest.fixture
def file(tmp_path: Path, namespaces_can_be_made: None) -> Path:
    made = tmp_path / "network.yaml"
    made.write_text(NETWORK.format(name=f"plt-{os.getpid()}"))
    return made


def left(file: Path) -> list[str]:
    name = f"demo-plt-{os.getpid()}"
    namespaces = [one for one in os.listdir("/run/netns") if one.startswith(f"{name}-")]
    return [*namespaces, *([name] if (FOLDER / name).exists() else [])]


def processes_of(file: Path) -> list[str]:
    name = f"demo-plt-{os.getpid()}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and name in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            continue  # it has ended
    return found


def commands_of(pids: list[str]) -> list[str]:
    return [
        subprocess.run(["ps", "-o", "pid,ppid,stat,etimes,args", "-p", pid], capture_output=True, text=True, check=False).stdout
        for pid in pids
    ]


def test_everything_is_as_claimed(file: Path) -> None:
    process = start(file)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "✗" not in said.replace("✗ not", "")
    for part in ("# n1 · ", "ip -n n1 link del plumb0", "n4 joins", "n3 leaves", "directRouting: true", "0 did not"):
        assert part in said, said
    assert left(file) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", ["1/8", "3/8", "5/8", "6/8"])
def test_interrupted_it_leaves_nothing(file: Path, how: signal.Signals, after: str) -> None:
    process = start(file)
    assert process.stdout is not None
    for line in process.stdout:
        if after in line:
            break
    process.send_signal(how)
    said = process.stdout.read()
    assert process.wait(timeout=20) == 130, said
    process.stdout.close()
    assert left(file) == []
    # What a daemon was told to end may still be finishing its last line.
    until(lambda: not processes_of(file), 5, lambda: str(commands_of(processes_of(file))))


def test_what_the_demo_cannot_show_is_said(tmp_path: Path) -> None:
    small = tmp_path / "network.yaml"
    small.write_text("\n".join(line for line in NETWORK.format(name="x").splitlines() if "n3" not in line))
    process = start(small)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "three nodes or more" in said
