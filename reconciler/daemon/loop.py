"""The main loop: the kernel's events, the watch of the content and signals become triggers; rounds run one at a time."""

from __future__ import annotations

import gc
import os
import queue
import random
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from reconciler.cluster.config import ConfigWatch
from reconciler.daemon.controller import Controller, Inputs, Report
from reconciler.daemon.http import Answer, BadListen, HttpServer, answer
from reconciler.daemon.inputs import load_inputs
from reconciler.daemon.interest import Interest
from reconciler.daemon.logs import MANY, log_round, make_logger
from reconciler.daemon.metrics import Metrics
from reconciler.daemon.schedule import Schedule
from reconciler.daemon.settings import Settings
from reconciler.daemon.status import LastRound, Status, after
from reconciler.engine.kind import ObservationFailed
from reconciler.engine.model import Action, Wanted
from reconciler.engine.round import Failure
from reconciler.kernel.events import EventSocket
from reconciler.kernel.folders import FolderEvents
from reconciler.kernel.host import observe_host
from reconciler.kernel.lock import AlreadyRunning, NamespaceLock
from reconciler.kernel.node import KernelNode
from reconciler.kinds import all_kinds

STUCK = 180.0  # seconds without a sign of life; the slowest single question to a kernel or tool times out before
_BEAT = 5.0  # seconds between signs of life when nothing happens
CONFIG, HANGUP, STOP = "config", "hangup", "stop"


class _Stopped(Exception):
    """SIGTERM came during a round, and the batch that ran is done."""


class _ListeningNode(KernelNode):
    """The node of this process; what its own lines caused is not news to it."""

    def __init__(self, events: EventSocket) -> None:
        super().__init__()
        self._events = events

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        """After every run the round observes again, so what others did meanwhile is not lost either."""
        done = super().run(actions)
        self._events.discard()
        return done


