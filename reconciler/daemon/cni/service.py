"""All that a daemon has to do with CNI, as its loop sees it. The socket is there once some network.yaml chains the plugin."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconciler.daemon.cni.attached import Attachments
from reconciler.daemon.cni.boot import Boot
from reconciler.daemon.cni.desk import Closed, Desk
from reconciler.daemon.cni.request import CNI_VERSION, CniError, read_request
from reconciler.daemon.cni.unix_socket import MOVED, PATH, CniSocket, NoSocket, Reply
from reconciler.daemon.step import Report

INTERNAL = 999  # CNI 1.1.0: from 100 on a plugin's own


class Cni:
    """`state`: folder of what is kept for a restart, "" for none; `root`: stands for / (a lab's node)."""

    def __init__(self, state: str, root: str, wake: Callable[[], None], log: Any, *, dry_run: bool = False) -> None:
        folder = Path(state) if state and not dry_run else None
        self._log, self._dry_run = log, dry_run
        self.attachments = Attachments(folder, self._problem)
        self.boot = Boot(folder, self._problem)
        self._desk = Desk(self.attachments, self.boot, wake, log)
        self._path = Path(os.environ.get(MOVED) or f"{root}{PATH}")
        self._socket: CniSocket | None = None
        self._refused = ""

    def begins(self) -> None:
        """A round begins."""
        self._desk.begins()

    def ended(self, report: Report) -> None:
        """A round has ended; the first that has a network.yaml which asks for it opens the socket."""
        cni = report.context.spec.cni if report.context is not None else None
        if self._socket is None and cni is not None and cni.chained and not self._dry_run:
            self._open()
        self._desk.ended(report)

    def close(self) -> None:
        """Whoever waits is told nothing, and asks the next daemon."""
        self._desk.close()
        if self._socket is not None:
            self._socket.close()

    def _open(self) -> None:
        try:
            self._socket = CniSocket(self._path, self._answer)
            self._log.info("answers the CNI plugin", socket=str(self._path))
        except NoSocket as error:
            if str(error) != self._refused:
                self._refused = str(error)
                self._problem(self._refused)

    def _answer(self, environment: bytes, body: bytes, takes: Callable[[float], None]) -> Reply | None:
        version = CNI_VERSION
        try:
            request = read_request(environment, body)
            version = request.version
            takes(self._desk.patience)
            return b"O", self._desk.answer(request)
        except CniError as error:
            return b"X", error.told(version)
        except Closed:
            return None
        except OSError:
            raise
        except Exception:  # noqa: BLE001 — a mistake of ours in one request must not leave a pod without an answer
            self._log.exception("a request of the CNI plugin failed")
            return b"X", CniError(INTERNAL, "plumbline made a mistake", "see the daemon's log on this node").told(version)

    def _problem(self, text: str) -> None:
        self._log.warning("cni", why=text)
