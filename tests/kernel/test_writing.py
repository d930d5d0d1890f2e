"""One at a time runs lines in a network namespace, for as long as its last tool lives."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.engine.model import Action, Change, Line, Ref, Verb
from reconciler.kernel import writing
from reconciler.kernel.processes import Processes
from reconciler.kernel.tools import run_actions
from reconciler.kernel.writing import CannotWrite, alone, anyway
from tests.kernel.test_processes import frozen, until
from tests.namespaces import fresh_namespace, sh

pytestmark = pytest.mark.kernel

__all__ = ["frozen"]

# Runs a tool that waits, and is killed meanwhile: argv is what the tool runs.
_KILLED = """
import os, signal, sys
from reconciler.kernel.processes import Processes
from reconciler.kernel.writing import alone
with alone() as keep:
    Processes().run(("sh", "-c", f"kill -9 $PPID; {sys.argv[1]}"), None, keep)
"""


def killed(tool: str) -> None:
    """A plumbline was killed while its tool ran, which goes on."""
    done = subprocess.run([sys.executable, "-c", _KILLED, tool], check=False)
    assert done.returncode == -signal.SIGKILL


def is_gone(pid: str) -> Callable[[], bool]:
    """Whether a process has ended; one that nobody has buried yet too."""

    def gone() -> bool:
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or ") Z " in stat.read_text()

    return gone


def test_two_do_not_run_lines_at_once(netns: str) -> None:
    entered: list[str] = []

    def second() -> None:
        with alone():
            entered.append("second")

    with ThreadPoolExecutor(max_workers=1) as pool:
        with alone():
            waits = pool.submit(second)
            until(lambda: len(waiters()) > 1)
            entered.append("first")
        waits.result(timeout=20)
    assert entered == ["first", "second"]


def waiters() -> list[str]:
    """The listening socket, and a connection of everybody who waits for it."""
    return [line for line in Path("/proc/thread-self/net/unix").read_text().splitlines() if line.endswith("@plumbline-writing")]


def test_other_namespaces_have_their_own(netns: str) -> None:
    with alone(), fresh_namespace(), alone(within=0):
        pass


def test_one_that_lives_is_waited_for_and_named(netns: str) -> None:
    with (
        alone(),
        pytest.raises(CannotWrite, match=rf"^another plumbline \(pid {os.getpid()}\) runs lines in this network namespace and"),
        alone(within=0),
    ):
        pass
    with alone(), pytest.raises(CannotWrite), alone(ending=lambda: True):
        pass  # who is asked to end does not wait


def test_what_a_killed_one_has_left_running_is_ended(netns: str, tmp_path: Path) -> None:
    killed(f"echo $$ > {tmp_path}/pid; exec sleep 600 < /dev/null")
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = (tmp_path / "pid").read_text().strip()
    assert not is_gone(pid)()
    with alone(within=10) as keep:
        assert keep, "the name is free"
        until(is_gone(pid))


def test_tools_of_one_that_lives_are_let_live(netns: str) -> None:
    """Until it runs, a tool that any of our threads starts has all that we have open, and so this."""
    with alone() as keep:
        tool = subprocess.Popen(["sleep", "600"], pass_fds=keep)
    try:
        with pytest.raises(CannotWrite, match=rf"sleep \(pid {tool.pid}\)"), alone(within=0.3):
            pass
        assert tool.poll() is None
    finally:
        tool.kill()
        tool.wait()


def test_others_with_the_tools_are_let_live(netns: str, tmp_path: Path) -> None:
    """Only processes that have the socket are ours to end."""
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        killed("exec sleep 600 < /dev/null")
        with alone(within=10):
            assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_what_is_killed_and_held_by_the_kernel_is_not_waited_for(netns: str, frozen: Path) -> None:
    killed(f"echo $$ > {frozen}/cgroup.procs; echo FROZEN > {frozen}/freezer.state; exec sleep 600")
    until(lambda: (frozen / "freezer.state").read_text() == "FROZEN\n")
    with alone(within=10) as keep:
        assert keep == ()  # the name is still taken: by a process that comes to no other line


@pytest.mark.parametrize("listens", ["s.listen(); ", ""])
def test_a_socket_of_another_user_holds_up_nobody(netns: str, listens: str) -> None:
    squats = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.bind('\\0plumbline-writing'); "
        f"{listens}print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", squats], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as squatter:
        assert squatter.stdout is not None
        squatter.stdout.readline()
        with alone(within=0) as keep:
            assert keep == ()
        assert squatter.poll() is None, "it is not ours to end"
        squatter.communicate()


def test_no_descriptors_is_an_error_of_the_lines(netns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*words: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", none)
    with pytest.raises(CannotWrite, match="Too many open files"), alone():
        pass


def lines(*words: str) -> list[Action]:
    change = Change("line", None, None, "")
    return [Action(Verb.UPDATE, change, Ref("line", (number,)), (), (Line("", one),)) for number, one in enumerate(words)]


def test_lines_wait_and_say_for_whom(netns: str) -> None:
    processes = Processes()
    processes.end()
    with alone():
        failures = run_actions(lines("ip link set lo mtu 1400", "ip link set lo mtu 1300"), processes=processes)
    assert all(failure is not None and f"pid {os.getpid()}" in failure.message for failure in failures)
    assert run_actions(lines("ip link set lo mtu 1400")) == [None]
    assert "mtu 1400" in sh("ip link show lo")


def test_the_way_back_waits_for_nobody_that_hangs(netns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is cut off stays so for as long as its lines do not run."""
    monkeypatch.setattr(writing, "_SOUND", 0.3)
    with alone():
        assert run_actions(lines("ip link set lo mtu 1400"), turn=anyway) == [None]
    assert "mtu 1400" in sh("ip link show lo")
    with anyway() as keep:
        assert keep, "it has a turn like any other where nobody else runs lines"
        with pytest.raises(CannotWrite), alone(within=0):
            pass


# A real batch of so many lines that there is time to be killed in the middle.
_ROUTES = 60_000
_BATCH = """
from tests.kernel.test_writing import lines, routes
from reconciler.kernel.tools import run_actions
run_actions(lines(*(f"ip route add blackhole {one} proto 94" for one in routes())))
"""


def routes() -> list[str]:
    return [f"10.{number >> 8 & 255}.{number & 255}.0/24" for number in range(_ROUTES)]


def test_a_real_batch_of_a_killed_plumbline(netns: str) -> None:
    """It is in the middle of its lines when the next one begins, and does nothing behind its back; no line was cut in half."""
    running = subprocess.Popen([sys.executable, "-c", _BATCH], cwd=Path(__file__).parents[2])
    try:
        until(lambda: sh("ip route show 10.0.0.0/24"))
    finally:
        running.kill()
        running.wait()
    with alone():
        found = sh("ip route").splitlines()
        again = sh("ip route").splitlines()
    assert 0 < len(found) < _ROUTES, "it was not killed in the middle"
    assert again == found
    assert found == [f"blackhole {one} proto 94 " for one in routes()[: len(found)]]
