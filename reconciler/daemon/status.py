"""What the daemon says of itself: one immutable value, swapped whole, so that it can be read while a round runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from reconciler import __version__
from reconciler.daemon.controller import Report
from reconciler.engine.model import Refusal

RECENT = 50  # repairs that are kept for /status


class LastRound(NamedTuple):
    """The round that ended last."""

    at: float  # seconds since the epoch
    triggers: tuple[str, ...]
    seconds: float
    actions: int  # of its plans, run or (dry run) not


class Recent(NamedTuple):
    """A row that was found changed."""

    at: float
    row: str
    was: str
    repaired: bool


class Status(NamedTuple):
    """The whole of /status and the ground of /readyz."""

    node: str
    config: str
    dry_run: bool = False
    pending: bool = True  # newer content has not been through a round yet
    digest: str = ""  # of the content in force; empty: none
    problems: tuple[str, ...] = ()  # why the newest content is not in force
    warnings: tuple[str, ...] = ()
    converged: bool = False
    errors: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    refusal: Refusal | None = None
    plan: str = ""  # digest of what is left to do
    rounds: int = 0
    last: LastRound | None = None
    last_converged: float | None = None
    found: int = 0  # rows changed by others since the start
    repaired: int = 0
    recent: tuple[Recent, ...] = ()

    @property
    def ready(self) -> bool:
        return not self.not_ready

    @property
    def not_ready(self) -> str:
        """Why the node is not as the newest content wants it; empty when it is."""
        if self.problems:
            in_force = f"{self.digest[:12]} stays in force" if self.digest else "no content is in force"
            return f"the newest content is not valid ({in_force}): {self.problems[0]}"
        if self.pending:
            return "new content is being put in place"
        if not self.converged:
            return self.refused or next(iter(self.errors or self.held), "the node differs from network.yaml")
        return ""

    @property
    def refused(self) -> str:
        return f"refused: {self.refusal.reason}; {self.confirm}" if self.refusal else ""

    @property
    def confirm(self) -> str:
        """The command by which a person confirms a refused plan."""
        return (
            f"read the plan, then confirm it: plumbline apply {self.config} --node {self.node} --force {self.plan}" if self.refusal else ""
        )


def after(status: Status, report: Report, last: LastRound) -> Status:
    """The status once a round has ended."""
    plan = report.plans[-1] if report.plans else None
    news = [one for one in report.repairs if one.new or one.done]
    recent = (*status.recent, *(Recent(last.at, str(one.ref), one.was, one.done) for one in news[-RECENT:]))
    return status._replace(
        pending=False,
        digest=report.digest,
        problems=report.problems,
        warnings=report.warnings,
        converged=report.converged,
        errors=report.errors,
        conflicts=tuple(f"{one.reason}; {one.remedy}" for one in plan.conflicts) if plan else (),
        held=tuple(f"{action.ref}: {action.held}" for action in plan.actions if action.held) if plan else (),
        refusal=plan.refusal if plan else None,
        plan=plan.digest if plan else "",
        rounds=status.rounds + 1,
        last=last,
        last_converged=last.at if report.converged else status.last_converged,
        found=status.found + sum(one.new for one in report.repairs),
        repaired=status.repaired + sum(one.done for one in report.repairs),
        recent=recent[-RECENT:],
    )


def as_json(status: Status) -> dict[str, Any]:
    """/status: the names here are an interface, and only ever added to."""
    last = status.last
    return {
        "node": status.node,
        "version": __version__,
        "config": status.config,
        "dryRun": status.dry_run,
        "ready": status.ready,
        "notReady": status.not_ready,
        "spec": {"digest": status.digest, "pending": status.pending, "problems": list(status.problems), "warnings": list(status.warnings)},
        "converged": status.converged,
        "lastConverged": _time(status.last_converged),
        "errors": list(status.errors),
        "conflicts": list(status.conflicts),
        "held": list(status.held),
        "refusal": {"reason": status.refusal.reason, "digest": status.plan, "confirm": status.confirm} if status.refusal else None,
        "drift": {
            "found": status.found,
            "repaired": status.repaired,
            "recent": [{"at": _time(one.at), "row": one.row, "was": one.was, "repaired": one.repaired} for one in status.recent],
        },
        "rounds": status.rounds,
        "lastRound": {
            "at": _time(last.at),
            "triggers": list(last.triggers),
            "seconds": round(last.seconds, 4),
            "actions": last.actions,
        }
        if last
        else None,
    }


def _time(seconds: float | None) -> str | None:
    """RFC 3339, UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
