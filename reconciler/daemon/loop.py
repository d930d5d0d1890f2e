"""The main loop: the kernel's events, the watch of the content and signals become triggers; rounds run one at a time."""

from __future__ import annotations

import gc
import random
import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reconciler.cluster.config import ConfigWatch
from reconciler.confirm.trials import Trials
from reconciler.daemon.cni.service import Cni
from reconciler.daemon.content import Inputs
from reconciler.daemon.controller import Controller
from reconciler.daemon.doers import Doers
from reconciler.daemon.health_checks import HealthChecks, asked
from reconciler.daemon.http import Answer, answer
from reconciler.daemon.inbox import Inbox
from reconciler.daemon.interest import Interest, Listening
from reconciler.daemon.keeping import Keeper
from reconciler.daemon.logs import log_fight, log_round
from reconciler.daemon.metrics import Metrics
from reconciler.daemon.orphans import Orphans
from reconciler.daemon.page.view import View, view_after
from reconciler.daemon.patience import Patience
from reconciler.daemon.pods_heard import PodsHeard
from reconciler.daemon.schedule import POLL, Schedule
from reconciler.daemon.settings import Settings
from reconciler.daemon.status import LastRound, Status, after
from reconciler.daemon.step import Report
from reconciler.daemon.turns import Turns
from reconciler.engine.model import Action, Wanted
from reconciler.engine.reader import ObservationFailed
from reconciler.engine.round import Failure
from reconciler.kernel.events import EventSocket
from reconciler.kernel.folders import FolderEvents
from reconciler.kernel.host import observe_host
from reconciler.kernel.node import KernelNode
from reconciler.kernel.opponents import Opponent, opponents
from reconciler.kernel.requester import requester, search
from reconciler.kinds import all_kinds

if TYPE_CHECKING:
    from reconciler.daemon.link import Link

STUCK = 180.0  # seconds without a sign of life; the slowest single question to a kernel or tool times out before
_BEAT = 5.0  # seconds between signs of life when nothing happens
FEW = 100  # actions whose events are read for who else was at it; of more it would take too long
LOOK_AROUND = 600.0  # seconds between two looks for others on this host
START, CONFIG, CLUSTER, CNI, HANGUP, CONFIRM, PODS, STOP = "start", "config", "cluster", "cni", "hangup", "confirm", "pods", "stop"
_ANEW = {START, CONFIG, HANGUP}  # triggers that mean another network.yaml, or all anew
_ELSEWHERE = {CONFIG, CLUSTER, CNI}  # triggers that are no news of this node: what was seen of it stands, but for what the kernel tells
_READS = {*_ANEW, CLUSTER}  # triggers that read the content again
ANSWER = 3.0  # seconds that an API has to answer at a start, before the node gets its network of what was kept
TOGETHER = 0.1  # seconds from an object's change to the round: a rollout changes many


class _Stopped(Exception):
    """SIGTERM came during a round, and the batch that ran is done."""


class _ListeningNode(KernelNode):
    """The node of this process; what its own lines caused is not news to it."""

    def __init__(self, events: EventSocket, listening: Listening, pods: PodsHeard) -> None:
        super().__init__()
        self._events, self._listening, self._pods = events, listening, pods

    def run(self, actions: Sequence[Action]) -> list[Failure | None]:
        """After every run the round observes again, so what others did meanwhile is not lost either."""
        done = super().run(actions)
        self._pods.discard()
        if len(actions) <= FEW:
            self._events.read(self._listening.meanwhile)
        else:
            self._events.discard()
        return done


