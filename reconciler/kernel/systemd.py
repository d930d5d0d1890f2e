"""Transient units of the host's systemd, asked for at its own socket: no D-Bus daemon and no tool of systemd's is needed.

org.freedesktop.systemd1(5); the properties are those of systemd.service(5) and systemd.exec(5).
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from reconciler.wire import dbus
from reconciler.wire.dbus import Variant

BOOTED = Path("/run/systemd/system")  # sd_booted(3)
SOCKET = Path("/run/systemd/private")  # systemd's own, for root
TIMEOUT = 10.0  # seconds
_NAME, _PATH, _MANAGER = "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"


class NoSystemd(Exception):
    """There is none, it cannot be reached, or it refuses; says which."""


def start_unit(name: str, description: str, command: Sequence[str], *, environment: Mapping[str, str], stdin: int, stdout: int) -> None:
    """Have systemd run a command (an absolute path and its arguments) as a service of this name, with these two descriptors.

    Its standard error goes to the host's journal. Nothing of the unit stays when it ends, however it ends.
    Returns once systemd has taken it on, which says nothing of how the command fares. Raises NoSystemd.
    """
    properties = (
        ("Description", Variant("s", description)),
        ("CollectMode", Variant("s", "inactive-or-failed")),
        ("Environment", Variant("as", [f"{key}={value}" for key, value in environment.items()])),
        ("StandardInputFileDescriptor", Variant("h", 0)),
        ("StandardOutputFileDescriptor", Variant("h", 1)),
        ("StandardError", Variant("s", "journal")),
        ("ExecStart", Variant("a(sasb)", [(command[0], command, False)])),
    )
    message = dbus.call(_PATH, _MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", (name, "fail", properties, ()), to=_NAME, descriptors=2)
    try:
        with closing(_connected()) as connection:
            descriptors = array.array("i", (stdin, stdout))
            connection.sendmsg([message[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
            connection.sendall(message[1:])
            answer = _answer(connection)
    except (OSError, ValueError) as error:
        raise NoSystemd(f"{SOCKET}: {getattr(error, 'strerror', None) or error}") from None
    if answer.type == dbus.ERROR:
        raise NoSystemd(f"systemd refuses {name}: {answer.text}")


def why_not() -> str:
    """Why no unit can be had here; empty where one can, as far as can be told without asking for one."""
    try:
        _connected().close()
    except NoSystemd as error:
        return str(error)
    except (OSError, ValueError) as error:
        return f"{SOCKET}: {getattr(error, 'strerror', None) or error}"
    return ""


def _connected() -> socket.socket:
    """Past the handshake of the D-Bus specification ("Authentication Protocol"). Raises NoSystemd, OSError, ValueError."""
    if not BOOTED.is_dir():
        raise NoSystemd(f"no systemd is to be seen here ({BOOTED} is missing)")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT)
        connection.connect(str(SOCKET))
        user = str(os.geteuid()).encode().hex()
        connection.sendall(f"\0AUTH EXTERNAL {user}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n".encode())
        said = b""
        while said.count(b"\r\n") < 2:
            said += _some(connection, 1)  # the first message may stand right behind
        accepted, passing = said.split(b"\r\n")[:2]
        if not accepted.startswith(b"OK ") or passing != b"AGREE_UNIX_FD":
            raise ValueError(f"systemd does not let us in: {said.decode(errors='replace').strip()}")
    except (OSError, ValueError):
        connection.close()
        raise
    return connection


def _answer(connection: socket.socket) -> dbus.Message:
    """What it says to our one call; signals may stand before it."""
    while True:
        head = _some(connection, dbus.HEADER)
        message = dbus.parse(head + _some(connection, dbus.length(head) - len(head)))
        if message.type in (dbus.RETURN, dbus.ERROR):
            return message


def _some(connection: socket.socket, size: int) -> bytes:
    """Exactly so many bytes."""
    found = b""
    while len(found) < size:
        more = connection.recv(size - len(found))
        if not more:
            raise ValueError("systemd hung up")
        found += more
    return found
