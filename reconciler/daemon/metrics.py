"""What Prometheus reads (https://prometheus.io/docs/practices/naming/); a registry of the daemon's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client import Counter as CounterMetric

from reconciler import __version__
from reconciler.cluster.known import Known
from reconciler.daemon.patience import Fight
from reconciler.daemon.service_metrics import COUNTED, DROPS, LABELS, ServiceCounts
from reconciler.daemon.status import MANY, Status
from reconciler.daemon.step import Report

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PLACE = re.compile(r"[^\s:]+(:\d+)*")  # how a problem begins: file, line, column
_VERBS = {"+": "create", "~": "update", "-": "delete"}


class Described(NamedTuple):
    """One metric as a reference lists it."""

    name: str
    type: str  # "gauge", "counter", "histogram"
    labels: tuple[str, ...]
    meaning: str


class Metrics:
    """Written by the loop, read by the HTTP threads."""

    def __init__(self, node: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._described: list[Described] = []
        self._gauge("plumbline_info", "Constant 1, with the version and the node's name.", "version", "node").labels(__version__, node).set(
            1
        )
        self._rounds = self._counter("plumbline_rounds_total", "Rounds, by what they came to.", "result")
        self._seconds = Histogram("plumbline_round_duration_seconds", "How long rounds take.", buckets=_SECONDS, registry=self._registry)
        self._described.append(Described("plumbline_round_duration_seconds", "histogram", (), "How long rounds take."))
        self._actions = self._counter("plumbline_actions_total", "Actions run, by what came of them.", "kind", "verb", "result")
        self._found = self._counter("plumbline_drift_found_total", "Rows that others changed or removed.", "kind")
        self._repaired = self._counter("plumbline_drift_repaired_total", "Those of them that were put right.", "kind")
        self._errors = self._counter("plumbline_errors_total", "Errors that rounds ended with.")
        self._triggers = self._counter("plumbline_triggers_total", "What asked for rounds.", "trigger")
        self._converged = self._gauge("plumbline_converged", "1 when the last round left nothing to do.")
        self._ready = self._gauge("plumbline_ready", "1 when the node is as the newest content wants it.")
        self._valid = self._gauge("plumbline_spec_valid", "1 when the newest content is in force, 0 when it was rejected.")
        self._invalid = self._gauge("plumbline_spec_invalid", "1 for each place at which the newest content is not valid.", "place")
        self._refused = self._gauge("plumbline_confirmation_awaited", "1 while this waits for a person's confirmation.", "what")
        self._stale = self._gauge("plumbline_spec_stale", "1 while the content in force is the one kept on disk.")
        self._good = self._gauge("plumbline_spec_last_good_timestamp_seconds", "When the content in force was last seen to be the newest.")
        self._fights = self._gauge("plumbline_fights", "Rows that somebody else keeps changing.")
        self._begun = self._counter("plumbline_fights_begun_total", "Fights that began.", "kind")
        self._opponents = self._gauge("plumbline_opponents", "Others on this host who undo or block, by what they are.", "sort", "level")
        self._held = self._gauge("plumbline_rows_held", "Rows that differ and are left alone: refused, resting, or in need of one that is.")
        self._state = self._gauge("plumbline_state_problems", "What does not work with the folder of what is kept for a restart.")
        self._lost = self._counter("plumbline_events_lost_total", "Times that the kernel had more to tell than it could keep.")
        self._watch = self._gauge("plumbline_watch_up", "1 while the Kubernetes API answers a watch.", "watch")
        self._objects = self._gauge("plumbline_watch_objects", "Objects that a watch of the Kubernetes API knows.", "watch")
        self._last = self._gauge("plumbline_last_converged_timestamp_seconds", "When a round last left nothing to do.")
        self._described += [Described(f"{one.name}_total", "counter", LABELS, one.meaning) for one in COUNTED]
        self._described.append(Described(f"{DROPS.name}_total", "counter", ("reason",), DROPS.meaning))
        self._services = ServiceCounts()
        self._registry.register(self._services)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        self._described.append(Described(name, "gauge", labels, meaning))
        return Gauge(name, meaning, labels, registry=self._registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> CounterMetric:
        self._described.append(Described(name, "counter", labels, meaning))
        return CounterMetric(name, meaning, labels, registry=self._registry)

    def crashed(self) -> None:
        """A round ended with a programming error."""
        self._rounds.labels("crashed").inc()
        self._errors.inc()
        self._converged.set(0)
        self._ready.set(0)

    def overflowed(self) -> None:
        """Some of the kernel's events were lost."""
        self._lost.inc()

    def heard(self, known: Iterable[Known[Any]]) -> None:
        """What the watches of the Kubernetes API know."""
        for one in known:
            self._watch.labels(one.name).set(one.values is not None and not one.trouble)
            self._objects.labels(one.name).set(len(one.values or ()))

    def fought(self, fight: Fight) -> None:
        """A fight begins."""
        self._begun.labels(fight.row.kind).inc()

    def ended(self, report: Report, status: Status) -> None:
        self._rounds.labels("converged" if report.converged else "failed").inc()
        self._errors.inc(len(report.errors))
        ran = Counter((action.change.kind, action.verb.value, failure is None) for action, failure in report.outcomes)
        for (kind, verb, done), times in ran.items():
            self._actions.labels(kind, _VERBS[verb], "done" if done else "failed").inc(times)
        for kind, times in Counter(repair.ref.kind for repair in report.repairs if repair.new).items():
            self._found.labels(kind).inc(times)
        for kind, times in Counter(repair.ref.kind for repair in report.repairs if repair.done).items():
            self._repaired.labels(kind).inc(times)
        self._services.to(report.wanted)
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
        for problem in report.problems[:MANY]:
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

    def described(self) -> list[Described]:
        """Every metric, ours before those that the client library knows of the process."""
        named = {one.name for one in self._described}
        process = ((f"{one.name}_total" if one.type == "counter" else one.name, one) for one in self._registry.collect())
        return self._described + [Described(name, one.type, (), one.documentation) for name, one in process if name not in named]

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self._registry)
