"""What Prometheus reads (https://prometheus.io/docs/practices/naming/); a registry of the daemon's own."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from reconciler import __version__
from reconciler.daemon.controller import Report
from reconciler.daemon.patience import Fight
from reconciler.daemon.status import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PLACE = re.compile(r"[^\s:]+(:\d+)*")  # how a problem begins: file, line, column
_VERBS = {"+": "create", "~": "update", "-": "delete"}


class Metrics:
    """Written by the loop, read by the HTTP threads."""

    def __init__(self, node: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        at = self._registry
        Gauge("plumbline_info", "Constant 1, with the version and the node's name.", ["version", "node"], registry=at).labels(
            __version__, node
        ).set(1)
        self._rounds = Counter("plumbline_rounds_total", "Rounds, by what they came to.", ["result"], registry=at)
        self._seconds = Histogram("plumbline_round_duration_seconds", "How long rounds take.", buckets=_SECONDS, registry=at)
        self._actions = Counter("plumbline_actions_total", "Actions run, by what came of them.", ["kind", "verb", "result"], registry=at)
        self._found = Counter("plumbline_drift_found_total", "Rows that others changed or removed.", ["kind"], registry=at)
        self._repaired = Counter("plumbline_drift_repaired_total", "Those of them that were put right.", ["kind"], registry=at)
        self._errors = Counter("plumbline_errors_total", "Errors that rounds ended with.", registry=at)
        self._triggers = Counter("plumbline_triggers_total", "What asked for rounds.", ["trigger"], registry=at)
        self._converged = Gauge("plumbline_converged", "1 when the last round left nothing to do.", registry=at)
        self._ready = Gauge("plumbline_ready", "1 when the node is as the newest content wants it.", registry=at)
        self._valid = Gauge("plumbline_spec_valid", "1 when the newest content is in force, 0 when it was rejected.", registry=at)
        self._invalid = Gauge(
            "plumbline_spec_invalid", "1 for each place at which the newest content is not valid.", ["place"], registry=at
        )
        self._refused = Gauge("plumbline_confirmation_awaited", "1 while this waits for a person's confirmation.", ["what"], registry=at)
        self._stale = Gauge("plumbline_spec_stale", "1 while the content in force is the one kept on disk.", registry=at)
        self._good = Gauge(
            "plumbline_spec_last_good_timestamp_seconds", "When the content in force was last seen to be the newest.", registry=at
        )
        self._fights = Gauge("plumbline_fights", "Rows that somebody else keeps changing.", registry=at)
        self._begun = Counter("plumbline_fights_begun_total", "Fights that began.", ["kind"], registry=at)
        self._opponents = Gauge(
            "plumbline_opponents", "Others on this host who undo or block, by what they are.", ["sort", "level"], registry=at
        )
        self._held = Gauge(
            "plumbline_rows_held", "Rows that differ and are left alone: refused, resting, or in need of one that is.", registry=at
        )
        self._state = Gauge("plumbline_state_problems", "What does not work with the folder of what is kept for a restart.", registry=at)
        self._lost = Counter("plumbline_events_lost_total", "Times that the kernel had more to tell than it could keep.", registry=at)
        self._last = Gauge("plumbline_last_converged_timestamp_seconds", "When a round last left nothing to do.", registry=at)

    def crashed(self) -> None:
        """A round ended with a programming error."""
        self._rounds.labels("crashed").inc()
        self._errors.inc()

    def overflowed(self) -> None:
        """Some of the kernel's events were lost."""
        self._lost.inc()

    def fought(self, fight: Fight) -> None:
        """A fight begins."""
        self._begun.labels(fight.row.kind).inc()

    def ended(self, report: Report, status: Status) -> None:
        self._rounds.labels("converged" if report.converged else "failed").inc()
        self._errors.inc(len(report.errors))
        for outcome in report.outcomes:
            action = outcome.action
            result = "done" if outcome.failure is None else "failed"
            self._actions.labels(action.change.kind, _VERBS[action.verb.value], result).inc()
        for repair in report.repairs:
            if repair.new:
                self._found.labels(repair.ref.kind).inc()
            if repair.done:
                self._repaired.labels(repair.ref.kind).inc()
        self._converged.set(report.converged)
        self._ready.set(status.ready)
        self._valid.set(not report.problems and report.suspect is None)
        self._show(report, status)
        if status.last is not None:
            self._seconds.observe(status.last.seconds)
            for trigger in status.last.triggers:
                self._triggers.labels(trigger.partition(":")[0]).inc()
        if status.last_converged is not None:
            self._last.set(status.last_converged)

    def _show(self, report: Report, status: Status) -> None:
        """What the status says, as gauges."""
        self._invalid.clear()
        for problem in report.problems:
            found = _PLACE.match(problem)
            self._invalid.labels(found[0] if found else "").set(1)
        self._refused.labels("content").set(report.suspect is not None)
        self._refused.labels("plan").set(status.refusal is not None)
        self._stale.set(report.stale)
        if status.last_good is not None:
            self._good.set(status.last_good)
        self._fights.set(len(status.fights))
        self._opponents.clear()
        for one in status.opponents:
            self._opponents.labels(one.sort, one.level).inc()
        self._held.set(sum(bool(action.held) for action in report.plans[-1].actions) if report.plans else 0)
        self._state.set(len(status.state_problems))

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self._registry)
