"""A plumbline that wanted something else is killed in the middle of a batch, and its tool goes on: `python -m tests.faults.outlived ROOT`.

That one reads what it wants from its standard input. Its tool is a stub that does half of its
lines, kills it, and waits for a word before it does the rest: nothing of that may come to pass.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from reconciler.kernel.node import KernelNode
from tests.faults.engine import engine
from tests.faults.scenarios import FULL, Scenario
from tests.faults.strike import Fault, Site, Strike
from tests.safety.node import nothing, scope

_WRITES = {"ip": "*-batch*", "bridge": "*-batch*", "nft": "'-f -'", "sysctl": "-w*", "mv": "-T*", "rm": "--*"}
_STUB = """\
#!/bin/sh
case "$*" in {writes}) ;; *) exec {real} "$@" ;; esac
said=$(cat)
lines=$(printf "%s\\n" "$said" | wc -l)
{half}
kill -9 $PPID
echo $$ >> {struck}
read word < {gate}
{rest}
"""
_HALVES = {
    "ip": (
        'printf "%s\\n" "$said" | head -n $((lines / 2)) | {real} "$@"',
        'printf "%s\\n" "$said" | tail -n +$((lines / 2 + 1)) | {real} "$@"',
    ),
    "nft": ("", 'printf "%s\\n" "$said" | {real} "$@"'),  # it does nothing before it has read everything
    "sysctl": ("", '{real} "$@"'),
}
OTHER = FULL.replace("fabric:\n", "fabric:\n  overlay: {vni: 5000}\n")


def other(scenario: Scenario) -> str:
    """What the killed one wanted: what there is to end, to be ended; else something to be there. Empty: nothing at all."""
    return OTHER if scenario.wanted is None or scenario.before is None else ""


def stub(tool: str, folder: Path) -> Path:
    """A folder for PATH whose tool kills who calls it; it leaves its process in `struck` and waits for a word in `gate`."""
    stubs = folder / "deadly"
    stubs.mkdir()
    real = str(shutil.which(tool))
    half, rest = (text.format(real=real) for text in _HALVES.get(tool, _HALVES["ip" if tool == "bridge" else "sysctl"]))
    os.mkfifo(folder / "gate")
    (stubs / tool).write_text(
        _STUB.format(writes=_WRITES[tool], real=real, struck=folder / "struck", gate=folder / "gate", half=half, rest=rest)
    )
    (stubs / tool).chmod(0o755)
    return stubs


def go_on(folder: Path) -> None:
    """Whoever still waits for a word gets it, and has done what it likes when this returns."""
    try:
        gate = os.open(folder / "gate", os.O_WRONLY | os.O_NONBLOCK)
    except OSError as nobody:
        assert nobody.errno == errno.ENXIO, nobody
        return
    os.write(gate, b"go on\n")
    os.close(gate)
    pid = (folder / "struck").read_text().split()[-1]
    until(lambda: not Path(f"/proc/{pid}/fd/0").exists())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        threading.Event().wait(0.01)


@contextmanager
def outlived(tool: str, site: Site) -> Iterator[Strike]:
    """The killed one's tool waits while the next one converges, and would go on then."""
    path = f"{stub(tool, site.folder)}:{os.environ['PATH']}"
    killed = subprocess.run(
        [sys.executable, "-m", "tests.faults.outlived", str(site.root)],
        input=other(site.scenario), env={**os.environ, "PATH": path}, cwd=Path(__file__).parents[2], text=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, "it did not come to this tool"
    struck = site.folder / "struck"
    until(lambda: struck.exists() and struck.read_text())
    node = KernelNode()
    yield Strike(node, lambda result: len(struck.read_text().splitlines()))
    node.close()
    go_on(site.folder)


FAULTS = tuple(
    Fault(f"killed, and its batch goes on: {tool}", partial(outlived, tool), scenarios=scenarios)
    for tool, scenarios in {
        "ip": ("cold start", "a peer joins", "vxlan is made anew", "drift is repaired", "cleanup"),
        "bridge": ("cold start", "cleanup"),
        "nft": ("a peer leaves", "settings change"),
        "mv": ("cold start",),
        "rm": ("vxlan changes in place", "settings change"),
    }.items()
)


def main(root: str) -> None:
    text = sys.stdin.read()
    engine(KernelNode()).converge(scope(text, root=root) if text else nothing(root))


if __name__ == "__main__":
    main(*sys.argv[1:])
