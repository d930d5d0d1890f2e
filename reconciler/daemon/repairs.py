"""What a round found otherwise than it should be, and what became of it. Pure."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.engine.diff import NOT_WANTED
from reconciler.engine.model import Action, Plan, Ref, Verb
from reconciler.engine.round import Outcome, Result


class Repair(NamedTuple):
    """One row that was not as it should be although nobody had asked for a change."""

    ref: Ref
    was: str  # "was missing", "differs in dst", "was not wanted"
    done: bool  # False: it still is not
    new: bool = True  # False: the round before found it too

    def __str__(self) -> str:
        return f"{self.ref} ({self.was})"


def repairs(plans: tuple[Plan, ...], outcomes: tuple[Outcome, ...], known: frozenset[Ref]) -> tuple[Repair, ...]:
    """One for each row of the first plan; a row that is made anew counts once."""
    left = {action.ref for action in plans[-1].actions}
    done = {outcome.action.ref for outcome in outcomes if outcome.failure is None}
    found: dict[Ref, Repair] = {}
    for action in plans[0].actions:
        mended = action.ref in done and action.ref not in left
        found.setdefault(action.ref, Repair(action.ref, _was(action), mended, action.ref not in known))
    return tuple(found.values())


def _was(action: Action) -> str:
    if action.verb is Verb.CREATE and action.change.old is None:
        return "was missing"
    if action.verb is Verb.DELETE and action.note == NOT_WANTED:
        return "was not wanted"
    return action.note or "differed"


def failures(result: Result) -> dict[Ref, str]:
    """Rows whose lines ran and that are still not as they should be, with the reason in the errors' words.

    Those that only failed because something that they need did are not among them: they go with it.
    """
    if not result.last.actions or not result.outcomes:
        return {}
    ran = {outcome.action.ref for outcome in result.outcomes}
    left = [action for action in result.last.actions if action.ref in ran]
    bad = {action.ref for action in left}
    causes = {str(action.ref): action.ref for action in left if not any(need in bad for need in action.needs)}
    said = (error.partition(": ") for error in result.errors)
    return {causes[row]: why for row, _, why in said if row in causes}


def undone(result: Result) -> frozenset[Ref]:
    """Rows whose lines did what they should, and that are otherwise again: they had no effect, or somebody was quicker than our look."""
    if not result.last.actions:
        return frozenset()
    done = {outcome.action.ref: outcome.action.lines for outcome in result.outcomes if outcome.failure is None}
    return frozenset(action.ref for action in result.last.actions if done.get(action.ref) == action.lines)
