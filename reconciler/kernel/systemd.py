"""Transient units of the host's systemd, asked for at its own socket: no D-Bus daemon and no tool of systemd's is needed.

org.freedesktop.systemd1(5); the properties are those of systemd.service(5) and systemd.exec(5).
"""

from __future__ import annotations

import array
import errno
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

BOOTED = Path("/run/systemd/system")  # sd_booted(3)
SOCKET = Path("/run/systemd/private")  # systemd's own, for root
TIMEOUT = 10.0  # seconds
HUNG_UP = "it hung up"
_PATH, _NAME = "/org/freedesktop/systemd1", "org.freedesktop.systemd1"
_UNREADABLE = (ValueError, LookupError, TypeError, struct.error)  # what the reader of D-Bus messages raises for bytes that are none


class NoSystemd(Exception):
    """There is none, it cannot be reached, or it refuses; says which."""


def start_unit(name: str, description: str, command: Sequence[str], *, environment: Mapping[str, str], stdin: int, stdout: int) -> None:
    """Have systemd run a command (an absolute path and its arguments) as a service of this name, with these two descriptors.

    Its standard error goes to the host's journal. Nothing of the unit stays when it ends, however it ends.
    Returns once systemd has taken it on, which says nothing of how the command fares. Raises NoSystemd.
    """
    from jeepney import DBusAddress, MessageType, new_method_call

    properties = [
        ("Description", ("s", description)),
        ("CollectMode", ("s", "inactive-or-failed")),
        ("Environment", ("as", [f"{key}={value}" for key, value in environment.items()])),
        ("StandardInputFileDescriptor", ("h", stdin)),
        ("StandardOutputFileDescriptor", ("h", stdout)),
        ("StandardError", ("s", "journal")),
        ("ExecStart", ("a(sasb)", [(command[0], list(command), False)])),
    ]
    manager = DBusAddress(_PATH, _NAME, f"{_NAME}.Manager")
    call = new_method_call(manager, "StartTransientUnit", "ssa(sv)a(sa(sv))", (name, "fail", properties, []))
    descriptors = array.array("i")
    try:
        with closing(_connected()) as connection:
            message = call.serialise(serial=1, fds=descriptors)
            connection.sendmsg([message[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
            connection.sendall(message[1:])
            answer = _answer(connection)
    except (OSError, *_UNREADABLE) as error:
        raise NoSystemd(f"{SOCKET}: {_words(error)}") from None
    if answer.header.message_type is MessageType.error:
        raise NoSystemd(f"systemd refuses {name}: {next((one for one in answer.body if isinstance(one, str)), 'no reason given')}")


def why_not() -> str:
    """Why no unit can be had here; empty where one can, as far as can be told without asking for one."""
    try:
        _connected().close()
    except NoSystemd as error:
        return str(error)
    except (OSError, ValueError) as error:
        return f"{SOCKET}: {_words(error)}"
    return ""


def _connected() -> socket.socket:
    """Let in, and ready for a message. Raises NoSystemd, OSError, ValueError.

    The handshake (D-Bus specification, "Authentication Protocol") goes as a whole: with its end by itself, what follows
    could be read along with that, and systemd takes descriptors during a handshake for an attack.
    """
    from jeepney.auth import BEGIN, make_auth_external

    if not BOOTED.is_dir():
        raise NoSystemd(f"no systemd is to be seen here ({BOOTED} is missing)")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT)
        connection.connect(str(SOCKET))
        connection.sendall(b"\0" + make_auth_external() + b"NEGOTIATE_UNIX_FD\r\n" + BEGIN)
        for expected in (b"OK ", b"AGREE_UNIX_FD"):
            said = _line(connection)
            if not said.startswith(expected):
                raise ValueError(f"it does not let us in: {said.decode(errors='replace')}")
    except BaseException:
        connection.close()
        raise
    return connection


def _line(connection: socket.socket) -> bytes:
    """Of the handshake; the first message may stand right behind its last."""
    said = b""
    while not said.endswith(b"\r\n"):
        more = connection.recv(1)
        if not more:
            raise ConnectionResetError(errno.ECONNRESET, HUNG_UP)
        said += more
        if len(said) > 1024:
            raise ValueError("a line without end")
    return said.strip()


def _answer(connection: socket.socket) -> Any:
    """What it says to our one call; signals may stand before it. Raises OSError, _UNREADABLE."""
    from jeepney import MessageType, Parser

    parser = Parser()
    while True:
        more = connection.recv(4096)
        if not more:
            raise ConnectionResetError(errno.ECONNRESET, HUNG_UP)
        for message in parser.feed(more):
            if message.header.message_type in (MessageType.method_return, MessageType.error):
                return message


def _words(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"what answers there does not speak D-Bus as systemd does ({error or type(error).__name__})"
