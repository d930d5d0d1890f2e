"""Structured logs on standard error: key=value on a terminal, else one JSON object a line."""

from __future__ import annotations

import logging
from typing import Any, TextIO

import structlog

from reconciler.daemon.patience import Fight
from reconciler.daemon.status import Status
from reconciler.daemon.step import Report

MANY = 20  # rows of one round that are named one by one


def make_logger(stream: TextIO, *, json: bool | None, verbose: bool, node: str) -> Any:
    """A logger of its own; nothing global is configured."""
    as_json = not stream.isatty() if json is None else json
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False) if as_json else structlog.processors.LogfmtRenderer(bool_as_flag=False)
    )
    return structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _first("timestamp", "level", "event"),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        context_class=dict,
        cache_logger_on_first_use=True,
        node=node,
    )


def _first(*names: str) -> Any:
    """The fields that every line begins with."""

    def reorder(_logger: Any, _method: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: fields[name] for name in names if name in fields} | fields

    return reorder


def log_round(log: Any, report: Report, before: Status, status: Status, plan_only: bool) -> None:
    """One line for a round that did something or whose answer is a new one; its repairs and new errors by name."""
    _log_content(log, report, before, status)
    news = [repair for repair in report.repairs if repair.new or repair.done]
    for repair in news[:MANY]:
        if repair.done:
            log.info("repaired", row=str(repair.ref), was=repair.was)
        else:
            log.warning("drift", row=str(repair.ref), was=repair.was, why="dry run: left as it is" if plan_only else "not repaired yet")
    if len(news) > MANY:
        log.info("and more rows", rows=len(news) - MANY)
    for error in status.errors[:MANY]:
        if error not in before.errors:
            log.error("not done", why=error)
    if status.refused and before.plan != status.plan:
        log.error("refused", why=status.refusal.reason if status.refusal else "", confirm=status.confirm)
    _log_summary(log, report, before, status)


def _log_content(log: Any, report: Report, before: Status, status: Status) -> None:
    if status.problems and status.problems != before.problems:
        for problem in status.problems[:MANY]:
            log.error("content rejected", problem=problem)
        log.error("not ready", why=f"the newest content is not valid; {status.in_force}")
    if status.suspect is not None and status.content != before.content:
        log.error("content refused", why=status.suspect.reason, meanwhile=status.in_force, confirm=status.confirm_content)
    for trouble in status.state_problems:
        if before.rounds == 0 or trouble not in before.state_problems:
            log.error("state", problem=trouble)
    for one in status.opponents:
        if one not in before.opponents and one.level != "note":
            log.warning("somebody else on this host", what=one.what, do=one.remedy)
    for warning in status.warnings:
        if warning not in before.warnings:
            log.warning("warning", text=warning)
    if (status.digest, status.stale) != (before.digest, before.stale):
        source = "disk" if status.stale else "live"
        log.info("content in force", digest=status.digest[:12], source=source, before=before.digest[:12] or "none")


def log_fight(log: Any, fight: Fight) -> None:
    """Once for each, when it begins."""
    log.warning(
        "fight",
        row=str(fight.row),
        by=fight.by or "the kernel does not tell who",
        times=fight.times,
        do="find out who else wants this row, and let one of the two have it; it is put back less and less often",
    )


def _log_summary(log: Any, report: Report, before: Status, status: Status) -> None:
    last = status.last
    if last is None:
        return
    done = sum(outcome.failure is None for outcome in report.outcomes)
    news = bool(report.outcomes) or report.converged != before.converged or before.rounds == 0
    (log.info if news else log.debug)(
        "round",
        digest=report.digest[:12],
        triggers=", ".join(last.triggers),
        planned=len(report.plans[0].actions) if report.plans else 0,
        done=done,
        failed=len(report.outcomes) - done,
        left=len(report.plans[-1].actions) if report.plans else 0,
        rows=len(report.wanted),
        converged=report.converged,
        ms=round(last.seconds * 1000, 1),
    )
