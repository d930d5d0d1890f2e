"""/healthz, /readyz, /metrics, /status and a page at /, for probes and people on the node. Read only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, SHUT_RDWR
from typing import NamedTuple

from reconciler.daemon.metrics import CONTENT_TYPE
from reconciler.daemon.page import served
from reconciler.daemon.page.lists import BadQuery
from reconciler.daemon.page.view import PATHS, View, told
from reconciler.daemon.status import Status, as_json

PLAIN, JSON = "text/plain; charset=utf-8", "application/json"
HEADERS = (  # of every answer: it is for who asked, as what it is, and nobody's to embed or to keep
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
)


class Answer(NamedTuple):
    code: int
    type: str
    body: bytes
    policy: str = ""  # Content-Security-Policy; empty: the answer is nothing that a browser runs
    more: tuple[tuple[str, str], ...] = ()  # header fields of this answer alone


class BadListen(Exception):
    """The address to listen on cannot be used; says what is wrong and what to do."""


def answer(path: str, status: Status, stuck: str, metrics: Callable[[], bytes], view: View = View()) -> Answer:
    """What each path says; `stuck` is why the loop does not turn any more, empty when it does."""
    path, _, query = path.partition("?")
    match path:
        case "/healthz":
            return _plain(503 if stuck else 200, stuck or "ok")
        case "/readyz":
            return _plain(200 if status.ready else 503, status.not_ready or "ok")
        case "/metrics":
            return Answer(200, CONTENT_TYPE, metrics())
        case "/status":
            return _json(as_json(status))
        case "/":
            return Answer(200, served.TYPE, *served.page())
        case _ if path in PATHS:
            try:
                return _json(told(view, path, query))
            except BadQuery as error:
                return _plain(400, str(error))
        case _:
            return _plain(404, f"there are /, /healthz, /readyz, /metrics, /status, {', '.join(PATHS)}")


def _plain(code: int, text: str) -> Answer:
    return Answer(code, PLAIN, f"{text}\n".encode())


def _json(document: object) -> Answer:
    return Answer(200, JSON, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")


def parse_listen(text: str) -> tuple[str, int] | None:
    """HOST:PORT or [HOST]:PORT; None for "off". Raises BadListen."""
    if text == "off":
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise BadListen(f"--listen {text}: write HOST:PORT, [IPV6]:PORT, or off")
    return host.strip("[]"), int(port)


class HttpServer:
    """Serves from threads of its own until `close()`. Raises BadListen."""

    def __init__(self, listen: str, ask: Callable[[str], Answer]) -> None:
        address = parse_listen(listen)
        self._server: ThreadingHTTPServer | None = None
        if address is None:
            return
        try:
            self._server = _server(address, ask)
        except OSError as error:
            raise BadListen(f"--listen {listen}: {error.strerror}; choose another address or port, or --listen off") from error
        self._closing = False
        self._thread = threading.Thread(target=self._serve, args=(self._server,), name="http", daemon=True)
        self._thread.start()

    def _serve(self, server: ThreadingHTTPServer) -> None:
        """Unlike serve_forever it does not look at the clock: it sleeps until somebody asks."""
        while not self._closing:
            server.handle_request()

    @property
    def port(self) -> int:
        """The TCP port that it got; 0 when it does not listen."""
        return self._server.server_address[1] if self._server else 0

    def close(self) -> None:
        if self._server is not None:
            self._closing = True
            with suppress(OSError):
                self._server.socket.shutdown(SHUT_RDWR)  # wakes whoever waits for a client
            self._thread.join(timeout=1)
            self._server.server_close()


def _server(address: tuple[str, int], ask: Callable[[str], Answer]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds for a client to say what it wants

        def do_GET(self) -> None:
            foreign = served.rebound(self.headers.get("Host"), self.connection.getsockname()[0])
            given = _plain(421, foreign) if foreign else ask(self.path)
            self.send_response(given.code)
            self.send_header("Content-Type", given.type)
            self.send_header("Content-Length", str(len(given.body)))
            for name, value in (*HEADERS, *given.more, *((("Content-Security-Policy", given.policy),) if given.policy else ())):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(given.body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every few seconds: they are not news."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = AF_INET6 if ":" in address[0] else AF_INET

    return Server(address, Handler)
