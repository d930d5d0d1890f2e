"""Tools get their lines as a whole and have their time; whoever waits for one can be told, and asked to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.kernel import processes
from reconciler.kernel.processes import Processes, ToolFailed, ToolHung

FREEZER = Path("/sys/fs/cgroup/freezer")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        threading.Event().wait(0.01)


def test_lines_come_as_a_whole_and_words_are_what_was_said() -> None:
    text = "".join(f"line {number} ü\n" for number in range(50_000))  # more than a pipe holds
    done = Processes().run(("sh", "-c", "cat; echo said >&2; exit 3"), text)
    assert (done.stdout, done.stderr, done.returncode) == (text, "said\n", 3)
    assert Processes().run(("cat",), None).stdout == ""


def test_lines_outlive_whoever_gave_them(tmp_path: Path) -> None:
    """A pipe would end in the middle of a line."""
    script = f"""
from reconciler.kernel.processes import Processes
Processes().run(("sh", "-c", "kill -9 $PPID; read line < {tmp_path}/gate; cat > {tmp_path}/read; mv {tmp_path}/read {tmp_path}/got"),
                "".join(f"a line of which nothing is to be missing {{number}}\\n" for number in range(20_000)))
"""
    os.mkfifo(tmp_path / "gate")
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    (tmp_path / "gate").write_text("go on\n")
    until((tmp_path / "got").exists)
    lines = (tmp_path / "got").read_text().splitlines()
    assert lines == [f"a line of which nothing is to be missing {number}" for number in range(20_000)]


def test_one_that_hangs_is_stopped_and_what_it_said_and_read_is_told() -> None:
    started = Processes(timeout=1.0)
    with pytest.raises(ToolHung, match=r"^sh did not end within 1 s and was stopped$") as told:
        started.run(("sh", "-c", "read one; read two; echo refused >&2; exec sleep 600"), "one\ntwo\nthree\n")
    assert told.value.stderr == "refused\n"
    assert told.value.read == len("one\ntwo\n")  # a shell reads its lines one by one
    assert started.waiting is None


def test_who_waits_can_be_told_and_asked_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SLOW", 0.0)
    started = Processes()
    with ThreadPoolExecutor(max_workers=1) as pool:
        hanging = pool.submit(started.run, ("sleep", "600"), None)
        until(lambda: started.waiting is not None)
        assert started.waiting is not None
        assert str(started.waiting).startswith("waits for `sleep 600` (pid ")
        assert started.waiting.limit == processes.TIMEOUT
        monkeypatch.setattr(processes, "ASKED", 0.1)
        started.end()
        with pytest.raises(ToolHung, match=r"within 0\.1 s"):
            hanging.result(timeout=20)
    with pytest.raises(ToolFailed, match="is not run: plumbline was asked to end"):
        started.run(("true",), None)


def test_one_that_is_asked_to_end_lets_sound_tools_end() -> None:
    started = Processes()
    started.end()
    assert started.run(("echo", "done"), None).stdout == "done\n"


@pytest.fixture
def frozen() -> Iterator[Path]:
    """A group of processes that even SIGKILL does not end, as of those that the kernel holds."""
    if not (FREEZER / "cgroup.procs").exists():
        pytest.skip("no freezer of cgroup v1 here, which holds a process as a driver that does not answer does")
    group = FREEZER / f"plt-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no group of processes can be made here: {error.strerror}")
    yield group
    (group / "freezer.state").write_text("THAWED")
    until(lambda: not (group / "cgroup.procs").read_text())
    with suppress(OSError):
        group.rmdir()


def test_one_that_cannot_be_killed_is_not_waited_for(frozen: Path) -> None:
    started = Processes(timeout=1.0)
    script = f"echo $$ > {frozen}/cgroup.procs; echo FROZEN > {frozen}/freezer.state; exec sleep 600"
    with pytest.raises(ToolHung, match=r"cannot be stopped \(pid \d+\): the kernel holds it"):
        started.run(("sh", "-c", script), None)
    assert started.run(("echo", "others run"), None).stdout == "others run\n"
    (frozen / "freezer.state").write_text("THAWED")
    until(lambda: not (frozen / "cgroup.procs").read_text())
    started.run(("true",), None)
    assert started._left == [], "it has ended, and nobody looked"
