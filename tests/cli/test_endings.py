"""How the command ends when something comes between, and what it says then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import reconciler.cli
from tests.cli.test_cli import QUICKSTART, plumbline
from tests.namespaces import sh

COMMAND = [sys.executable, "-m", "reconciler.cli"]
SPEC = str(QUICKSTART)


def test_a_reader_that_stops_reading_is_no_mistake() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as deaf:
        done = subprocess.run([*COMMAND, "plan", SPEC, "--all"], stdout=deaf, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == ""


def test_interrupted_it_says_one_line(tmp_path: Path) -> None:
    fifo = tmp_path / "facts.json"
    os.mkfifo(fifo)
    running = subprocess.Popen(
        [*COMMAND, "plan", SPEC, "--all", "--facts", str(fifo)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    writer = os.open(fifo, os.O_WRONLY)  # returns once the command reads, and it reads until we close
    running.send_signal(signal.SIGINT)
    out, told = running.communicate(timeout=30)
    os.close(writer)
    assert running.returncode == 130
    assert out == ""
    assert told.strip().startswith("plumbline: stopped by you")
    assert len(told.strip().splitlines()) == 1


def test_mistakes_of_ours_are_short_unless_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(reconciler.cli.command, "main", broken)
    with pytest.raises(SystemExit) as ended:
        reconciler.cli.main()
    assert ended.value.code == 1
    assert "PLUMBLINE_DEBUG=1 shows where" in capsys.readouterr().err
    monkeypatch.setenv("PLUMBLINE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        reconciler.cli.main()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    told = plumbline("plan", SPEC, "--all", "--out", str(tmp_path / "taken"), status=1).stderr
    assert str(tmp_path / "taken") in told
    assert "mistake in plumbline" not in told


def test_a_terminal_without_unicode_gets_the_plan_all_the_same() -> None:
    shown = plumbline("plan", SPEC, "--node", "n1", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}).stdout
    assert "ip route add 10.244.2.0/24" in shown


@pytest.mark.kernel
def test_cleanup_that_nobody_can_confirm_does_nothing(netns: str) -> None:
    sh("ip link add plumb0 type vxlan id 4096 dstport 4789 && ip link set plumb0 group 94")
    assert "say --yes" in plumbline("cleanup", status=1).stderr
    assert "plumb0" in sh("ip -o link show plumb0")


def test_what_is_not_used_is_not_imported() -> None:
    script = (
        "import os, sys; sys.argv = ['plumbline', *sys.argv[1:]]; os._exit = sys.exit\n"
        "import reconciler.cli\n"
        "try: reconciler.cli.main()\n"
        "finally: print([name for name in ('kubernetes', 'pyroute2', 'pydantic', 'rich', 'jinja2') if name in sys.modules])"
    )

    def loaded(*words: str) -> str:
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert loaded("--version") == "[]"
    assert "kubernetes" not in loaded("plan", SPEC, "--all")
    assert "kubernetes" not in loaded("validate", SPEC)
