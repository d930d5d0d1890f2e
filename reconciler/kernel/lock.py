"""One daemon per network namespace: an abstract unix socket, which the kernel keeps per namespace (unix(7))."""

from __future__ import annotations

import errno
import socket
import struct

NAME = "\0plumbline"  # abstract: gone with the process that holds it, however it ends
_UCRED = struct.Struct("=iII")  # struct ucred: pid, uid, gid


class AlreadyRunning(Exception):
    """Another daemon holds this network namespace; says which process."""


class NamespaceLock:
    """Held from construction to `close()` or the end of the process. Raises AlreadyRunning."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind(NAME)
            self._socket.listen(1)  # so that a second one can ask who holds it
        except OSError as error:
            self._socket.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise AlreadyRunning(
                f"another plumbline daemon{_holder()} keeps this network namespace: two would fight over the same rows; "
                "stop that one, or look without changing anything: plumbline run --dry-run"
            ) from None

    def close(self) -> None:
        self._socket.close()


def _holder() -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as asked:
        try:
            asked.connect(NAME)
            pid, _, _ = _UCRED.unpack(asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        except OSError:
            return ""  # it ended meanwhile, or others queue here already
    return f" (pid {pid})" if pid else ""  # 0: a process that this pid namespace cannot see
