"""The command in the hands of somebody who does not know it: every slip is answered with what to do."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import reconciler.cli
from tests.cli.test_cli import QUICKSTART, plumbline
from tests.cli.test_endings import COMMAND
from tests.namespaces import sh
from tests.safety.node import SPEC, uplink

FILE = str(QUICKSTART)


def test_no_arguments_at_all_show_the_verbs_and_where_to_begin() -> None:
    shown = plumbline(status=64)
    told = " ".join((shown.stdout + shown.stderr).split())
    assert "First `validate` the file, then `plan` shows what would run and changes nothing, `apply` runs it." in told


@pytest.mark.parametrize("verb", [*reconciler.cli.command.list_commands(None), "lab up", "lab demo"])  # type: ignore[arg-type]
def test_every_verb_has_help(verb: str) -> None:
    shown = plumbline(*verb.split(), "--help").stdout
    assert shown.startswith(f"Usage: plumbline {verb} ")
    assert len(shown.splitlines()) > 4
    assert all(len(line) <= 110 for line in shown.splitlines())


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["aply", FILE], "No such command 'aply'. Did you mean apply?"),
        (["help"], "There are validate, plan,"),
        (["plan", "--config", FILE], "FILE is network.yaml, or the folder with its files: plumbline plan network.yaml"),
        (["plan"], "FILE is network.yaml, or the folder with its files: plumbline plan network.yaml"),
        (["verify", FILE], "The file is named by an option: plumbline verify --config network.yaml"),
        (["run", FILE], "The file is named by an option: plumbline run --config network.yaml"),
        (["verify", "--config", FILE, "more"], "The file is named by an option: plumbline verify --config network.yaml"),
        (["plan", FILE, "--nodes", "n1"], "Did you mean '--node'?"),
        (["plan", FILE, "-o", "yaml"], "'text', 'diff', 'json', 'markdown'"),
        (["apply", FILE, "--expect", "abc"], "a digest is 64 hexadecimal digits, as the last line of `plumbline plan` shows it"),
        (["apply", FILE, "--force", "A" * 64], "a digest is 64 hexadecimal digits"),
        (["plan", FILE, "--node", "n17"], "n17 is not a node of network.yaml; say --node NAME; its nodes are n1"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_wrong_usage_is_answered_with_the_right_one(words: list[str], answer: str) -> None:
    told = plumbline(*words, status=64)
    assert answer in told.stderr
    assert told.stdout == ""


def test_the_interrupt_key_pressed_twice() -> None:
    """The second one comes while the first is being answered."""
    script = (
        "import signal, reconciler.cli as c\n"
        "def twice(*a, **k): raise KeyboardInterrupt\n"
        "def slow(message): signal.raise_signal(signal.SIGINT); print(message)\n"
        "c.command.main = twice; c._complain = slow; c.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "stopped by you" in done.stdout
    assert done.stderr == ""


@pytest.mark.kernel
def test_interrupted_in_the_middle_of_its_work_it_goes_on_the_next_time(netns: str, tmp_path: Path) -> None:
    uplink()
    spec, tools = tmp_path / "network.yaml", tmp_path / "bin"
    spec.write_text(SPEC)
    tools.mkdir()
    fifo = tmp_path / "waiting"
    os.mkfifo(fifo)
    for name in ("ip", "nft", "sysctl"):
        (tools / name).symlink_to(str(shutil.which(name)))
    # The first batch of `bridge` says that it is there, and hangs until it is interrupted as a terminal does.
    (tools / "bridge").write_text(f'#!/bin/sh\n[ "$1" = -V ] && exec {shutil.which("bridge")} -V\necho > {fifo}\nexec sleep 600\n')
    (tools / "bridge").chmod(0o755)
    words = [*COMMAND, "apply", str(spec), "--node", "n1", "--root", str(tmp_path / "root")]
    running = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
    )  # fmt: skip
    said = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    there, _, _ = select.select([said], [], [], 30)
    os.close(said)
    assert there, "bridge was never called"
    os.killpg(running.pid, signal.SIGINT)
    out, told = running.communicate(timeout=30)
    assert running.returncode == 130, out + told
    assert told.strip().splitlines()[-1] == "plumbline: stopped by you; whatever is left half done, the same command goes on with it"
    assert "Traceback" not in told
    assert "plumb0" in sh("ip -o link show group 94"), "it was in the middle"
    assert "converged" in plumbline("apply", str(spec), "--node", "n1", "--root", str(tmp_path / "root")).stdout
    assert "nothing to do" in plumbline("apply", str(spec), "--node", "n1", "--root", str(tmp_path / "root")).stdout


def test_a_terminal_has_colours_and_a_pipe_has_none() -> None:
    ours, theirs = pty.openpty()
    words = [*COMMAND, "plan", FILE, "--node", "n1"]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    env.pop("NO_COLOR", None)
    running = subprocess.Popen(words, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert running.wait(timeout=30) == 0
    assert b"\x1b[" in shown
    assert "\x1b" not in plumbline("plan", FILE, "--node", "n1").stdout


# -- what a pull request is told --------------------------------------------------------------


def specs(tmp_path: Path) -> tuple[str, str]:
    many = "".join(f"  m{number}: {{address: 10.0.3.{number + 1}, podCIDRs: [10.244.{number + 10}.0/24]}}\n" for number in range(60))
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(SPEC.replace("fabric:", many + "fabric:"))
    new.write_text(SPEC)
    return str(old), str(new)


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_what_the_guard_will_refuse_is_foretold(tmp_path: Path, form: str) -> None:
    old, new = specs(tmp_path)
    shown = plumbline("plan", "--from", old, new, "--node", "n1", "-o", form, status=3).stdout
    assert "limits.maxDeletes allows 30%" in shown
    assert "plumbline plan` shows the digest to confirm it with" in shown


def test_what_is_within_the_limits_is_not(tmp_path: Path) -> None:
    old, new = specs(tmp_path)
    Path(new).write_text(Path(new).read_text() + "limits: {maxDeletes: 100%}\n")
    assert "refused" not in plumbline("plan", "--from", old, new, "--node", "n1").stdout
    plumbline("plan", "--from", new, old, "--node", "n1")


@pytest.mark.kernel
def test_another_plan_than_the_expected_one_is_refused_and_shown(netns: str, tmp_path: Path) -> None:
    uplink()
    spec = tmp_path / "network.yaml"
    spec.write_text(SPEC)
    told = plumbline("apply", str(spec), "--node", "n1", "--expect", "0" * 64, "--root", str(tmp_path / "root"), status=3)
    assert "read it again" in told.stderr
    assert "+ ip route add 10.244.3.0/24" in told.stdout
    assert sh("ip -o link show group 94") == ""
    digest = told.stdout.strip().splitlines()[-1].rsplit(" ", 1)[1]
    plumbline("apply", str(spec), "--node", "n1", "--expect", digest, "--root", str(tmp_path / "root"))
    told = plumbline("apply", str(spec), "--node", "n1", "--expect", digest, "--root", str(tmp_path / "root"), status=3)
    assert "the plan is now empty" in told.stderr
