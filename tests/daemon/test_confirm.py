"""What a daemon refuses, and the command that lifts it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.configmap import ConfigMap
from tests.daemon.process import NETWORK, Daemon, held, plumbline
from tests.namespaces import sh

pytestmark = pytest.mark.kernel

ALONE = "\n".join(line for line in NETWORK.splitlines() if "n2:" not in line and "n3:" not in line)
STRICT = NETWORK + "limits: {maxDeletes: 1%, floor: 0}\n"
TWO = "\n".join(line for line in STRICT.splitlines() if "n3:" not in line)


def refused(daemon: Daemon) -> dict[str, str]:
    """What waits for confirmation, content or plan."""
    said = daemon.status
    found: dict[str, str] = said["spec"]["refusal"] or said["refusal"]
    return found


@pytest.mark.parametrize("newest", [ALONE, NETWORK + "metadata: {name: another}\n"], ids=["shrunken", "another cluster"])
def test_content_that_nobody_may_have_meant(start: Callable[..., Daemon], config: ConfigMap, tmp_path: Path, newest: str) -> None:
    daemon = start()
    daemon.until(daemon.ready)
    good = held()
    config.swap(network=newest)
    daemon.until(lambda: bool(refused(daemon)))
    sh("ip route del 10.244.3.0/24")
    daemon.until(lambda: held() == good)
    digest, command = refused(daemon)["digest"], refused(daemon)["confirm"]
    assert command.endswith(f"plumbline confirm {digest} --state {tmp_path}/state")
    assert command in daemon.get("/readyz")[1]
    assert daemon.logged("content refused")[0]["confirm"] == command
    assert 'plumbline_confirmation_awaited{what="content"} 1.0' in daemon.get("/metrics")[1]

    wrong = plumbline("confirm", "0" * 64, "--state", f"{tmp_path}/state")
    assert wrong.returncode == 1
    assert f"this waits: {digest} (content: " in wrong.stderr

    done = plumbline(*command.partition("plumbline ")[2].split())
    assert done.returncode == 0, done.stderr
    assert "the daemon acts on it now" in done.stdout
    daemon.until(daemon.ready)
    assert daemon.status["rounds"] > 0
    assert daemon.status["lastRound"]["triggers"] == ["confirm"]
    assert not list((tmp_path / "state").glob("confirm-*"))

    twice = plumbline("confirm", digest, "--state", f"{tmp_path}/state")
    assert twice.returncode == 1
    assert "nothing waits for confirmation" in twice.stderr
    daemon.end()
    again = start()
    again.until(again.ready)


def test_a_plan_that_takes_too_much(start: Callable[..., Daemon], config: ConfigMap, tmp_path: Path) -> None:
    config.swap(network=STRICT)
    daemon = start()
    daemon.until(daemon.ready)
    good = held()
    config.swap(network=TWO)
    daemon.until(lambda: bool(refused(daemon)))
    assert held() == good
    assert 'plumbline_confirmation_awaited{what="plan"} 1.0' in daemon.get("/metrics")[1]
    first = refused(daemon)
    assert "limits.maxDeletes" in first["reason"]
    done = plumbline(*first["confirm"].partition("plumbline ")[2].split())
    assert done.returncode == 0, done.stderr
    daemon.until(daemon.ready)
    assert "10.244.3.0/24" not in held()
    assert not list((tmp_path / "state").glob("confirm-*"))


def test_a_word_that_is_left_while_no_daemon_runs_is_heard_by_the_next(
    start: Callable[..., Daemon], config: ConfigMap, tmp_path: Path
) -> None:
    daemon = start()
    daemon.until(daemon.ready)
    config.swap(network=ALONE)
    daemon.until(lambda: bool(refused(daemon)))
    digest = refused(daemon)["digest"]
    daemon.end(signal.SIGKILL)
    again = start()
    again.until(lambda: bool(refused(again)) and refused(again)["digest"] == digest)
    assert "10.244.2.0/24" in held(), "a restart forgets nothing"
    again.end()
    done = plumbline("confirm", digest, "--state", f"{tmp_path}/state")
    assert done.returncode == 0, done.stderr
    assert "no daemon runs with this folder" in done.stdout
    third = start()
    third.until(third.ready)
    assert "10.244.2.0/24" not in held()


def test_a_word_for_something_else_is_put_away(start: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = start()
    daemon.until(daemon.ready)
    (tmp_path / "state/confirm-0123").write_text("")
    daemon.until(lambda: bool(daemon.logged("confirmation fits nothing")))
    daemon.until(lambda: not list((tmp_path / "state").glob("confirm-*")))
    assert daemon.ready()


def test_where_no_daemon_ever_was(tmp_path: Path) -> None:
    done = plumbline("confirm", "0123", "--state", str(tmp_path))
    assert done.returncode == 1
    assert "no daemon has ever kept anything here" in done.stderr


def test_status_for_people_and_for_programs(start: Callable[..., Daemon], config: ConfigMap) -> None:
    daemon = start()
    daemon.until(daemon.ready)
    said = plumbline("status")
    assert (said.returncode, said.stdout.splitlines()[0]) == (0, "n1: ready")
    config.swap(network=ALONE)
    daemon.until(lambda: bool(refused(daemon)))
    said = plumbline("status")
    assert (said.returncode, said.stdout.splitlines()[0]) == (1, "n1: not ready")
    assert refused(daemon)["confirm"] in said.stdout
    raw = json.loads(plumbline("status", "-o", "json").stdout)
    assert raw.keys() == daemon.status.keys()


def test_status_where_nobody_answers(netns: str) -> None:
    done = plumbline("status", "--url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "http://127.0.0.1:1/status: Connection refused; is the daemon running (plumbline run)" in done.stderr


def test_a_dry_run_beside_a_daemon_finds_and_leaves(start: Callable[..., Daemon], config: ConfigMap, tmp_path: Path) -> None:
    daemon = start()
    daemon.until(daemon.ready)
    daemon.end()
    sh("ip route del 10.244.3.0/24")
    before, kept = held(), sorted(file.name for file in (tmp_path / "state").iterdir())
    looks = start(options=("--dry-run",))
    looks.until(lambda: looks.status["drift"]["found"] == 1)
    [line] = looks.logged("drift")
    assert line["why"] == "dry run: left as it is"
    assert held() == before
    real = start(options=("--listen", "off"))
    real.until(lambda: "10.244.3.0/24" in held())
    looks.until(looks.ready)
    assert looks.end() < 1
    assert {"lock", *kept} == {file.name for file in (tmp_path / "state").iterdir()}
