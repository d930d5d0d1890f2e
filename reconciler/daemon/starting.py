"""`plumbline run`: everything that one daemon is made of, put together, and taken apart when it ends."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from reconciler.cluster.access import NoAccess, find_access
from reconciler.confirm import launch
from reconciler.confirm.journal import BadJournal
from reconciler.confirm.trials import Trials
from reconciler.confirm.watchdog import NoWatchdog
from reconciler.daemon.http import BadListen, HttpServer
from reconciler.daemon.inbox import signals
from reconciler.daemon.inputs import load_inputs, unpack_inputs
from reconciler.daemon.keeping import Keeper
from reconciler.daemon.logs import make_logger
from reconciler.daemon.loop import HANGUP, Daemon
from reconciler.daemon.settings import Settings
from reconciler.daemon.state import StateBusy, StateFolder
from reconciler.engine.reader import ObservationFailed
from reconciler.facts.nodes import KnownNodes
from reconciler.intents import Memo
from reconciler.kernel.lock import AlreadyRunning, NamespaceLock
from reconciler.kernel.writing import CannotWrite, wait_for_others
from reconciler.kinds import all_kinds

if TYPE_CHECKING:
    from reconciler.daemon.link import Link


def run(settings: Settings) -> int:
    """Keep this node true until SIGTERM or SIGINT. Exit status: 0 asked to stop, 1 it could not start or go on."""
    log = make_logger(sys.stderr, json=settings.json_logs, verbose=settings.verbose, node=settings.node)
    memo, known = Memo(), KnownNodes()
    with ExitStack() as held:
        try:
            if not settings.dry_run:
                held.callback(NamespaceLock().close)
                wait_for_others()
            link = _link(settings, log) if settings.needs_api else None
            keeper = Keeper(
                StateFolder(settings.state) if settings.state else None,
                link.live.restore if link else lambda body: unpack_inputs(settings, body),
                reads_only=settings.dry_run,
            )
            held.callback(keeper.close)
            keeper.open()
            trials = Trials(settings.state, all_kinds()) if settings.state and not settings.dry_run else None
            if trials is not None and trials.resume():
                log.warning("a change was undone", why="nobody confirmed it before it ended", do="plumbline status shows its digest")
            if trials is not None and (gap := launch.gap()):
                log.info("watchdogs of changes on trial end with this container, if this is one: the next start undoes them", why=gap)
            teller = link.live if link else None
            daemon = Daemon(settings, log, lambda: load_inputs(settings, memo, known, teller), keeper, trials, link)
            held.callback(daemon.close)
            http = HttpServer(settings.listen, daemon.answer)
            held.callback(http.close)
        except (AlreadyRunning, CannotWrite, StateBusy, BadListen, ObservationFailed, BadJournal, NoWatchdog, NoAccess) as error:
            log.error("cannot start", why=str(error))
            return 1
        held.enter_context(signals(daemon.stop, lambda: daemon.wake(HANGUP)))
        log.info("started", config=settings.source, pid=os.getpid(), port=http.port, dry_run=settings.dry_run, state=keeper.path)
        try:
            daemon.serve()
        except ObservationFailed as error:  # deaf to events: whoever started us does better to start us again
            log.error("ended", why=str(error), network="stays as it is")
            return 1
        log.info("stopped", network="stays as it is")
    return 0


def _link(settings: Settings, log: Any) -> Link:
    """Raises NoAccess."""

    def report(watch: str, why: str) -> None:
        if why:
            log.warning("the API does not answer", watch=watch, why=why, meanwhile="what is known stays in force")
        else:
            log.info("the API answers again", watch=watch)

    from reconciler.cluster.transport import Api
    from reconciler.daemon.link import Link  # with all that it needs, which a node without an API does not

    return Link(settings, Api(find_access(settings.servers, settings.kubeconfig)), report)
