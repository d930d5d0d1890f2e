"""kill -9 behind each line of a node's first plan, then a start with no memory: `python -m tests.faults.killed FILE NODE`.

One process imports everything, and forks: a child with a network namespace and
a folder of its own for every line, which forks the one that applies. That one
ends by a real SIGKILL behind its line; the child converges and compares.
Prints how many deaths there were.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from reconciler.engine.model import Action, Seen
from reconciler.engine.pipeline import make_plan
from reconciler.engine.reader import Scope
from reconciler.engine.round import Failure
from reconciler.facts.merge import build_facts
from reconciler.facts.model import Facts, Node
from reconciler.intents import Context, compile_node
from reconciler.kernel.host import observe_host
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds
from reconciler.spec.load import Loaded, load_spec
from tests.faults.engine import engine, settle, templates
from tests.faults.scenarios import ours
from tests.namespaces import sh

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h


class Dying(KernelNode):
    """Runs so many lines of a plan, and is killed."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._left = lines

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        whole: list[Action] = []
        for action in actions:
            if len(action.lines) >= self._left:  # what it stages is staged before its first line
                super().run([*whole, action._replace(lines=action.lines[: self._left])])
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= len(action.lines)
            whole.append(action)
        return super().run(actions)


def host(node: Node) -> None:
    """This process gets a namespace that is the node's host: an uplink with its addresses."""
    assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0
    sh(
        "sysctl -qw net.ipv6.conf.default.accept_dad=0 && ip link set lo up && ip link add eth0 type veth peer name wire && ip link set eth0 up && ip link set wire up"
    )
    sh("\n".join(f"ip addr add {one.address}/{one.prefix} dev eth0" + " nodad" * (one.family == 6) for one in node.addresses))


def scope(loaded: Loaded, facts: Facts, name: str, root: str) -> Scope:
    io = KernelNode()
    known = facts._replace(host=observe_host(io, facts.nodes[name], root))
    io.close()
    return Scope(("",), compile_node(Context(loaded.spec, known, name, loaded.where)).wanted, root)


def forked(work: Callable[[], None]) -> int:
    """The wait status of a child that does some work."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 — whatever it is, it must not go on as a second parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def main(path: str, name: str) -> int:
    loaded = load_spec(path)
    facts = build_facts(loaded, [])
    folder = Path(tempfile.mkdtemp(prefix="plt-killed-"))
    kept = folder / "whole"

    def first() -> None:
        host(facts.nodes[name])
        (folder / "node").mkdir()
        result = settle(scope(loaded, facts, name, str(folder / "node")))
        lines = sum(len(one.action.lines) for one in result.outcomes)
        kept.write_text(f"{lines}\n{ours(folder / 'node')}")

    def again(lines: int) -> None:
        host(facts.nodes[name])
        shutil.rmtree(folder / "node")
        (folder / "node").mkdir()
        wanted = scope(loaded, facts, name, str(folder / "node"))
        status = forked(lambda: void(engine(Dying(lines)).converge(wanted)))
        assert os.WIFSIGNALED(status), f"it was not killed: wait status {status}"
        assert os.WTERMSIG(status) == signal.SIGKILL
        settle(wanted)
        assert (found := ours(folder / "node")) == whole, f"killed behind line {lines}:\n{found}\ninstead of\n{whole}"

    # The templates are compiled here, once for all that are forked.
    make_plan(name, all_kinds(), templates(), compile_node(Context(loaded.spec, facts, name, loaded.where)).wanted, Seen({}))
    try:
        if forked(first):
            return 1
        count, _, whole = kept.read_text().partition("\n")
        failed = [lines for lines in range(int(count) + 1) if forked(lambda lines=lines: again(lines))]  # type: ignore[misc]
    finally:
        shutil.rmtree(folder)
    print(f"{int(count) + 1 - len(failed)} of {int(count) + 1} deaths left nothing behind")
    return 1 if failed else 0


def void(value: object) -> None:
    """An expression as a statement."""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
