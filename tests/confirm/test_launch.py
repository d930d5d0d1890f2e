"""Nothing runs before somebody watches: how a watchdog is started, and what is said where it cannot be."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.confirm import launch, watchdog
from reconciler.confirm.journal import ARMED, ConfirmFolder, Journal, boot_id, deadline
from reconciler.confirm.watchdog import NoWatchdog
from reconciler.kernel import systemd
from reconciler.kernel.systemd import NoSystemd
from reconciler.lab.wait import until
from tests.confirm import made
from tests.namespaces import sh

WAIT = 20.0


def _arm(folder: Path) -> None:
    ConfirmFolder(folder).arm(Journal("c0ffee", "n1", deadline(60.0), boot_id(), ()))


@pytest.fixture
def without_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "BOOTED", tmp_path / "not" / "booted")


def test_it_watches_when_start_returns_from_wherever_it_was_started(
    without_systemd: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _arm(tmp_path / "confirm")
    said = launch.start(Path("confirm"))
    (pid,) = made.watchdogs(tmp_path / "confirm")
    assert f"process {pid}, which ends with its container" in said
    assert os.getsid(pid) != os.getsid(0)
    assert ConfirmFolder(tmp_path / "confirm").keep()
    until(lambda: not made.watchdogs(tmp_path / "confirm"), WAIT, lambda: "it goes on watching")


def test_one_that_cannot_read_the_journal_is_none(without_systemd: None, tmp_path: Path) -> None:
    (tmp_path / ARMED).write_text("[")
    with pytest.raises(NoWatchdog, match=f"{ARMED}: cannot be read"):
        launch.start(tmp_path)


def test_one_whose_python_cannot_be_started_is_none(without_systemd: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _arm(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "json.py").write_text("raise ImportError('a broken image')")
    with pytest.raises(NoWatchdog, match="cannot be started: ImportError: a broken image"):
        launch.start(tmp_path)


def test_one_in_another_network_is_none(tmp_path: Path) -> None:
    """It would undo the change of one node on another."""
    _arm(tmp_path)
    with pytest.raises(NoWatchdog, match=r"the change is in net:\[1\], and this is net:\[\d+\]"):
        launch._in_a_session([sys.executable, "-m", "reconciler.confirm.watchdog", str(tmp_path), "net:[1]"])
    assert not made.watchdogs(tmp_path)


@pytest.mark.kernel
def test_a_node_of_a_lab_leaves_the_machine_alone(netns: str) -> None:
    assert "/proc/1/ns/net: " in launch.gap()


@contextmanager
def _answering(path: Path, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """Somebody at systemd's socket, for one connection."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def _said(connection: socket.socket) -> bytes:
    """A line of the handshake."""
    said = b""
    while not said.endswith(b"\r\n"):
        said += connection.recv(1)
    return said


def _refuse(connection: socket.socket) -> None:
    _said(connection)
    connection.sendall(b"REJECTED EXTERNAL\r\n")


def _hang_up(connection: socket.socket) -> None:
    _said(connection)


def _talk_nonsense(connection: socket.socket) -> None:
    for _ in range(3):
        _said(connection)
    connection.sendall(b"OK 0123\r\nAGREE_UNIX_FD\r\n" + bytes(16))
    while connection.recv(1 << 16):
        pass


@pytest.mark.parametrize(
    ("answer", "why"), [(_refuse, "REJECTED"), (_hang_up, "hung up|onnection reset"), (_talk_nonsense, "does not speak D-Bus")]
)
def test_whatever_is_at_the_socket_is_named(
    answer: Callable[[socket.socket], None], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "BOOTED", tmp_path)
    monkeypatch.setattr(systemd, "SOCKET", tmp_path / "private")
    with _answering(tmp_path / "private", answer), pytest.raises(NoSystemd, match=why), open(os.devnull, "rb") as nothing:
        systemd.start_unit("one.service", "", ("/bin/true",), environment={}, stdin=nothing.fileno(), stdout=nothing.fileno())


def test_nobody_at_the_socket_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "BOOTED", tmp_path)
    monkeypatch.setattr(systemd, "SOCKET", tmp_path / "private")
    assert "private: No such file or directory" in systemd.why_not()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "private"))
    assert "private: Connection refused" in systemd.why_not()


@pytest.mark.kernel
def test_lines_that_ran_after_the_watchdog_are_undone_too(tmp_path: Path) -> None:
    """A plan that takes longer than its time: the watchdog has gone back before its end."""
    with made.cut_off_able():
        host, before = made.look(), made.dumps()
        _, trial = made.converge(tmp_path, *made.WRONG_GATEWAY, host=host, seconds=60.0)
        assert watchdog.undo(ConfirmFolder(tmp_path), "its time was up")
        sh("ip route add default via 192.0.2.99 dev eth0 metric 50 proto 94")
        assert trial.decide() == "nobody confirmed it in time"
        assert made.dumps() == before


@pytest.mark.kernel
def test_an_undoing_whose_watchdog_ended_is_ended_by_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.confirm.commit.UNDOING", 0.0)
    with made.cut_off_able():
        host, before = made.look(), made.dumps()
        _, trial = made.converge(tmp_path, *made.WRONG_GATEWAY, host=host, seconds=60.0)
        assert ConfirmFolder(tmp_path).take_back()
        assert trial.outcome() == "nobody confirmed it in time"
        assert made.dumps() == before
        assert ConfirmFolder(tmp_path).interrupted() is None
