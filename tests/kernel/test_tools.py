"""What of a plan's lines runs when one of them cannot, or finds that its name is somebody else's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.merge import merge
from reconciler.engine.model import Action, Change, Line, Ref, Verb
from reconciler.engine.reader import Scope
from reconciler.engine.round import Failure, Round
from reconciler.kernel.node import KernelNode
from reconciler.kernel.processes import Processes
from reconciler.kernel.tools import run_actions
from reconciler.kinds import all_kinds
from reconciler.kinds.link import Link, LinkKey
from reconciler.kinds.marks import GROUP
from reconciler.kinds.sysctl import sysctl
from tests.daemon.made import blackholes
from tests.namespaces import sh

pytestmark = pytest.mark.kernel


def wanted(*rows: Any) -> Scope:
    merged, clashes = merge(all_kinds(), rows)
    assert not clashes
    return Scope(("",), merged)


def test_a_line_that_hangs_does_not_hold_up_the_others(netns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which("sysctl")
    (tmp_path / "sysctl").write_text(f'#!/bin/sh\ncase "$*" in *rp_filter*) exec sleep 600;; *) exec {real} "$@";; esac\n')
    (tmp_path / "sysctl").chmod(0o755)
    sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.ip_forward=0 net.ipv4.conf.all.send_redirects=1")
    names = ("net.ipv4.conf.all.send_redirects", "net.ipv4.conf.all.rp_filter", "net.ipv4.ip_forward")
    scope = wanted(sysctl("", names[0], 0), sysctl("", names[1], 2), sysctl("", names[2], 1))
    node = KernelNode(timeout=1.0)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        result = Round(node, all_kinds()).converge(scope)
    node.close()
    assert sh(f"sysctl -n {' '.join(names)}").split() == ["0", "1", "1"]
    assert result.errors == (f"sysctl {names[1]}: sysctl did not end within 1 s and was stopped",)


def test_a_line_of_a_batch_that_hangs_is_found_and_the_others_run(netns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not known which line it was until each has been tried by itself."""
    (tmp_path / "ip").write_text(f"""#!/bin/sh
case "$*" in *-batch*) ;; *) exec {shutil.which("ip")} "$@" ;; esac
said=$(cat)
case "$said" in *10.99.3.0*) printf "%s\\n" "$said" | sed '/10.99.3.0/,$d' | {shutil.which("ip")} "$@"; exec sleep 600 ;; esac
printf "%s\\n" "$said" | exec {shutil.which("ip")} "$@"
""")
    (tmp_path / "ip").chmod(0o755)
    scope = wanted(*blackholes(1, 2, 3, 4, 5))
    node = KernelNode(timeout=1.0)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        result = Round(node, all_kinds()).converge(scope)
    node.close()
    assert sh("ip route show proto 94").split()[1::2] == [f"10.99.{number}.0/24" for number in (1, 2, 4, 5)]
    (error,) = result.errors
    assert error.startswith("route 254 10.99.3.0/24: ")
    assert error.endswith("ip did not end within 1 s and was stopped at: ip route add blackhole 10.99.3.0/24 proto 94")


def test_lines_behind_what_a_tool_had_read_are_told_apart(netns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ip").write_text("#!/bin/sh\nread one; read two; exec sleep 600\n")
    (tmp_path / "ip").chmod(0o755)
    change = Change("line", None, None, "")
    lines = [f"ip route add blackhole 10.99.{number}.0/24" for number in (1, 2, 3)]
    actions = [Action(Verb.UPDATE, change, Ref("line", (line,)), (), (Line("", line),)) for line in lines]
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        failures = run_actions(actions, processes=Processes(timeout=1.0))
    at = f"ip did not end within 1 s and was stopped at one of the lines 1 to 2 of 3: {lines[0]} …"
    behind = "not run: ip did not end within 1 s and was stopped before it came to this line"
    assert failures == [Failure(at, ran=False), Failure(at, ran=False), Failure(behind, ran=False)]


class PairAppears(KernelNode):
    """Between the last look and the lines somebody makes a veth pair of the same names."""

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        if any("link add name va" in str(line) for action in actions for line in action.lines):
            sh("ip link add va type veth peer name vb")
        return super().run(actions)


def test_a_pair_of_somebody_elses_that_appeared_is_not_taken_over(netns: str) -> None:
    va = Link(LinkKey("", "va"), "veth", GROUP, "plumbline:test", None, 1400, True, peer="vb")
    vb = Link(LinkKey("", "vb"), "veth", GROUP, "plumbline:test", None, 1400, True, peer="va")
    node = PairAppears()
    result = Round(node, all_kinds()).converge(wanted(va, vb))
    node.close()
    assert not result.converged
    assert {"va exists and is not ours", "vb exists and is not ours"} <= {error[15:].partition(" (")[0] for error in result.errors}
    assert sh("ip -o link show group 94") == ""
    assert "alias" not in sh("ip -o link show va; ip -o link show vb")
