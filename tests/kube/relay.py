"""A port of a namespace that leads to the same port outside of it: a node's way to an API that another namespace has."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

PIECE = 1 << 16


class Relay:
    """Listens in the namespace of the thread that makes it; `outside` runs something where the other side is."""

    def __init__(self, port: int, outside: Callable[[Callable[[], None]], None]) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", port))
        outside(threading.Thread(target=self._serve, daemon=True).start)  # a socket is of the namespace of the thread that opens it

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with near, suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as far:
            back = threading.Thread(target=_pipe, args=(far, near), daemon=True)
            back.start()
            _pipe(near, far)
            back.join()


def _pipe(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(PIECE):
            sink.sendall(piece)
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
