"""Tools that hang and plumblines that are killed beside them, with the daemon and the command as they are."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from reconciler.kernel import processes
from tests.daemon.made import Content, Made, blackholes, running
from tests.daemon.process import COMMAND, HERE, Daemon, held, plumbline
from tests.faults.outlived import OTHER, go_on, stub, until
from tests.faults.scenarios import FULL, foreign, plant
from tests.namespaces import fresh_namespace, sh

pytestmark = pytest.mark.kernel


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`ip` hangs in its batches for as long as this file is there."""
    hangs = tmp_path / "hangs"
    hangs.touch()
    folder = tmp_path / "stubs"
    folder.mkdir()
    (folder / "ip").write_text(
        f'#!/bin/sh\ncase "$*" in *-batch*) [ -e {hangs} ] && exec sleep 600 ;; esac\nexec {shutil.which("ip")} "$@"\n'
    )
    (folder / "ip").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(processes, "SLOW", 0.0)
    return hangs


def test_a_daemon_tells_whom_it_waits_for_and_ends_when_it_is_asked(
    netns: str, tmp_path: Path, slow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(Content(Made("one", blackholes(1, 2))), tmp_path) as one:
        one.until(lambda: b"waits for `ip" in one.daemon.answer("/readyz").body)
        answer = one.daemon.answer("/readyz")
        assert answer.code == 503
        assert re.fullmatch(rb"waits for `ip -force -batch -` \(pid \d+\) since \d+ s; it is stopped after 30 s\n", answer.body)
        assert b'"command": "ip -force -batch -"' in one.daemon.answer("/status").body
        monkeypatch.setattr(processes, "ASKED", 0.0)  # it has had its time
    assert one.daemon.answer("/status").code == 200  # it has ended: `running` waits for that


def test_a_daemon_goes_on_behind_a_tool_that_hung(netns: str, tmp_path: Path, slow: Path) -> None:
    with running(Content(Made("one", blackholes(1, 2))), tmp_path) as one:
        one.daemon._node._processes._timeout = 0.3
        one.until(lambda: any("did not end within" in error for error in one.daemon.status.errors), 20)
        slow.unlink()
        one.daemon._node._processes._timeout = processes.TIMEOUT
        one.until(lambda: one.daemon.status.ready, 20)
        assert b'"waitsFor": null' in one.daemon.answer("/status").body


def files(folder: Path) -> tuple[Path, Path]:
    """network.yaml as it is wanted, and as the killed one wanted it."""
    (folder / "wanted").mkdir()
    (folder / "other").mkdir()
    for name, text in (("wanted", FULL), ("other", OTHER)):
        (folder / name / "network.yaml").write_text(text)
    return folder / "wanted" / "network.yaml", folder / "other" / "network.yaml"


def ordered(root: Path, *more: str) -> tuple[str, ...]:
    return ("--node", "n1", "--root", str(root), *more)


@pytest.mark.parametrize(("killed", "then"), [("apply", "daemon"), ("daemon", "apply")])
def test_a_killed_one_s_batch_does_nothing_behind_the_back_of_the_next(
    namespaces_can_be_made: None, tmp_path: Path, killed: str, then: str
) -> None:
    """The next one comes at once, as a kubelet would start it, and wants another VNI."""
    root = tmp_path / "root"
    root.mkdir()
    wanted, other = files(tmp_path)
    with fresh_namespace():
        plant(root)
        assert plumbline("apply", str(wanted), *ordered(root, "--state", str(tmp_path / "state"))).returncode == 0
        whole, theirs = held(), foreign(root)
        words = ["apply", str(other)] if killed == "apply" else ["run", "--listen", "off", "--config", str(other)]
        path = {**os.environ, "PATH": f"{stub('ip', tmp_path)}:{os.environ['PATH']}"}
        ended = subprocess.run(
            [*COMMAND, *words, *ordered(root, "--state", str(tmp_path / "state"))], env=path, cwd=HERE, capture_output=True, check=False
        )
        assert ended.returncode == -signal.SIGKILL, ended
        until((tmp_path / "struck").exists)
        if then == "apply":
            done = plumbline("apply", str(wanted), *ordered(root, "--state", str(tmp_path / "state")))
            assert done.returncode == 0, done
        else:
            daemon = Daemon(tmp_path / "log", wanted, tmp_path / "state", options=("--root", str(root)))
            daemon.until(daemon.ready)
            daemon.end()
        go_on(tmp_path)
        assert held() == whole
        assert "nothing to do" in sh(f"{' '.join(COMMAND)} plan {wanted} {' '.join(ordered(root))}").lower()
        assert sorted(theirs - foreign(root)) == [], "something foreign was touched"
