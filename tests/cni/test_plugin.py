"""The plugin by itself: hostile input, no daemon, a slow one, one that goes away or talks nonsense."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cni.runtime import WITHOUT, Said, call

INTERPRETER = 3  # PT_INTERP, elf(5): only what is linked dynamically has one
HEAD = struct.Struct(">cI")
Talk = Callable[[socket.socket], None]


def program_headers(elf: bytes) -> list[int]:
    """The types of a 64-bit little-endian object's program headers (elf(5))."""
    (offset,), (size, count) = struct.unpack_from("<Q", elf, 32), struct.unpack_from("<HH", elf, 54)
    return [struct.unpack_from("<I", elf, offset + size * number)[0] for number in range(count)]


def message(type_: bytes, body: bytes) -> bytes:
    return HEAD.pack(type_, len(body)) + body


def received(client: socket.socket) -> tuple[bytes, bytes]:
    """What the plugin says: environment and input."""
    found = []
    for expected in (b"E", b"I"):
        type_, length = HEAD.unpack(client.recv(HEAD.size, socket.MSG_WAITALL))
        assert type_ == expected
        found.append(client.recv(length, socket.MSG_WAITALL) if length else b"")
    return found[0], found[1]


@contextmanager
def daemon(path: Path, *talks: Talk) -> Iterator[None]:
    """Answers one client after another."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)
    wrong: list[BaseException] = []

    def serve() -> None:
        try:
            for talk in talks:
                client, _ = listener.accept()
                with client:
                    talk(client)
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            wrong.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    listener.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=10)
    listener.close()
    path.unlink()
    assert not wrong, wrong


@pytest.fixture
def ask(plugin: Path, short: Path) -> Callable[..., Said]:
    return lambda command, body=b"{}", **more: call(plugin, command, body, PLUMBLINE_CNI_SOCKET=str(short / "s"), **more)


def test_it_is_small_static_and_says_what_it_speaks(plugin: Path) -> None:
    assert plugin.stat().st_size < 1 << 20
    assert INTERPRETER not in program_headers(plugin.read_bytes()), "it runs on hosts of any libc"
    said = json.loads(call(plugin, "VERSION").text)
    assert said["supportedVersions"] == ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def test_what_is_said_goes_to_the_daemon_as_it_is_and_comes_back_as_it_is(ask: Callable[..., Said], short: Path) -> None:
    heard = []

    def talk(client: socket.socket) -> None:
        heard.append(received(client))
        client.sendall(message(b"W", struct.pack(">I", 5000)) + message(b"O", b"any \x00 bytes\n"))

    body = b'{"a": "' + bytes(range(32, 256)) * 4000 + b'"}'  # 900 kB
    with daemon(short / "s", talk):
        said = ask("ADD", body, args="K8S_POD_NAME=a\nb;", containerid="c", ifname="eth0", netns="/run/netns/x", HOME_DIRECTORY="/root")
    assert said == (0, "any \x00 bytes\n")
    environment, body_heard = heard[0]
    assert body_heard == body
    assert sorted(environment.split(b"\0")) == sorted(
        (b"", b"CNI_ARGS=K8S_POD_NAME=a\nb;", b"CNI_COMMAND=ADD", b"CNI_CONTAINERID=c", b"CNI_IFNAME=eth0", b"CNI_NETNS=/run/netns/x")
    ), "and nothing else of the environment"


def test_a_failure_is_told_by_the_daemon(ask: Callable[..., Said], short: Path) -> None:
    with daemon(short / "s", lambda client: (received(client), client.sendall(message(b"X", b'{"code": 7}')))[1]):
        assert ask("ADD") == (1, '{"code": 7}')


def test_without_a_daemon_only_version_and_del_are_answered(plugin: Path, ask: Callable[..., Said], short: Path) -> None:
    assert ask("VERSION").status == 0
    assert ask("DEL") == (0, "")
    for command, code in (("GC", 11), ("STATUS", 50)):
        said = call(plugin, command, PLUMBLINE_CNI_SOCKET=str(short / "s")).error
        assert said["code"] == code
        assert "daemon" in said["msg"]
        assert "chained: true" in said["details"], "what to do"


@pytest.mark.parametrize("command", ["ADD", "CHECK", "STATUS"])
def test_a_daemon_that_comes_meanwhile_is_in_time(ask: Callable[..., Said], short: Path, command: str) -> None:
    """Its socket file is left of one that was killed, and then another one is there; the first hangs up without a word."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(short / "s"))
    left.close()
    said: list[Said] = []
    waiting = threading.Thread(target=lambda: said.append(ask(command)))
    waiting.start()
    (short / "s").unlink()

    def hangs_up(client: socket.socket) -> None:
        received(client)
        client.sendall(message(b"W", struct.pack(">I", 8000)))

    def half(client: socket.socket) -> None:
        received(client)
        client.sendall(message(b"O", b"whole")[:-2])

    def answers(client: socket.socket) -> None:
        received(client)
        client.sendall(message(b"O", b"here"))

    with daemon(short / "s", hangs_up, half, answers):
        waiting.join(timeout=20)
    assert said == [(0, "here")], "nothing of the half answer was printed"


