"""As a person and as the daemon run it: content that cuts the node off is undone, remembered, and tried again on a word only."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.configmap import ConfigMap
from tests.confirm import made
from tests.daemon.process import COMMAND, HERE, Daemon, plumbline
from tests.namespaces import sh

pytestmark = pytest.mark.kernel

HEAD = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes: {n1: {address: 192.0.2.10/24, interface: eth0}}
confirm: {timeout: 5s}
resources:
  route:
    harmless: {dst: 203.0.113.0/24, via: 192.0.2.1, dev: eth0}
"""
CUT = HEAD + "    cut: {dst: 0.0.0.0/0, via: 192.0.2.99, dev: eth0, metric: 50}\n"
GOOD = HEAD + "    good: {dst: 0.0.0.0/0, via: 192.0.2.1, dev: eth0, metric: 50}\n"


@pytest.fixture
def node() -> Iterator[str]:
    with made.cut_off_able() as name:
        yield name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "network.yaml"
    path.write_text(CUT)
    return path


def test_apply_undoes_what_cuts_off_and_does_not_try_it_again(node: str, file: Path) -> None:
    before = sh("ip route")
    done = plumbline("apply", str(file), "--node", "n1")
    assert done.returncode == 1
    assert "undone: no answer from default gateway 192.0.2.99" in done.stderr
    assert sh("ip route") == before
    again = plumbline("apply", str(file), "--node", "n1")
    assert again.returncode == 3
    assert "was put in place and undone" in again.stderr
    digest = again.stderr.split("plumbline confirm ")[1].strip()
    lifted = plumbline("confirm", digest)
    assert "may be tried again" in lifted.stdout, lifted.stderr
    file.write_text(GOOD)
    done = plumbline("apply", str(file), "--node", "n1")
    assert done.returncode == 0, done.stderr
    assert "what answered before answers again" in done.stdout
    assert "metric 50" in sh("ip route")


def _apply_for_a_person(file: Path) -> subprocess.Popen[str]:
    command = [*COMMAND, "apply", str(file), "--node", "n1", "--confirm", "60"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, cwd=HERE)


def _asked(process: subprocess.Popen[str]) -> str:
    """The digest that it asks to be confirmed."""
    assert process.stdout is not None
    for line in process.stdout:
        if "plumbline confirm " in line:
            return line.split("plumbline confirm ")[1].strip()
    raise AssertionError(process.communicate())


def test_a_persons_word_keeps_it(node: str, file: Path) -> None:
    with _apply_for_a_person(file) as process:
        digest = _asked(process)
        assert "via 192.0.2.99" in sh("ip route")
        assert "the change stays" in plumbline("confirm", digest).stdout
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert "via 192.0.2.99" in sh("ip route")


def test_ctrl_c_undoes_it(node: str, file: Path) -> None:
    before = sh("ip route")
    with _apply_for_a_person(file) as process:
        _asked(process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert "undone: you stopped it" in said
    assert sh("ip route") == before


def test_the_daemon_undoes_it_and_goes_on_with_what_was_confirmed(node: str, tmp_path: Path) -> None:
    config = ConfigMap(tmp_path / "config")
    config.swap(network=HEAD)
    daemon = Daemon(tmp_path / "log", config.folder, tmp_path / "state")
    try:
        daemon.until(daemon.ready)
        before = sh("ip route")
        config.swap(network=CUT)
        daemon.until(lambda: "was put in place and undone" in str(daemon.status), 30)
        assert sh("ip route") == before
        assert not daemon.ready(), "the newest content is not in place"
        sh("ip route del 203.0.113.0/24")
        daemon.until(lambda: "203.0.113.0/24" in sh("ip route"))
        daemon.end(signal.SIGKILL)
        daemon = Daemon(tmp_path / "log", config.folder, tmp_path / "state")
        daemon.until(lambda: "was put in place and undone" in str(daemon.status), 30)
        assert sh("ip route") == before, "it is not tried again after a restart"
        config.swap(network=GOOD)
        daemon.until(daemon.ready, 30)
        assert "metric 50" in sh("ip route")
    finally:
        os.kill(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait()
