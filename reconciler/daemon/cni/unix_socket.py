"""The Unix socket that the plugin asks by: messages of one byte of type, four of length (big endian), and a body (cni/plumbline.c).

Only root may connect, by the socket's mode and by what the kernel says of the other end (unix(7), SO_PEERCRED).
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PATH = "/run/plumbline/cni.sock"
MOVED = "PLUMBLINE_CNI_SOCKET"  # environment, of the plugin too
MAX_ENVIRONMENT, MAX_INPUT = 64 << 10, 1 << 20  # bytes
SAYING = 5.0  # seconds for a client to say what it wants, and to take the answer
AT_ONCE = 256  # requests; more wait in the kernel
_HEAD, _UCRED = struct.Struct(">cI"), struct.Struct("=iII")  # type, length; struct ucred: pid, uid, gid

Reply = tuple[bytes, bytes]  # type "O" or "X", and what the plugin prints
Handler = Callable[[bytes, bytes, Callable[[float], None]], Reply | None]  # environment, input, "it may take seconds"; None: no answer


class NoSocket(Exception):
    """The socket cannot be made; says why and what to do."""


class CniSocket:
    """Answers from threads of its own until `close()`. Raises NoSocket."""

    def __init__(self, path: Path, handle: Handler) -> None:
        self._path, self._handle = path, handle
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self._closing = False
        try:
            self._socket, self._inode = _listening(path)
        except OSError as error:
            why = "the path is too long" if "too long" in str(error) else error.strerror
            raise NoSocket(f"{path}: {why}; the CNI plugin cannot ask; {MOVED} names another path, for it too") from error
        self._thread = threading.Thread(target=self._serve, name="cni", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for a client
        self._thread.join(timeout=1)
        self._socket.close()
        with suppress(OSError):
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)

    def _serve(self) -> None:
        while not self._closing:
            self._room.acquire()
            try:
                client, _ = self._socket.accept()
            except OSError:
                self._room.release()
                if not self._closing:
                    threading.Event().wait(0.1)  # out of descriptors, perhaps: it passes
                continue
            threading.Thread(target=self._talk, args=(client,), name="cni-request", daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        try:
            with client, suppress(OSError, ValueError):
                client.settimeout(SAYING)
                _, uid, _ = _UCRED.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
                if uid not in (0, os.geteuid()):
                    return
                environment, said = _receive(client, b"E", MAX_ENVIRONMENT), _receive(client, b"I", MAX_INPUT)
                reply = self._handle(environment, said, lambda seconds: _send(client, b"W", struct.pack(">I", round(seconds * 1000))))
                if reply is not None:
                    _send(client, *reply)
        finally:
            self._room.release()


def _listening(path: Path) -> tuple[socket.socket, int]:
    """Made beside its place and renamed: it takes the place of one that was left, and is never there half made. Raises OSError."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        os.fchmod(made.fileno(), 0o600)  # bind(2) makes the file with the mode that the socket has
        made.bind(str(new))
        made.listen(AT_ONCE)
        inode = os.stat(new).st_ino
        os.rename(new, path)
    except OSError:
        made.close()
        raise
    return made, inode


def _receive(client: socket.socket, type_: bytes, most: int) -> bytes:
    """Raises OSError, ValueError."""
    found, length = _HEAD.unpack(_exactly(client, _HEAD.size))
    if found != type_ or length > most:
        raise ValueError(found, length)
    return _exactly(client, length)


def _exactly(client: socket.socket, length: int) -> bytes:
    body = bytearray()
    while len(body) < length:
        part = client.recv(min(length - len(body), 1 << 16))
        if not part:
            raise ValueError("it ended")
        body += part
    return bytes(body)


def _send(client: socket.socket, type_: bytes, body: bytes) -> None:
    client.sendall(_HEAD.pack(type_, len(body)) + body)