class _Inbox:
    """What other threads and signal handlers have to say; its descriptor wakes the loop."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()  # reentrant, as signal handlers need it
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def put(self, trigger: str) -> None:
        self._queue.put(trigger)
        os.eventfd_write(self._wake, 1)

    def fileno(self) -> int:
        return self._wake

    def take(self) -> Iterator[str]:
        try:
            os.eventfd_read(self._wake)
            while True:
                yield self._queue.get_nowait()
        except (queue.Empty, BlockingIOError):
            return

    def close(self) -> None:
        os.close(self._wake)


def run(settings: Settings) -> int:
    """Keep this node true until SIGTERM or SIGINT. Exit status: 0 asked to stop, 1 it could not start or go on."""
    log = make_logger(sys.stderr, json=settings.json_logs, verbose=settings.verbose, node=settings.node)
    with ExitStack() as held:
        try:
            if not settings.dry_run:
                held.callback(NamespaceLock().close)
            daemon = Daemon(settings, log, lambda: load_inputs(settings))
            held.callback(daemon.close)
            http = HttpServer(settings.listen, daemon.answer)
            held.callback(http.close)
        except (AlreadyRunning, BadListen, ObservationFailed) as error:
            log.error("cannot start", why=str(error))
            return 1
        held.enter_context(_signals(daemon))
        log.info("started", config=str(settings.config), pid=os.getpid(), port=http.port, dry_run=settings.dry_run)
        try:
            daemon.serve()
        except ObservationFailed as error:  # deaf to events: whoever started us does better to start us again
            log.error("ended", why=str(error), network="stays as it is")
            return 1
        log.info("stopped", network="stays as it is")
    return 0


@contextmanager
def _signals(daemon: Daemon) -> Iterator[None]:
    """SIGTERM and SIGINT end it, SIGHUP reads everything again. Only the main thread can be told."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        daemon.stop()

    def again(number: int, frame: FrameType | None) -> None:
        daemon.wake(HANGUP)

    before = {number: signal.signal(number, handler) for number, handler in _handlers(stop, again)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_Handler = Callable[[int, FrameType | None], None]


def _handlers(stop: _Handler, again: _Handler) -> tuple[tuple[signal.Signals, _Handler], ...]:
    return (signal.SIGTERM, stop), (signal.SIGINT, stop), (signal.SIGHUP, again)


class Daemon:
    """Everything of one daemon; `serve` returns after `stop`, which may come from any thread."""

    def __init__(self, settings: Settings, log: Any, load: Callable[[], Inputs]) -> None:
        self._settings, self._log = settings, log
        self._kinds = all_kinds()
        self._events = EventSocket(group for kind in self._kinds.values() for group in kind.events)
        self._node = _ListeningNode(self._events)
        self._inbox = _Inbox()
        self._watch = ConfigWatch((settings.config, *settings.facts), lambda: self._inbox.put(CONFIG), FolderEvents())
        self._controller = Controller(
            self._node,
            self._kinds,
            load,
            observe_host,
            root=settings.root,
            dry_run=settings.dry_run,
            progress=self._progress,
        )
        self._schedule = Schedule(settings.resync, random.uniform)
        self._interest = Interest(self._kinds, Wanted(), "", blind=False)
        self._wanted = Wanted()
        self._metrics = Metrics(settings.node)
        self._status = Status(settings.node, str(settings.config), settings.dry_run)  # swapped whole; read by HTTP threads
        self._beat = time.monotonic()
        self._stopping = False

    # -- from any thread -------------------------------------------------------------------

    @property
    def status(self) -> Status:
        return self._status

    def stop(self) -> None:
        self._stopping = True
        self._inbox.put(STOP)

    def wake(self, trigger: str) -> None:
        self._inbox.put(trigger)

    def answer(self, path: str) -> Answer:
        silent = time.monotonic() - self._beat
        stuck = f"the loop gave no sign of life for {silent:.0f} s" if silent > STUCK else ""
        return answer(path, self._status, stuck, self._metrics.text)

    # -- the loop's own thread ---------------------------------------------------------------

    def serve(self) -> None:
        self._watch.start()
        self._schedule.ask("start", time.monotonic())
        with selectors.DefaultSelector() as ready:
            ready.register(self._events, selectors.EVENT_READ, self._hear)
            ready.register(self._inbox, selectors.EVENT_READ, self._read_inbox)
            try:
                while not self._stopping:
                    self._beat = now = time.monotonic()
                    triggers = self._schedule.take(now)
                    if triggers:
                        self._round(triggers)
                        continue
                    for key, _ in ready.select(min(_BEAT, max(0.0, self._schedule.next - now))):
                        key.data()
            except _Stopped:
                pass

    def close(self) -> None:
        self._watch.stop()
        self._node.close()
        self._events.close()
        self._inbox.close()

    def _read_inbox(self) -> None:
        for trigger in self._inbox.take():
            if trigger == CONFIG:
                self._status = self._status._replace(pending=True)
            self._schedule.ask(trigger, time.monotonic())

    def _hear(self) -> None:
        heard = self._events.read(self._interest)
        now = time.monotonic()
        if heard.overflowed:
            self._schedule.heard(("overflow",), now)  # some were lost: the round looks at everything anyway
        elif heard.reasons:
            self._schedule.heard(heard.reasons, now)

    def _progress(self, done: int, total: int) -> None:
        self._beat = time.monotonic()
        if self._stopping:
            raise _Stopped

    def _round(self, triggers: tuple[str, ...]) -> None:
        began, at = time.monotonic(), time.time()
        try:
            with _without_collector():
                if {"start", CONFIG, HANGUP} & set(triggers):
                    self._controller.reload()
                report = self._controller.step()
                self._look_after(report)
        except _Stopped:
            raise
        except Exception:  # noqa: BLE001 — a mistake of ours in one round must not leave the node alone
            self._log.exception("round failed")
            self._metrics.crashed()
            self._status = self._status._replace(converged=False, errors=("a round failed with an internal error; see the log",))
            self._schedule.done(time.monotonic(), converged=False)
            return
        now = time.monotonic()
        last = LastRound(at, triggers, now - began, len(report.plans[0].actions) if report.plans else 0)
        before, self._status = self._status, after(self._status, report, last)
        self._metrics.ended(report, self._status)
        log_round(self._log, report, before, self._status, self._settings.dry_run)
        self._plan_next(report, now)

    def _look_after(self, report: Report) -> None:
        """The events that matter from here on, with the interfaces as they are now."""
        if report.wanted is not self._wanted or not report.plans:
            self._wanted = report.wanted
            self._interest = Interest(self._kinds, report.wanted, report.uplink, blind=bool(report.errors) and not report.plans)
        try:
            self._interest.see(self._node.interfaces(""))
        except ObservationFailed as failure:
            self._log.error("interfaces", why=str(failure))

    def _plan_next(self, report: Report, now: float) -> None:
        fought = self._schedule.repaired((one.ref for one in report.repairs if one.done), now)
        for row in fought[:MANY]:
            self._log.warning("somebody else keeps changing this row", row=str(row), do="find out who: two managers of one row never agree")
        polls = (kind.poll for name, kind in self._kinds.items() if kind.poll and report.wanted.of(name))
        self._schedule.done(now, converged=report.converged, polls=polls)


@contextmanager
def _without_collector() -> Iterator[None]:
    """A round makes many small tuples that live until its end: the collector would walk them again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