class Daemon:
    """Everything of one daemon; `serve` returns after `stop`, which may come from any thread."""

    def __init__(
        self,
        settings: Settings,
        log: Any,
        load: Callable[[], Inputs],
        keeper: Keeper,
        trials: Trials | None = None,
        link: Link | None = None,
    ) -> None:
        self._settings, self._log, self._keeper, self._link = settings, log, keeper, link
        self._kinds = all_kinds()
        groups = {group for kind in self._kinds.values() for group in kind.events}
        self._events, self._pods = EventSocket(groups), PodsHeard(groups, log)
        self._doers = Doers(requester, search)
        self._listening = Listening(Interest(self._kinds, Wanted(), "", blind=False), self._doers)
        self._node = _ListeningNode(self._events, self._listening, self._pods)
        self._inbox = Inbox()
        self._watch = ConfigWatch(settings.paths, lambda: self._inbox.put(CONFIG), FolderEvents())
        self._state = FolderEvents()
        restored = keeper.restore()
        self._turns = Turns(link.others if link is not None else None)
        self._cni = Cni(keeper.path, settings.root, lambda: self._inbox.put(CNI), log, dry_run=settings.dry_run)
        self._controller = Controller(
            self._node,
            self._kinds,
            load,
            observe_host,
            kept=restored.inputs,
            root=settings.root,
            dry_run=settings.dry_run,
            progress=self._progress,
            trials=trials,
            turns=self._turns,
            attachments=self._cni.attachments,
            boot=self._cni.boot,
            listener=self._events,
        )
        self._orphans = Orphans(log)
        self._schedule = Schedule(settings.resync, random.uniform)
        self._patience = Patience(random.uniform)
        self._looked = float("-inf")  # when we last looked around for others
        self._metrics = Metrics(settings.node)
        self._health = HealthChecks()
        self._status = Status(  # swapped whole; read by HTTP threads
            settings.node, settings.source, settings.dry_run, keeper.path, last_good=restored.saved, state_problems=keeper.problems
        )
        self._view = View()  # likewise
        self._beat = time.monotonic()
        self._stopping = False

    # -- from any thread -------------------------------------------------------------------

    @property
    def status(self) -> Status:
        return self._status

    def stop(self) -> None:
        self._stopping = True
        self._node.end()
        self._inbox.put(STOP)

    def wake(self, trigger: str) -> None:
        self._inbox.put(trigger)

    def answer(self, path: str) -> Answer:
        silent = time.monotonic() - self._beat
        stuck = f"the loop gave no sign of life for {silent:.0f} s" if silent > STUCK else ""
        heard = self._link.known if self._link is not None else ()
        self._metrics.heard(heard)
        status = self._status._replace(watches=tuple(heard), rollout=self._turns.standing, waiting=self._node.waiting)
        return answer(path, status, stuck, self._metrics.text, self._view)

    # -- the loop's own thread ---------------------------------------------------------------

    def serve(self) -> None:
        self._watch.start()
        if self._link is not None:
            self._link.start(lambda: self._inbox.put(CLUSTER))
        self._schedule.ask(START, time.monotonic() + (ANSWER if self._link is not None else 0.0))
        with selectors.DefaultSelector() as ready:
            ready.register(self._events, selectors.EVENT_READ, self._hear)
            ready.register(self._pods, selectors.EVENT_READ, self._hear_pods)
            ready.register(self._inbox, selectors.EVENT_READ, self._read_inbox)
            if self._keeper.path and self._state.fileno() >= 0:
                self._state.watch([self._keeper.path])
                ready.register(self._state, selectors.EVENT_READ, self._hear_state)
            try:
                while not self._stopping:
                    self._beat = now = time.monotonic()
                    triggers = self._schedule.take(now)
                    if triggers and not (triggers == (POLL,) and self._nothing_new()):
                        self._round(triggers)
                    if triggers:
                        continue
                    self._keeper.write(now, time.time())
                    for key, _ in ready.select(min(_BEAT, max(0.0, self._schedule.next - now))):
                        key.data()
            except _Stopped:
                pass

    def close(self) -> None:
        self._keeper.write(time.monotonic(), time.time(), at_once=True)
        self._health.close()
        self._cni.close()
        if self._link is not None:
            self._link.close()
        self._watch.stop()
        self._state.close()
        self._node.close()
        self._events.close()
        self._pods.close()
        self._inbox.close()

    def _read_inbox(self) -> None:
        for trigger in self._inbox.take():
            if trigger == CONFIG:
                self._status = self._status._replace(pending=True)
            self._schedule.ask(trigger, time.monotonic(), TOGETHER if trigger == CLUSTER else 0.0)

    def _hear(self) -> None:
        heard = self._events.read(self._listening)
        now = time.monotonic()
        if heard.overflowed:
            self._metrics.overflowed()
            self._schedule.heard(("overflow",), now)  # some were lost: the round looks at everything anyway
        elif heard.reasons:
            self._schedule.heard(heard.reasons, now)
        rested = self._patience.next(self._listening.again(), now)
        if rested is not None:
            self._schedule.rest(rested)

    def _hear_pods(self) -> None:
        if self._pods.hear():
            self._ask_for_pods()

    def _ask_for_pods(self) -> None:
        now = time.monotonic()
        self._schedule.ask(PODS, now, self._pods.pause(now))

    def _hear_state(self) -> None:
        self._state.drain()
        if self._keeper.confirmed():
            self._schedule.ask(CONFIRM, time.monotonic())

    def _progress(self, done: int, total: int) -> None:
        self._beat = time.monotonic()
        if self._stopping:
            raise _Stopped

    def _round(self, triggers: tuple[str, ...]) -> None:
        began, at = time.monotonic(), time.time()
        self._cni.begins()
        if PODS in triggers:
            self._pods.rest(began)
        ground = _ANEW & set(triggers) or any("link" in trigger or "address" in trigger for trigger in triggers)
        self._patience.forget_failures(None if ground else self._listening.touched())  # what rows failed for may be otherwise now
        confirmed = self._keeper.confirmed()
        try:
            with _without_collector():
                if not _ELSEWHERE.issuperset(triggers):
                    self._events.doubt()
                if _READS & set(triggers):
                    self._controller.reload()
                report = self._controller.step(confirmed=confirmed, resting=self._patience.resting(began))
                self._look_after(report)
                report = report if self._settings.dry_run else self._orphans.after(report)
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
        idle = not last.actions and not _READS & set(triggers)
        self._plan_next(report, now, took=last.seconds if idle else 0.0)
        self._keep(report, confirmed, now, at)
        others = self._look_around(report, triggers, now)
        status = after(self._status, report, last, self._patience.fights(now), self._keeper.problems)._replace(opponents=others)
        self._metrics.ended(report, status)
        log_round(self._log, report, self._status, status, self._settings.dry_run)
        self._view = view_after(self._view, report, at)
        self._answer_health_checks(report)
        self._status = status  # last, so that whoever reads it finds the rest done
        self._cni.ended(report)
        if self._link is not None:
            self._link.publish(status)

    def _answer_health_checks(self, report: Report) -> None:
        """Load balancers ask each node for pods of a service; where nothing new is in force, the answers stay."""
        if report.context is None or self._settings.dry_run:
            return
        for trouble in self._health.to(asked(report.context)):
            self._log.warning("a health check is not answered", why=trouble, do="another service proxy may answer it already")

    def _polled(self) -> list[str]:
        """The kinds that something is wanted of, and of which the kernel tells nothing."""
        return [name for name, kind in self._kinds.items() if kind.poll and self._listening.wanted.of(name)]

    def _nothing_new(self) -> bool:
        """A look at the polled kinds alone: no round where they are as they were."""
        unchanged = self._controller.unchanged(self._polled())
        if unchanged:
            self._schedule.looked(time.monotonic(), self._polls())
        return unchanged

    def _polls(self) -> list[float]:
        return [poll for name in self._polled() if (poll := self._kinds[name].poll)]

    def _look_after(self, report: Report) -> None:
        """The events that matter from here on, with the interfaces as they are now."""
        if report.wanted is not self._listening.wanted or not report.plans:
            blind = report.awaited or (bool(report.errors or report.problems) and not report.plans)
            self._listening.to(Interest(self._kinds, report.wanted, report.uplink, blind=blind, patterns=_patterns(report)), report.wanted)
        if not self._settings.dry_run and self._pods.follow(report):  # it gives namespaces numbers
            self._ask_for_pods()  # what happened in them before is not known
        try:
            self._listening.see(self._node.interfaces(""))
        except ObservationFailed as failure:
            self._log.error("interfaces", why=str(failure))

    def _plan_next(self, report: Report, now: float, *, took: float) -> None:
        undone = {row for row in report.undone if self._doers.who(row)}
        repaired = (one.ref for one in report.repairs if one.done)
        who = self._doers.who
        for fight in (*self._patience.repaired(repaired, who, now), *self._patience.undone(undone, who, now)):
            log_fight(self._log, fight)
            self._metrics.fought(fight)
        self._doers.forget()
        left = {action.ref for action in report.plans[-1].actions} if report.plans else set()
        self._patience.tried({row: why for row, why in report.failed.items() if row not in undone}, left, now)
        self._listening.expect((one.row for one in self._patience.fights(now) if now < one.until), self._patience.failed)
        self._schedule.done(now, converged=report.converged, polls=self._polls(), rested=self._patience.next(left, now), took=took)

    def _keep(self, report: Report, confirmed: frozenset[str], now: float, wall: float) -> None:
        for digest in self._keeper.after(report, self._controller.good, confirmed, now, wall):
            self._log.warning("confirmation fits nothing", digest=digest, do="read what waits now: plumbline status")

    def _look_around(self, report: Report, triggers: tuple[str, ...], now: float) -> tuple[Opponent, ...]:
        """Others on this host: looked for at a start, with another network.yaml, and now and then."""
        known = self._status.opponents
        anew = bool({START, HANGUP} & set(triggers)) or report.digest != self._status.digest
        if report.context is None or not (anew or now - self._looked > LOOK_AROUND):
            return known
        self._looked = now
        try:
            return opponents(report.context, report.wanted, report.seen, self._node, self._settings.root)
        except Exception:  # noqa: BLE001 — what others do is worth knowing, and not worth a round
            self._log.exception("others on this host could not be looked for")
            return known


def _patterns(report: Report) -> tuple[str, ...]:
    """Of devices that the spec names by what they are called like."""
    services = report.context.spec.services if report.context is not None else None
    return services.patterns if services is not None else ()


@contextmanager
def _without_collector() -> Iterator[None]:
    """A round makes many small tuples that live until its end: the collector would walk them again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
