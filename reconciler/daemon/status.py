"""What the daemon says of itself: one immutable value, swapped whole, so that it can be read while a round runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from reconciler import __version__
from reconciler.cluster.known import Known
from reconciler.daemon.patience import Fight
from reconciler.daemon.state import FOLDER
from reconciler.daemon.step import Report
from reconciler.daemon.turns import Standing
from reconciler.engine.model import Refusal
from reconciler.kernel.opponents import Opponent
from reconciler.kernel.processes import Waiting

RECENT = 50  # repairs that are kept for /status
MANY = 100  # errors, conflicts and held rows that are named one by one


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
    state: str = ""  # folder of what is kept for a restart; empty: nothing is
    pending: bool = True  # newer content has not been through a round yet
    digest: str = ""  # of the content in force; empty: none
    stale: bool = False  # the content in force was kept on disk, and may be out of date
    last_good: float | None = None  # when the content in force was last seen to be the newest
    problems: tuple[str, ...] = ()  # why the newest content is not valid
    suspect: Refusal | None = None  # why the newest content waits for a person's word
    content: str = ""  # the digest that is to be confirmed for it
    warnings: tuple[str, ...] = ()
    converged: bool = False
    errors: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    refusal: Refusal | None = None  # why the plan waits for a person's word
    plan: str = ""  # digest of what is left to do
    rounds: int = 0
    last: LastRound | None = None
    last_converged: float | None = None
    found: int = 0  # rows changed by others since the start
    repaired: int = 0
    recent: tuple[Recent, ...] = ()
    fights: tuple[Fight, ...] = ()
    opponents: tuple[Opponent, ...] = ()
    state_problems: tuple[str, ...] = ()
    rolled_back: str = ""  # digest of the newest spec, where it was put in place and undone
    watches: tuple[Known[Any], ...] = ()  # what is heard of the Kubernetes API
    rollout: Standing = Standing()
    waiting: Waiting | None = None  # a tool that takes longer than it should, in the round that runs

    @property
    def ready(self) -> bool:
        return not self.not_ready

    @property
    def not_ready(self) -> str:
        """Why the node is not as the newest content wants it; empty when it is."""
        if self.problems:
            return f"the newest content is not valid ({self.in_force}): {self.problems[0]}"
        if self.suspect is not None:
            return f"the newest content waits for confirmation ({self.in_force}): {self.suspect.reason}; {self.confirm_content}"
        if self.stale:
            awaited = ", ".join(one.name for one in self.watches if one.values is None)
            return f"the Kubernetes API has not answered yet{f' ({awaited})' if awaited else ''}: {self.in_force}"
        if self.waiting is not None:
            return str(self.waiting)
        if self.pending:
            return "new content is being put in place"
        if not self.converged:
            return self.refused or next(iter(self.errors or self.held), "the node differs from network.yaml")
        return ""

    @property
    def in_force(self) -> str:
        """Which content is, meanwhile."""
        if not self.digest:
            return "no content is in force"
        kept = ", as it was kept on disk: it creates and repairs, and deletes nothing" if self.stale else ""
        return f"{self.digest[:12]} stays in force{kept}"

    @property
    def refused(self) -> str:
        return f"refused: {self.refusal.reason}; {self.confirm}" if self.refusal else ""

    @property
    def confirm(self) -> str:
        """The command by which a person confirms a refused plan."""
        if self.refusal is None:
            return ""
        if self.state and not self.dry_run:
            return f"read the plan, then confirm it: {self._command(self.plan)}"
        return f"read the plan, then confirm it: plumbline apply {self.config} --node {self.node} --force {self.plan}"

    @property
    def confirm_content(self) -> str:
        """The command by which a person confirms suspicious content."""
        if self.suspect is None:
            return ""
        if self.state and not self.dry_run:
            return f"if it is right, confirm it: {self._command(self.content)}"
        return "to be able to confirm it, start the daemon with --state DIR"

    def _command(self, digest: str) -> str:
        return f"plumbline confirm {digest}" + (f" --state {self.state}" if self.state != FOLDER else "")


def after(status: Status, report: Report, last: LastRound, fights: tuple[Fight, ...] = (), state_problems: tuple[str, ...] = ()) -> Status:
    """The status once a round has ended."""
    plan = report.plans[-1] if report.plans else None
    news = [one for one in report.repairs if one.new or one.done]
    recent = (*status.recent, *(Recent(last.at, str(one.ref), one.was, one.done) for one in news[-RECENT:]))
    newest = bool(report.digest) and not (report.stale or report.problems or report.suspect)
    return status._replace(
        pending=False,
        digest=report.digest,
        stale=report.stale,
        last_good=last.at if newest else status.last_good,
        problems=_some(list(report.problems)),
        suspect=report.suspect,
        content=report.content,
        warnings=_some(list(report.warnings)),
        converged=report.converged,
        errors=_some([_in_a_fight(error, fights) for error in report.errors]),
        conflicts=_some([f"{one.reason}; {one.remedy}" for one in plan.conflicts] if plan else []),
        held=_some([f"{action.ref}: {action.held}" for action in plan.actions if action.held] if plan else []),
        refusal=plan.refusal if plan else None,
        plan=plan.digest if plan else "",
        rounds=status.rounds + 1,
        last=last,
        last_converged=last.at if report.converged else status.last_converged,
        found=status.found + sum(one.new for one in report.repairs),
        repaired=status.repaired + sum(one.done for one in report.repairs),
        recent=recent[-RECENT:],
        fights=fights,
        state_problems=state_problems,
        rolled_back=report.rolled_back,
    )


def _in_a_fight(error: str, fights: tuple[Fight, ...]) -> str:
    """What a line said of a row matters less than who undoes it."""
    return next((f"{one.row}: {one.why}" for one in fights if error.startswith(f"{one.row}: ")), error)


def _some(lines: list[str]) -> tuple[str, ...]:
    return (*lines[:MANY], f"and {len(lines) - MANY} more") if len(lines) > MANY else tuple(lines)


def as_json(status: Status) -> dict[str, Any]:
    """/status: the names here are an interface, described in docs/daemon.md, and only ever added to."""
    last = status.last
    return {
        "node": status.node,
        "version": __version__,
        "config": status.config,
        "dryRun": status.dry_run,
        "ready": status.ready,
        "notReady": status.not_ready,
        "spec": {
            "digest": status.digest,
            "source": ("disk" if status.stale else "live") if status.digest else "",
            "lastGood": rfc3339(status.last_good),
            "pending": status.pending,
            "problems": list(status.problems),
            "refusal": _refusal(status.suspect, status.content, status.confirm_content),
            "warnings": list(status.warnings),
        },
        "converged": status.converged,
        "lastConverged": rfc3339(status.last_converged),
        "errors": list(status.errors),
        "conflicts": list(status.conflicts),
        "held": list(status.held),
        "refusal": _refusal(status.refusal, status.plan, status.confirm),
        "drift": {
            "found": status.found,
            "repaired": status.repaired,
            "recent": [{"at": rfc3339(one.at), "row": one.row, "was": one.was, "repaired": one.repaired} for one in status.recent],
        },
        "fights": [{"row": str(one.row), "by": one.by, "times": one.times, "pauseSeconds": one.pause} for one in status.fights],
        "opponents": [{"level": one.level, "sort": one.sort, "what": one.what, "remedy": one.remedy} for one in status.opponents],
        "state": {"folder": status.state, "problems": list(status.state_problems)},
        "watches": [_watch(one) for one in status.watches],
        "rollout": {
            "atOnce": status.rollout.at_once or None,
            "holds": status.rollout.holds,
            "waits": status.rollout.waits,
            "undone": status.rolled_back,
        },
        "waitsFor": _waiting(status.waiting),
        "rounds": status.rounds,
        "lastRound": {
            "at": rfc3339(last.at),
            "triggers": list(last.triggers),
            "seconds": round(last.seconds, 4),
            "actions": last.actions,
        }
        if last
        else None,
    }


def _waiting(one: Waiting | None) -> dict[str, Any] | None:
    return {"command": one.command, "pid": one.pid, "seconds": round(one.seconds, 1), "limit": one.limit} if one else None


def _watch(one: Known[Any]) -> dict[str, Any]:
    return {
        "name": one.name,
        "objects": None if one.values is None else len(one.values),
        "trouble": one.trouble,
        "since": rfc3339(one.since),
    }


def _refusal(refusal: Refusal | None, digest: str, command: str) -> dict[str, str] | None:
    return {"reason": refusal.reason, "digest": digest, "confirm": command} if refusal else None


def rfc3339(seconds: float | None) -> str | None:
    """RFC 3339, UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
