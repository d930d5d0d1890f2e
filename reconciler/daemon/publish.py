"""A daemon's status as its node's NodeNetwork says it. Pure."""

from __future__ import annotations

from typing import Any

from reconciler import __version__
from reconciler.cluster.publisher import LABEL_DIGITS, ROLLED_BACK, Happening, Published
from reconciler.daemon.status import Status
from reconciler.engine.model import Refusal

_MESSAGE = 2000  # characters


def published(status: Status) -> Published:
    """Conditions by the API conventions: adjectives, and the reason in one word."""
    return Published(
        {ROLLED_BACK: status.rolled_back[:LABEL_DIGITS]} if status.rolled_back else {},
        {
            "digest": status.digest,
            "content": status.digest[:12],
            "source": ("disk" if status.stale else "live") if status.digest else "",
            "version": __version__,
            "drift": {"found": status.found, "repaired": status.repaired},
            "refusals": _refusals(status),
            "lastError": status.errors[0][:_MESSAGE] if status.errors else "",
            "conditions": [
                _condition(
                    "Ready", status.ready, "Converged" if status.ready else _why(status), status.not_ready or "as network.yaml says"
                ),
                _condition(
                    "Converged", status.converged, "Converged" if status.converged else "Differs", "" if status.converged else _left(status)
                ),
                _condition("Accepted", *_accepted(status)),
                _condition("RolledBack", bool(status.rolled_back), "Undone" if status.rolled_back else "NotUndone", _undone(status)),
            ],
        },
        frozenset(_happenings(status)),
    )


def _condition(kind: str, holds: bool, reason: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": str(holds), "reason": reason, "message": message[:_MESSAGE]}


def _why(status: Status) -> str:
    if status.problems:
        return "ContentInvalid"
    if status.suspect is not None:
        return "ContentAwaitsConfirmation"
    if status.stale:
        return "KeptContent"
    if status.refusal is not None:
        return "PlanAwaitsConfirmation"
    return "Pending" if status.pending else "Differs"


def _left(status: Status) -> str:
    return next(iter((*status.errors, *status.held)), "rows are left to be put in place")


def _accepted(status: Status) -> tuple[bool, str, str]:
    if status.problems:
        return False, "ContentInvalid", status.problems[0]
    if status.suspect is not None:
        return False, "ContentAwaitsConfirmation", status.suspect.reason
    return True, "Valid", ""


def _undone(status: Status) -> str:
    return f"network.yaml {status.rolled_back[:12]} cut this node off, and was undone" if status.rolled_back else ""


def _refusals(status: Status) -> list[dict[str, str]]:
    both: list[tuple[str, Refusal | None, str, str]] = [
        ("content", status.suspect, status.content, status.confirm_content),
        ("plan", status.refusal, status.plan, status.confirm),
    ]
    return [
        {"what": what, "reason": refusal.reason[:_MESSAGE], "digest": digest, "confirm": confirm}
        for what, refusal, digest, confirm in both
        if refusal is not None
    ]


def _happenings(status: Status) -> list[Happening]:
    found = [Happening(f"{one['what'].capitalize()}Refused", f"{one['reason']}; {one['confirm']}") for one in _refusals(status)]
    found += [Happening("Conflict", conflict) for conflict in status.conflicts[:10]]
    if status.rolled_back:
        found.append(Happening("RolledBack", _undone(status)))
    return found