@pytest.mark.parametrize(
    "nonsense", [b"HTTP/1.1 200 OK\r\n\r\n", message(b"O", b"")[:3], HEAD.pack(b"O", 0xFFFFFFFF), HEAD.pack(b"O", (4 << 20) + 1), b""]
)
def test_nonsense_is_no_answer(plugin: Path, short: Path, nonsense: bytes) -> None:
    def talk(client: socket.socket) -> None:
        received(client)
        client.sendall(nonsense)

    with daemon(short / "s", talk, talk):
        assert call(plugin, "GC", PLUMBLINE_CNI_SOCKET=str(short / "s")).error["code"] == 11
        assert call(plugin, "DEL", PLUMBLINE_CNI_SOCKET=str(short / "s")) == (0, "")


def test_a_daemon_that_hangs_does_not_hang_the_runtime(plugin: Path, short: Path) -> None:
    """It says that it may take half a second, and says nothing more."""
    over = threading.Event()

    def hangs(client: socket.socket) -> None:
        received(client)
        client.sendall(message(b"W", struct.pack(">I", 0)))
        over.wait(20)

    with daemon(short / "s", hangs):
        said = call(plugin, "ADD", PLUMBLINE_CNI_SOCKET=str(short / "s")).error
        over.set()
    assert said["code"] == 11
    assert "does not answer" in said["msg"]


def test_a_client_that_is_not_root_is_told_so_at_once(plugin: Path, short: Path) -> None:
    if os.geteuid() != 0 or Path("/proc/self/uid_map").read_text().split()[2] == "1":
        pytest.skip("only root can become somebody else, and that where there is somebody else")
    listener = socket.socket(socket.AF_UNIX)
    os.fchmod(listener.fileno(), 0o600)
    listener.bind(str(short / "s"))
    listener.listen()
    short.chmod(0o755)
    copy = short / "plumbline"
    copy.write_bytes(plugin.read_bytes())
    copy.chmod(0o755)
    environment = WITHOUT | {"CNI_COMMAND": "ADD", "PLUMBLINE_CNI_SOCKET": str(short / "s")}
    done = subprocess.run(
        [str(copy)], input="{}", env=environment, user=65534, group=65534, capture_output=True, text=True, check=False, timeout=30
    )
    listener.close()
    assert done.returncode == 1
    assert "only root may" in json.loads(done.stdout)["details"]


@pytest.mark.parametrize("command", ["ADD", "CHECK", "GC", "STATUS"])
def test_what_is_too_long_is_refused_before_anybody_is_asked(plugin: Path, command: str) -> None:
    assert call(plugin, command, b" " * ((1 << 20) + 1)).error["code"] == 6
    assert call(plugin, command, b"", args="x" * (65 << 10), path="y" * 10).error["code"] == 4


def test_del_succeeds_whatever_it_is_given(plugin: Path, short: Path) -> None:
    assert call(plugin, "DEL", b"\xff" * (2 << 20), PLUMBLINE_CNI_SOCKET=str(short / "s")) == (0, "")
    assert call(plugin, "DEL", b"", args="x" * (100 << 10)) == (0, "")
    assert call(plugin, "DEL", b"", PLUMBLINE_CNI_SOCKET="/" + "x" * 300) == (0, "")
    environment = WITHOUT | {"CNI_COMMAND": "DEL", "PLUMBLINE_CNI_SOCKET": str(short / "s")}
    closed = subprocess.run(["sh", "-c", f"exec {plugin} <&- >&-"], env=environment, check=False, timeout=30)
    assert closed.returncode == 0


@pytest.mark.parametrize("command", [None, "", "add", "ADD\n", "UPDATE", "A" * 1000])
def test_an_unknown_command_is_an_error(plugin: Path, command: str | None) -> None:
    assert call(plugin, command).error["code"] == 4


def test_a_runtime_that_waits_for_no_answer_ends_it(plugin: Path, short: Path) -> None:
    """Nobody reads: it ends by itself, and not by a signal."""
    process = subprocess.Popen([str(plugin)], env=WITHOUT | {"CNI_COMMAND": "VERSION"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=10) in (0, 1)
