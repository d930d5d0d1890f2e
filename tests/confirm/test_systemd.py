"""The watchdog beside a real systemd: as a unit it outlives the pod that made the change; without one, what does instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.confirm.journal import ARMED, ConfirmFolder
from reconciler.lab.wait import until
from tests.confirm import host, made
from tests.confirm.host import Host, Machine, Pod
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
WAIT = 30.0
CUT = """\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
nodes: {n1: {address: 192.0.2.10/24, interface: eth0}}
confirm: {timeout: 8s}
resources:
  route:
    cut: {dst: 0.0.0.0/0, via: 192.0.2.99, dev: eth0, metric: 50}
"""
ALL, NOTHING = ".", ""  # of the host's /run/systemd that a pod sees


class Node(NamedTuple):
    machine: Machine
    folder: Path

    @property
    def confirm(self) -> Path:
        return self.folder / "state" / "confirm"

    def apply(self, on: Host, mounted: str, seconds: int) -> tuple[Pod, str]:
        """A pod that cut the node off and waits for somebody's word; and what it said."""
        words = ("apply", str(self.folder / "config" / "network.yaml"), "--node", "n1", "--state", str(self.confirm.parent))
        pod = on.pod(*words, "--confirm", str(seconds), mounted=mounted)
        return pod, pod.until("plumbline confirm ")

    def daemon(self, on: Host, mounted: str) -> Pod:
        words = ("run", "--config", str(self.folder / "config"), "--node", "n1", "--state", str(self.confirm.parent))
        return on.pod(*words, mounted=mounted)


@pytest.fixture
def node(namespaces_can_be_made: None, tmp_path: Path) -> Iterator[Node]:
    reason = host.why_not()
    if reason:
        pytest.skip(reason)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "network.yaml").write_text(CUT)
    with made.cut_off_able(), host.machine(tmp_path) as machine:
        yield Node(machine, tmp_path)


def _cut() -> bool:
    return "via 192.0.2.99" in sh("ip route")


def _until_undone(node: Node, before: str) -> None:
    until(lambda: bool(ConfirmFolder(node.confirm).quarantine()), WAIT, lambda: f"it is not undone\n{sh('ip route')}")
    assert sh("ip route") == before


def _until_nothing_stays(on: Host) -> None:
    until(lambda: not on.watchdogs(), WAIT, lambda: on.systemctl("status", *on.watchdogs()))
    assert on.systemctl("--failed") == ""
    assert on.systemctl("is-system-running") == "running"


def test_a_pod_that_is_killed_is_outlived_by_its_watchdog(node: Node) -> None:
    before, on = sh("ip route"), node.machine.boot()
    pod = node.daemon(on, ALL)
    until(lambda: _cut() and bool(on.watchdogs()), WAIT, lambda: f"nothing is on trial\n{sh('ip route')}{pod.said}")
    (unit,) = on.watchdogs()
    pod.kill()
    assert on.systemctl("is-active", unit) == "active"
    assert _cut(), "so far nobody but the watchdog knows better"
    _until_undone(node, before)
    assert "nobody confirmed it in time" in ConfirmFolder(node.confirm).quarantine().values()
    _until_nothing_stays(on)


def test_nothing_stays_of_a_unit_whose_change_was_confirmed(node: Node) -> None:
    on = node.machine.boot()
    pod, said = node.apply(on, ALL, 60)
    assert "of this host's systemd" in said, said
    (unit,) = on.watchdogs()
    assert f"the unit {unit} of this host's systemd" in said
    digest = said.split("plumbline confirm ")[1].strip()
    word = on.pod("confirm", digest, "--state", str(node.confirm.parent))
    assert "the change stays" in word.until("stays")
    pod.until("confirmed, the change stays")
    _until_nothing_stays(on)
    assert _cut()


def test_after_a_boot_the_next_start_undoes_it(node: Node) -> None:
    before = sh("ip route")
    node.apply(node.machine.boot(), ALL, 60)
    on = node.machine.boot()
    assert not on.watchdogs()
    assert (node.confirm / ARMED).exists()
    daemon = node.daemon(on, ALL)
    daemon.until("a change was undone")
    _until_undone(node, before)
    assert "started anew" in str(ConfirmFolder(node.confirm).quarantine())
    daemon.kill()
    _until_nothing_stays(on)


@pytest.mark.parametrize(
    ("mounted", "why"), [(NOTHING, "/run/systemd/system is missing"), ("system", "/run/systemd/private: No such file or directory")]
)
def test_where_systemd_is_out_of_reach_it_says_so(node: Node, mounted: str, why: str) -> None:
    before, on = sh("ip route"), node.machine.boot()
    pod, said = node.apply(on, mounted, 5)
    assert "which ends with its container" in said
    assert why in said
    assert not on.watchdogs()
    pod.until("undone: nobody confirmed it in time")
    _until_undone(node, before)


def test_a_pod_without_systemd_ends_with_its_watchdog_and_its_restart_goes_on(node: Node) -> None:
    """As the chart has it by default; the kubelet restarts the container."""
    before, on = sh("ip route"), node.machine.boot()
    pod, _ = node.apply(on, NOTHING, 15)
    assert made.watchdogs(node.confirm)
    pod.kill()
    assert not made.watchdogs(node.confirm)
    assert _cut(), "the gap that docs/confirm.md names"
    daemon = node.daemon(on, NOTHING)
    until(lambda: bool(made.watchdogs(node.confirm)), WAIT, lambda: "nobody watches again")
    daemon.until("watchdogs of changes on trial end with this container")
    daemon.until("it is on trial, by another process or by one that ended")
    _until_undone(node, before)
    until(lambda: not made.watchdogs(node.confirm), WAIT, lambda: "somebody goes on watching")
    assert '"converged": true' not in daemon.said, "what was on trial never became what drift is repaired with"
    daemon.kill()
