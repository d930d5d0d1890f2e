"""Changes on trial, against a real kernel: kept, undone by us, by the watchdog, by the next start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.confirm import watchdog
from reconciler.confirm.journal import ARMED, BadJournal, ConfirmFolder, Journal
from reconciler.kernel import writing
from reconciler.kernel.probes import working
from reconciler.lab.wait import until
from tests.confirm import made
from tests.namespaces import sh

pytestmark = pytest.mark.kernel
WAIT = 20.0
CUTS = {"another gateway": made.WRONG_GATEWAY, "down": made.DOWN, "without IPv6": made.WITHOUT_IPV6}


def _still() -> str:
    return "the watchdog is not done"


def _decided(folder: Path) -> bool:
    return not (folder / ARMED).exists() and not made.watchdogs(folder)


@pytest.mark.parametrize("rows", CUTS.values(), ids=CUTS)
def test_what_cuts_the_node_off_is_undone(rows: tuple[object, ...], tmp_path: Path) -> None:
    with made.cut_off_able():
        host, before = made.look(), made.dumps()
        _, trial = made.converge(tmp_path, *rows, host=host, seconds=1.0)
        assert made.dumps() != before
        why = trial.decide()
        assert "no answer from default gateway" in why or "no default route any more for IPv" in why
        assert made.dumps() == before
        assert sh("ip link show type bridge") == ""
        assert made.DIGEST in ConfirmFolder(tmp_path).quarantine()
        until(lambda: _decided(tmp_path), WAIT, _still)


@pytest.mark.parametrize("rows", CUTS.values(), ids=CUTS)
def test_killed_after_the_change_the_watchdog_undoes_it(rows: tuple[object, ...], tmp_path: Path) -> None:
    """Whoever made the change is gone with SIGKILL before it could decide."""
    with made.cut_off_able():
        host, before = made.look(), made.dumps()
        child = os.fork()
        if child == 0:
            made.converge(tmp_path, *rows, host=host, seconds=-4.0)  # with the margin, a second is left
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        until(lambda: _decided(tmp_path), WAIT, _still)
        assert made.dumps() == before
        assert "nobody confirmed" in ConfirmFolder(tmp_path).quarantine()[made.DIGEST]


def test_what_still_works_stays(tmp_path: Path) -> None:
    with made.cut_off_able():
        host = made.look()
        result, trial = made.converge(tmp_path, *made.BETTER, host=host)
        assert trial.armed
        assert trial.decide() == ""
        assert result.converged
        assert "metric 50" in sh("ip route show default")
        until(lambda: _decided(tmp_path), WAIT, _still)
        assert not ConfirmFolder(tmp_path).quarantine()


def test_what_does_not_concern_the_uplink_is_not_on_trial(tmp_path: Path) -> None:
    with made.cut_off_able():
        result, trial = made.converge(tmp_path, *made.HARMLESS, host=made.look())
        assert result.converged
        assert not trial.armed
        assert not list(tmp_path.iterdir())


def test_after_a_boot_the_time_is_up(tmp_path: Path) -> None:
    """The watchdog went with the machine; the next start finds the journal of an earlier boot."""
    with made.cut_off_able():
        host, before = made.look(), made.dumps()
        made.converge(tmp_path, *made.WRONG_GATEWAY, host=host, seconds=60.0, person=True)
        until(lambda: bool(made.watchdogs(tmp_path)), WAIT, _still)
        for pid in made.watchdogs(tmp_path):
            os.kill(pid, signal.SIGKILL)
        folder = ConfirmFolder(tmp_path)
        assert not watchdog.resume(folder), "this boot's trial goes on"
        armed = tmp_path / ARMED
        armed.write_text(json.dumps({**json.loads(armed.read_text()), "boot": "an earlier one"}))
        assert watchdog.resume(folder)
        assert made.dumps() == before
        assert "started anew" in folder.quarantine()[made.DIGEST]
        assert not watchdog.resume(folder)


def test_an_undoing_that_was_interrupted_is_ended(tmp_path: Path) -> None:
    with made.cut_off_able():
        host, before = made.look(), made.dumps()
        made.converge(tmp_path, *made.ENSLAVED, host=host, seconds=60.0, person=True)
        folder = ConfirmFolder(tmp_path)
        assert folder.take_back()
        assert watchdog.resume(folder)
        assert made.dumps() == before


def test_whoever_hangs_in_the_middle_is_no_reason_to_stay_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_SOUND", 0.3)
    folder = ConfirmFolder(tmp_path)
    with made.cut_off_able():
        folder.arm(Journal(made.DIGEST, "n1", 0.0, "another boot", (("", "ip route add 203.0.113.0/24 via 192.0.2.1"),)))
        with writing.alone():
            assert watchdog.resume(folder)
        assert "203.0.113.0/24" in made.dumps()


def test_with_the_disk_full_nothing_runs(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    sh(f"mount -t tmpfs -o size=4k,nr_inodes=16 tmpfs {full}")
    try:
        with made.cut_off_able():
            (full / "filler").write_bytes(bytes(4096))
            before = made.dumps()
            result, trial = made.converge(full / "confirm", *made.WRONG_GATEWAY, host=made.look())
            assert "No space left on device: without the way back on disk the change is not begun" in result.errors[0]
            assert not trial.armed
            assert made.dumps() == before
    finally:
        sh(f"umount {full}")


def test_a_second_change_waits_for_the_first(tmp_path: Path) -> None:
    with made.cut_off_able():
        host = made.look()
        made.converge(tmp_path, *made.WRONG_GATEWAY, host=host, seconds=60.0, person=True)
        now = made.dumps()
        result, second = made.converge(tmp_path, *made.DOWN, host=host, person=True)
        assert "another change is on trial" in result.errors[0]
        assert not second.armed
        assert made.dumps() == now
        assert ConfirmFolder(tmp_path).keep()
        until(lambda: _decided(tmp_path), WAIT, _still)
        assert made.dumps() == now


def test_only_one_decides(tmp_path: Path) -> None:
    with made.cut_off_able():
        made.converge(tmp_path, *made.WRONG_GATEWAY, host=made.look(), seconds=60.0, person=True)
        folder = ConfirmFolder(tmp_path)
        assert folder.keep()
        assert not folder.keep()
        assert not watchdog.undo(folder, "too late")
        assert not folder.quarantine()


def test_an_unreadable_quarantine_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "quarantine.json").write_text("[")
    with pytest.raises(BadJournal, match="cannot be read"):
        ConfirmFolder(tmp_path).quarantine()


def test_probes_tell_who_answers(tmp_path: Path) -> None:
    with made.cut_off_able():
        from reconciler.kernel.probes import Probe

        there, away = Probe("192.0.2.1"), Probe("192.0.2.77")
        refused, six = Probe("192.0.2.1", 4711), Probe("2001:db8::1")
        assert working((there, away, refused, six), 1.5) == {there, refused, six}


def test_the_watchdog_needs_nothing_of_ours_but_the_journal(tmp_path: Path) -> None:
    """It is started by hand on a folder, as a unit of the host would."""
    with made.cut_off_able():
        host, before = made.look(), made.dumps()
        made.converge(tmp_path, *made.WRONG_GATEWAY, host=host, seconds=60.0, person=True)
        armed = tmp_path / ARMED
        armed.write_text(json.dumps({**json.loads(armed.read_text()), "until": 0.0}))
        subprocess.run([sys.executable, "-m", "reconciler.confirm.watchdog", str(tmp_path)], check=True)
        assert made.dumps() == before
