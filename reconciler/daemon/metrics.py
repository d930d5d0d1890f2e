"""What Prometheus reads (https://prometheus.io/docs/practices/naming/); a registry of the daemon's own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from reconciler import __version__
from reconciler.daemon.controller import Report
from reconciler.daemon.status import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
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
        self._last = Gauge("plumbline_last_converged_timestamp_seconds", "When a round last left nothing to do.", registry=at)

    def crashed(self) -> None:
        """A round ended with a programming error."""
        self._rounds.labels("crashed").inc()
        self._errors.inc()

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
        self._valid.set(not report.problems)
        if status.last is not None:
            self._seconds.observe(status.last.seconds)
            for trigger in status.last.triggers:
                self._triggers.labels(trigger.partition(":")[0]).inc()
        if status.last_converged is not None:
            self._last.set(status.last_converged)

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self._registry)
